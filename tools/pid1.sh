#!/usr/bin/env bash
# Builds PID 1 of the sandboxes (cmd/wflo-runner) for both architectures into
# sandbox/docker/pid1, where it is embedded. Run it after a change of the Go
# files that it is made of; tests fail until then.
#
#   tools/pid1.sh           build
#   tools/pid1.sh --check   say whether the embedded binaries are up to date
#
# The same Go version gives the same bytes: nothing of this machine is in them.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=(cmd/wflo-runner internal/warden internal/frame sandbox)
out=sandbox/docker/pid1

# One line per file, in the order of their names: hash, two spaces, path.
source=$(find "${folders[@]}" -maxdepth 1 -name '*.go' ! -name '*_test.go' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)

if [ "${1:-}" = --check ]; then
	for arch in amd64 arm64; do
		if ! gzip -dc "$out/linux-$arch.gz" 2>/dev/null | grep -cF "$source" >/dev/null; then
			echo "pid1: $out/linux-$arch.gz was not built from these sources; run tools/pid1.sh" >&2
			exit 1
		fi
	done
	echo "pid1: up to date"
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in amd64 arm64; do
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOFLAGS='' go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X github.com/wflo-ai/wflo-go/internal/warden.source=$source" \
		-o "$work/wflo-runner" ./cmd/wflo-runner
	gzip -n -9 <"$work/wflo-runner" >"$work/gz"
	mv "$work/gz" "$out/linux-$arch.gz"
	chmod 644 "$out/linux-$arch.gz"
	echo "pid1: $out/linux-$arch.gz, $(stat -c %s "$work/wflo-runner") bytes, packed $(stat -c %s "$out/linux-$arch.gz")"
done
