#!/bin/bash
# Prepares a Debian 12 machine for wflo: the container engine and the sandbox
# image; for its tests also PostgreSQL's programs, a C compiler and Python.
#
#   deploy/setup.sh           install, start and build what is missing to run it
#   deploy/setup.sh tests     and what is missing to test it
#   deploy/setup.sh --check   only report; exit status 1 if something is missing
#   deploy/setup.sh stop      stop what an earlier run of this script started
#
# It may run any number of times, says one short line per action on stderr, and
# nothing when there is nothing to do. It never starts a second engine next to
# one that answers, and never touches a PostgreSQL cluster.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${WFLO_SETUP_STATE:-/var/run/wflo-setup}
log=${WFLO_DOCKERD_LOG:-/var/log/wflo-dockerd.log}
socket=/var/run/docker.sock
image=wflo/sandbox:1

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
	say "error: $1"
	if [ -n "${2:-}" ] && [ -s "$2" ]; then
		say "last lines of $2:"
		tail -n 15 "$2" | sed 's/^/    /' >&2
	fi
	exit 1
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# missing_packages prints what apt shall install. A package counts as there when
# its program is, so that docker-ce or a PostgreSQL from elsewhere is left alone.
missing_packages() {
	command -v dockerd >/dev/null || echo docker.io
	command -v docker >/dev/null || apt_has docker-cli
	installed ca-certificates || echo ca-certificates
	image_current || command -v mmdebstrap >/dev/null || echo mmdebstrap
	[ "$1" = tests ] || return 0
	[ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || echo postgresql
	command -v git >/dev/null || echo git
	# The race detector needs a C compiler.
	command -v gcc >/dev/null || echo gcc libc6-dev
	command -v python3 >/dev/null || echo python3-minimal
}

# apt_has prints a package that only some releases split off, if this one does.
apt_has() { if apt-cache show "$1" >/dev/null 2>&1; then echo "$1"; fi; }

engine_answers() { [ -S "$socket" ] && timeout 10 docker -H "unix://$socket" version >/dev/null 2>&1; }

image_current() {
	local have
	have=$(docker -H "unix://$socket" image inspect -f '{{index .Config.Labels "io.wflo.sandbox.build"}}' "$image" 2>/dev/null) || return 1
	[ "$have" = "$("$here/sandbox-image/build.sh" --hash)" ]
}

# install runs apt with service starts denied: the packages would start an
# engine in the distribution's way and create and start a database cluster.
install() {
	local deny=/usr/sbin/policy-rc.d denied=0 clusters=/etc/postgresql-common/createcluster.d/wflo.conf out
	out=$(mktemp)
	say "installing $*"
	if [ ! -e $deny ]; then
		printf '#!/bin/sh\nexit 101\n' >$deny
		chmod 755 $deny
		denied=1
	fi
	mkdir -p "${clusters%/*}"
	echo 'create_main_cluster = false' >$clusters
	local ok=1
	apt_install "$@" >"$out" 2>&1 || { apt-get update >>"$out" 2>&1 && apt_install "$@" >>"$out" 2>&1; } || ok=0
	rm -f $clusters
	if [ $denied = 1 ]; then rm -f $deny; fi
	[ $ok = 1 ] || die "apt-get could not install $*" "$out"
	rm -f "$out"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

# mount_cgroups gives an engine its cgroups where no init system did.
mount_cgroups() {
	if mountpoint -q /sys/fs/cgroup || [ -n "$(ls -A /sys/fs/cgroup 2>/dev/null)" ]; then return 0; fi
	say "mounting cgroup2"
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

# start_engine tries dockerd as it is, then with the older iptables (a kernel
# without nftables), then without packet filtering: sandboxes have no network,
# so they lose nothing.
start_engine() {
	if [ -d /run/systemd/system ]; then
		say "starting docker.service"
		systemctl start docker || die "systemctl could not start docker; see journalctl -u docker"
		wait_for_engine 0 || die "docker.service runs, but $socket does not answer"
		mkdir -p "$state" && : >"$state/dockerd.systemd"
		return
	fi
	if pidof dockerd >/dev/null; then die "a dockerd runs, but $socket does not answer" "$log"; fi
	mount_cgroups
	mkdir -p "$state"
	: >"$log"
	local legacy="$state/legacy"
	if [ -x /usr/sbin/iptables-legacy ]; then
		mkdir -p "$legacy"
		ln -sf /usr/sbin/iptables-legacy "$legacy/iptables"
		ln -sf /usr/sbin/ip6tables-legacy "$legacy/ip6tables"
	fi
	try_engine "$PATH" && return
	[ -d "$legacy" ] && try_engine "$legacy:$PATH" && return
	try_engine "$PATH" --iptables=false --ip6tables=false && return
	die "dockerd does not start" "$log"
}

# try_engine starts dockerd with a PATH and flags, and records it when it answers.
try_engine() {
	local path=$1 pid
	shift
	say "starting dockerd${*:+ $*}$([ "$path" = "$PATH" ] || echo ' with iptables-legacy')"
	echo "--- dockerd $* (PATH=$path)" >>"$log"
	PATH=$path setsid dockerd -H "unix://$socket" "$@" >>"$log" 2>&1 </dev/null &
	pid=$!
	if wait_for_engine "$pid"; then
		echo "$pid $(start_time "$pid")" >"$state/dockerd.pid"
		return 0
	fi
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	return 1
}

# wait_for_engine waits at most 60 s; a process that died ends it at once.
wait_for_engine() {
	for _ in $(seq 300); do
		engine_answers && return 0
		[ "$1" = 0 ] || kill -0 "$1" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}

# start_time tells a process from a later one with the same id.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

stop() {
	if [ -e "$state/dockerd.systemd" ]; then
		say "stopping docker.service"
		systemctl stop docker.socket docker.service
		rm -f "$state/dockerd.systemd"
	fi
	[ -s "$state/dockerd.pid" ] || return 0
	local pid started
	read -r pid started <"$state/dockerd.pid"
	if [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]; then
		say "stopping dockerd ($pid)"
		kill "$pid"
		for _ in $(seq 150); do
			[ "$(start_time "$pid")" = "$started" ] || break
			sleep 0.2
		done
		[ "$(start_time "$pid")" != "$started" ] || die "dockerd ($pid) does not stop" "$log"
	fi
	rm -rf "$state"
}

check() {
	local bad=0 missing
	missing=$(missing_packages tests | sed /mmdebstrap/d | tr '\n' ' ')
	if [ -n "$missing" ]; then say "missing packages: $missing"; bad=1; else say "packages: ok"; fi
	if engine_answers; then
		say "engine: $(docker -H "unix://$socket" version -f '{{.Server.Version}}') at $socket"
	else
		say "engine: none answers at $socket"; bad=1
	fi
	if image_current; then say "image: $image is current"; else say "image: $image is missing or of another build"; bad=1; fi
	[ $bad = 0 ] || say "run deploy/setup.sh as root"
	return $bad
}

main() {
	case "${1:-}" in
	--check) check; return ;;
	stop) stop; return ;;
	'' | tests) ;;
	*) die "usage: deploy/setup.sh [tests | --check | stop]" ;;
	esac
	[ "$(id -u)" = 0 ] || die "run it as root"
	local packages
	packages=$(missing_packages "${1:-}")
	# shellcheck disable=SC2086 # a list of words
	if [ -n "$packages" ]; then install $packages; fi
	engine_answers || start_engine
	image_current || "$here/sandbox-image/build.sh"
}

main "$@"
