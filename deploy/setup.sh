#!/bin/bash
# Prepares a Debian 12 machine for wflo: the container engine and the sandbox
# image; for its tests also PostgreSQL's programs, Redis, OpenLDAP's server,
# Chromium, a C compiler, Python, AppArmor's parser and gVisor.
#
#   deploy/setup.sh           install, start and build what is missing to run it
#   deploy/setup.sh tests     and what is missing to test it
#   deploy/setup.sh --check   only report; exit status 1 if something is missing
#   deploy/setup.sh stop      stop what an earlier run of this script started
#
# It may run any number of times, says one short line per action on stderr, and
# nothing when there is nothing to do. It never starts a second engine next to
# one that answers, never restarts one, and never touches a PostgreSQL cluster.
#
# WFLO_TEST_GVISOR=off, for this script and for the tests alike, is for machines
# that cannot have gVisor: tests then hold that it is refused. WFLO_DEBIAN_MIRROR
# names another mirror.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${WFLO_SETUP_STATE:-/var/run/wflo-setup}
log=${WFLO_DOCKERD_LOG:-/var/log/wflo-dockerd.log}
socket=/var/run/docker.sock
config=/etc/docker/daemon.json
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
	command -v ip >/dev/null || echo iproute2
	# tools/standins unpacks servers with it.
	command -v mmdebstrap >/dev/null || echo mmdebstrap
	[ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || echo postgresql
	command -v redis-server >/dev/null || echo redis-server
	command -v slapd >/dev/null || [ -x /usr/sbin/slapd ] || echo slapd
	command -v git >/dev/null || echo git
	command -v chromium >/dev/null || echo chromium
	# The race detector needs a C compiler.
	command -v gcc >/dev/null || echo gcc libc6-dev
	command -v python3 >/dev/null || echo python3-minimal
	# Only its parser is wanted, which needs no AppArmor in the kernel.
	command -v apparmor_parser >/dev/null || echo apparmor
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
	# Tests run a directory of their own, so the package makes none.
	case " $* " in *' slapd '*) echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections ;; esac
	local ok=1
	apt_install "$@" >"$out" 2>&1 || { apt-get update >>"$out" 2>&1 && apt_install "$@" >>"$out" 2>&1; } || ok=0
	rm -f $clusters
	if [ $denied = 1 ]; then rm -f $deny; fi
	[ $ok = 1 ] || die "apt-get could not install $*" "$out"
	rm -f "$out"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

gvisor_wanted() { [ "${WFLO_TEST_GVISOR:-on}" != off ]; }

# runsc_current leaves any gVisor alone but Debian 12's own: in that one, ls of
# the same release fails, because it does not know a flag of statx.
runsc_current() {
	local version
	version=$(runsc --version 2>/dev/null) || return 1
	case "$version" in *'version 0.0~2022'*) return 1 ;; esac
}

# install_runsc takes Debian 13's package, one static program that needs no
# other package, through lists of its own: apt's own sources stay as they are.
install_runsc() {
	local work apt
	say "installing runsc (gVisor) of Debian 13"
	work=$(mktemp -d)
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	echo "deb ${WFLO_DEBIAN_MIRROR:-http://deb.debian.org/debian} trixie main" >"$work/sources"
	apt=(apt-get -o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists"
		-o "Dir::Cache=$work" -o APT::Sandbox::User=root)
	if ! { "${apt[@]}" update && (cd "$work" && "${apt[@]}" download runsc) && dpkg -i "$work"/runsc_*.deb; } >"$work/log" 2>&1; then
		die "runsc could not be installed; set WFLO_TEST_GVISOR=off to test without gVisor" "$work/log"
	fi
	rm -rf "$work"
}

engine_has_runsc() { docker -H "unix://$socket" info -f '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' 2>/dev/null | grep -qw runsc; }

# register_runsc adds gVisor to the engine's configuration, where runsc install
# keeps what else is there, and has the engine read it again, which containers
# do not notice. gVisor's own network would need one of the container's, and a
# sandbox has none. Its platform systrap needs no /dev/kvm.
register_runsc() {
	say "adding the runtime runsc to $config"
	mkdir -p "$state" "${config%/*}"
	if [ -e "$config" ]; then cp -p "$config" "$state/daemon.json.before"; else : >"$state/daemon.json.none"; fi
	runsc install --config_file="$config" --runtime=runsc -- --network=none --platform=systrap >"$state/runsc.log" 2>&1 ||
		die "runsc could not add itself to $config" "$state/runsc.log"
	rm -f "$config~"
	cp -p "$config" "$state/daemon.json.after"
	reload_engine
	for _ in $(seq 50); do
		engine_has_runsc && return 0
		sleep 0.2
	done
	die "the engine does not take the runtime runsc from $config" "$log"
}

# unregister_runsc undoes that: a file that nobody changed since becomes what it
# was, and from one that somebody changed only the runtime is taken.
unregister_runsc() {
	[ -e "$state/daemon.json.after" ] || return 0
	say "removing the runtime runsc from $config"
	if ! cmp -s "$config" "$state/daemon.json.after"; then
		runsc uninstall --config_file="$config" --runtime=runsc >/dev/null 2>&1 || say "$config has no runtime runsc any more"
		rm -f "$config~"
	elif [ -e "$state/daemon.json.before" ]; then
		cp -p "$state/daemon.json.before" "$config"
	else
		# An engine that finds no file keeps what it knows.
		echo '{"runtimes": {}}' >"$config"
	fi
	reload_engine
	for _ in $(seq 50); do
		engine_has_runsc || break
		sleep 0.2
	done
	if [ -e "$state/daemon.json.none" ]; then
		if [ "$(cat "$config")" = '{"runtimes": {}}' ]; then rm -f "$config"; fi
	fi
	rm -f "$state"/daemon.json.*
}

reload_engine() {
	local pid
	pid=$(pidof -s dockerd) || return 0
	kill -HUP "$pid" 2>/dev/null || true # it may end at this moment
}

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
	unregister_runsc
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
	if ! gvisor_wanted; then
		say "gvisor: off by WFLO_TEST_GVISOR"
	elif runsc_current && engine_has_runsc; then
		say "gvisor: ok"
	else
		say "gvisor: runsc is missing, too old, or not a runtime of the engine (only tests need it)"; bad=1
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
	if [ "${1:-}" = tests ] && gvisor_wanted; then
		runsc_current || install_runsc
		engine_has_runsc || register_runsc
	fi
	image_current || "$here/sandbox-image/build.sh"
}

main "$@"
