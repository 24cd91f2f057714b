#!/bin/bash
# Builds what stands in for the images of third parties in the test of docker-compose.yml,
# where no registry can be reached: the same servers from Debian 13's packages and from Go
# modules (make bin/temporal-server and the others), with entry points that do what those
# of the real images do as far as the stack uses it. Grafana is in neither; Jaeger's place
# has a collector that prints the traces that it gets. Nothing here is for production.
#
#   build.sh          build the images wflo-standin/NAME:1 that are missing or old
#   build.sh --hash   print what they are made of; their label says the same
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${BIN:-$here/../../bin}
mirror=${WFLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=postgresql,redis-server,prometheus,netcat-openbsd,wget,curl,ca-certificates
programs="temporal temporal-server temporal-sql-tool temporal-ui minio otelcol"
names="postgres redis prometheus minio temporal-server temporal-admin-tools temporal-ui otelcol jaeger"

say() { printf 'standins: %s\n' "$*" >&2; }

base() { echo "trixie $packages 1" | sha256sum | cut -c1-16; }
# Programs are large: their size and date stand for what is in them.
hash() {
	{ base; cat "$here"/*.sh "$here"/*.yaml "$here"/Dockerfile; for p in $programs; do stat -L -c '%n %s %Y' "$bin/$p"; done; } | sha256sum | cut -c1-16
}
label() { docker image inspect -f '{{index .Config.Labels "io.wflo.standin"}}' "$1" 2>/dev/null || true; }

if [ "${1:-}" = --hash ]; then hash; exit; fi
for p in $programs; do [ -x "$bin/$p" ] || { say "error: $bin/$p is missing: make stack-images"; exit 1; }; done
want=$(hash)
stale=
for n in $names; do [ "$(label "wflo-standin/$n:1")" = "$want" ] || stale=1; done
[ -n "$stale" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
if [ "$(label wflo-standin/debian:1)" != "$(base)" ]; then
	say "unpacking Debian's packages (2 minutes)"
	mmdebstrap --quiet --mode=root --variant=essential --include="$packages" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/llvm-*/*' --dpkgopt='force-unsafe-io' \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --skip=cleanup/reproducible \
		--essential-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/none.conf"' \
		trixie "$work/root.tar" "deb $mirror trixie main" >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2; say "error: the packages could not be unpacked; is $mirror reachable?"; exit 1; }
	docker import --change "LABEL io.wflo.standin=$(base)" "$work/root.tar" wflo-standin/debian:1 >/dev/null
	rm "$work/root.tar"
fi

mkdir "$work/context"
for p in $programs; do cp -L "$bin/$p" "$work/context/"; done
cp "$here"/*.sh "$here"/*.yaml "$work/context/"
# build makes one image; without a folder its Dockerfile comes from standard input.
build() {
	DOCKER_BUILDKIT=0 docker build -q --network none -t "wflo-standin/$1:1" "$2" >/dev/null 2>"$work/log" ||
		{ cat "$work/log" >&2; say "error: wflo-standin/$1:1 could not be built"; exit 1; }
}
cp "$here/Dockerfile" "$work/context/Dockerfile"
build all "$work/context"
for n in $names; do
	{
		echo "FROM wflo-standin/all:1"
		echo "LABEL io.wflo.standin=$want"
		case $n in
		postgres) printf 'ENV PGDATA=/var/lib/postgresql/data\nENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["postgres"]\n' ;;
		prometheus) echo 'ENTRYPOINT ["/usr/bin/prometheus"]' ;;
		temporal-ui) printf 'WORKDIR /home/ui-server\nENTRYPOINT ["./ui-server", "--env", "docker", "start"]\n' ;;
		otelcol) echo 'ENTRYPOINT ["/usr/local/bin/otelcol"]' ;;
		jaeger) echo 'ENTRYPOINT ["/usr/local/bin/otelcol", "--config", "/etc/jaeger.yaml"]' ;;
		esac
	} | build "$n" -
done
say "built wflo-standin/{${names// /,}}:1"
