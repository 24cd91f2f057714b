#!/bin/bash
# Builds the image of wflo from this checkout, with the Go on this machine: the command
# and the worker as static programs, and nothing else that runs.
#
#   build.sh                     build wflo/wflo:dev
#   build.sh --tag NAME:TAG      under another name
#   build.sh --worker ./mine     with your own worker, a package of this workspace, in
#                                place of the one of this repository
#   build.sh --root DIR          only put the files of the image into DIR
#
# VERSION is the version that the image's label says. BIN is a folder with programs that
# are built already, wflo or worker, which are then taken as they are. LINK=cgo links what
# was compiled for this machine, with glibc inside: for tests, because compiling wflo without
# cgo compiles Temporal once more.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
tag=wflo/wflo:dev worker=./worker only=

say() { printf 'images: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

while [ $# -gt 0 ]; do
	case "$1" in
	--tag | --worker | --root) [ $# -ge 2 ] || die "$1 needs a value" ;;&
	--tag) tag=$2 ;;
	--worker) worker=$2 ;;
	--root) only=$2 ;;
	*) die "usage: build.sh [--tag NAME:TAG] [--worker PACKAGE] [--root DIR]" ;;
	esac
	shift 2
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/usr/share/wflo"

# program builds one, or takes it from BIN. Without symbols for debuggers it is a third
# smaller; panics still name their lines.
program() {
	if [ -n "${BIN:-}" ] && [ -x "$BIN/$1" ]; then
		cp "$BIN/$1" "$root/usr/local/bin/$1"
	else
		say "building $1"
		(cd "$source" && CGO_ENABLED=$cgo GOFLAGS=-trimpath go build -ldflags="$flags" -o "$root/usr/local/bin/$1" "$2") 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
	fi
}
cgo=0 flags='-s -w'
if [ "${LINK:-}" = cgo ]; then cgo=1 flags='-s -w -linkmode external -extldflags -static'; fi
program worker "$worker"
program wflo ./cmd/wflo

roots=/etc/ssl/certs/ca-certificates.crt
[ -s "$roots" ] || die "$roots is missing: install ca-certificates"
cp "$roots" "$root$roots"
printf 'root:x:0:0::/:/sbin/nologin\nwflo:x:65532:65532::/var/lib/wflo:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nwflo:x:65532:\n' >"$root/etc/group"
# A new volume takes the mode of the folder: whatever user the container has makes its own
# folder in there, which only it may read.
install -d -m 1777 "$root/tmp" "$root/var/lib/wflo"
# What is in it, where make sbom has written that down.
for bill in "$source"/bin/sbom/*.json; do [ -e "$bill" ] && cp "$bill" "$root/usr/share/wflo/"; done

if [ -n "$only" ]; then
	mkdir -p "$only"
	cp -a "$root/." "$only/"
	exit
fi
cp "$here/Dockerfile" "$work/Dockerfile"
revision=$(git -C "$source" rev-parse --short HEAD 2>/dev/null || echo unknown)
# The classic builder: it is in every engine, and there is nothing to run in here.
DOCKER_BUILDKIT=0 docker build -q --network none -t "$tag" --build-arg "VERSION=${VERSION:-dev}" --build-arg "REVISION=$revision" "$work" 2>/dev/null >/dev/null ||
	DOCKER_BUILDKIT=0 docker build --network none -t "$tag" --build-arg "VERSION=${VERSION:-dev}" --build-arg "REVISION=$revision" "$work" >&2
say "built $tag ($(docker image inspect -f '{{.Size}}' "$tag" | awk '{printf "%.0f MB", $1 / 1e6}'))"
