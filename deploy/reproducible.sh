#!/usr/bin/env bash
# Builds programs twice, in two folders, with two caches, homes, time zones and masks and an
# empty environment, and compares them. Nothing of the first build is there for the second.
#
#   deploy/reproducible.sh [PROGRAM...]     wflo-runner (the default, under a minute), worker,
#                                           starter, wflo (many minutes: Temporal is compiled twice)
#
# TARGETS are OS/ARCH, with linux/amd64 as default.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=("$@")
[ $# -gt 0 ] || programs=(wflo-runner)
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
# Of one commit, also where somebody commits meanwhile.
commit=$(git -C "$tree" rev-parse HEAD)
go=$(command -v go) modules=$(go env GOMODCACHE) proxy=$(go env GOPROXY)

# build PLACE ZONE MASK: everything into PLACE/out.
build() {
	local place=$work/$1 target program path
	mkdir -p "$place"
	git clone -q --shared --no-checkout "$tree" "$place/src"
	git -C "$place/src" checkout -q --detach "$commit"
	(
		umask "$3"
		for target in ${TARGETS:-linux/amd64}; do
			for program in "${programs[@]}"; do
				case $program in worker | starter) path=./$program ;; *) path=./cmd/$program ;; esac
				(cd "$place/src" && env -i PATH="$(dirname "$go"):/usr/bin:/bin" HOME="$place/home" TZ="$2" GOCACHE="$place/cache" GOMODCACHE="$modules" GOPROXY="$proxy" \
					GOFLAGS=-trimpath CGO_ENABLED=0 GOOS="${target%/*}" GOARCH="${target#*/}" \
					go build -ldflags='-s -w -buildid=' -o "$place/out/${target%/*}-${target#*/}-$program" "$path")
			done
		done
	)
	rm -rf "$place/cache"
	(cd "$place/out" && sha256sum -- *) >"$work/$1.sums"
}

build one UTC 022
build another-with-a-longer-name Pacific/Chatham 077
if ! diff "$work/one.sums" "$work/another-with-a-longer-name.sums" >&2; then
	echo "reproducible: two builds of one commit differ" >&2
	exit 1
fi
sed 's/^/reproducible: /' "$work/one.sums"
"$tree/tools/pid1.sh" --check
