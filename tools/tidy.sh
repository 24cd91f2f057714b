#!/bin/sh
# tidy.sh puts cmd/wflo/go.mod and go.sum in order: run it after an import was
# added to or removed from the command, or after the root's go.mod changed.
#
# The command needs the root module at a version that is not published yet, and
# its go.mod must not say where that is: a replace there would make it impossible to
# `go install` the command. The replace in go.work serves builds, but `go mod tidy`
# ignores go.work. So this tidies a copy that has the replace, and copies the
# result back without it.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
module=github.com/wflo-ai/wflo-go
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cd "$root/cmd/wflo"
cp go.mod go.sum "$copy"
export GOWORK=off
go mod edit -replace "$module=$root" "$copy/go.mod"
go mod tidy -modfile="$copy/go.mod"
go mod edit -dropreplace "$module" "$copy/go.mod"
cp "$copy/go.mod" "$copy/go.sum" .

# What go.work selects must still build: the Temporal server needs the log API
# of OpenTelemetry before v0.21, and a newer root would raise it for all.
unset GOWORK
want=v0.20.0
got=$(go list -m -f '{{.Version}}' go.opentelemetry.io/otel/log)
if [ "$got" != "$want" ]; then
	echo "tidy.sh: go.opentelemetry.io/otel/log is $got, and the embedded Temporal server needs $want." >&2
	echo "hint: in the root module, run: go get go.opentelemetry.io/otel/log@$want" >&2
	exit 1
fi
