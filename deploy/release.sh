#!/usr/bin/env bash
# Makes what a release consists of, from the last commit, without the network but for the
# Go modules: archives of the programs, the chart, bills of materials (CycloneDX), checksums
# and a provenance statement (in-toto, SLSA v1). The same commit and Go give the same bytes.
#
#   deploy/release.sh VERSION OUT      such as v0.1.0 dist; OUT must not exist
#
# TARGETS are OS/ARCH, PROGRAMS are wflo, worker and wflo-runner; both have all as default.
# BUILDER names who builds, for the statement. Signing and publishing is the workflow's.
set -euo pipefail

die() { printf 'release: error: %s\n' "$*" >&2; exit 1; }
say() { printf 'release: %s\n' "$*" >&2; }

[ $# = 2 ] || die "usage: deploy/release.sh VERSION OUT"
version=$1
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "$version is not a version such as v0.1.0"
[ ! -e "$2" ] || die "$2 exists"
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
targets=${TARGETS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}
programs=${PROGRAMS:-wflo worker}
builder=${BUILDER:-https://github.com/wflo-ai/wflo-go/blob/main/deploy/release.sh}
bom=$tree/bin/cyclonedx-gomod
[ -x "$bom" ] || die "bin/cyclonedx-gomod is missing: make bin/cyclonedx-gomod"

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT

# A clone of the commit: what is not committed is not released.
git clone -q --shared "$tree" "$work/src"
cd "$work/src"
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C GOFLAGS=-trimpath CGO_ENABLED=0
umask 022
say "$version of $commit"
tools/pid1.sh --check >&2

# pack NAME FILE...: an archive of files beside each other, the same for the same content.
pack() {
	local name=$1
	shift
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar --dereference -cf - "$@" | gzip -n -9 >"$out/$name"
}

package() { case $1 in worker) echo ./worker ;; *) echo "./cmd/$1" ;; esac; }

for target in $targets; do
	os=${target%/*} arch=${target#*/} dir=$work/wflo_${version#v}_${target%/*}_${target#*/}
	mkdir "$dir"
	for program in $programs; do
		# Workers and PID 1 of sandboxes run on Linux; elsewhere there is the command line.
		if [ "$os" != linux ] && [ "$program" != wflo ]; then continue; fi
		say "building $program for $target"
		GOOS=$os GOARCH=$arch go build -ldflags='-s -w -buildid=' -o "$dir/$program" "$(package "$program")"
		"$bom" bin -json -noserial -notimestamp -std -output-version 1.6 -version "$version" \
			-output "$out/${program}_${version#v}_${os}_$arch.cdx.json" "$dir/$program" 2>"$work/bom.log" || die "bill of materials: $(tail -n 3 "$work/bom.log")"
	done
	[ -n "$(ls "$dir")" ] || die "$target has none of $programs"
	cp LICENSE README.md "$dir/"
	(cd "$work" && pack "$(basename "$dir").tar.gz" "$(basename "$dir")")
done
(cd deploy/helm && pack "wflo-chart-${version#v}.tgz" wflo)

(cd "$tree/tools/sbom" && GOWORK=off CGO_ENABLED=0 go run . provenance -version "$version" -commit "$commit" -builder "$builder" -targets "$targets" -programs "$programs" "$out")
(cd "$tree/tools/sbom" && GOWORK=off CGO_ENABLED=0 go run . check "$out")
say "$(ls "$out" | wc -l) files in $out"
