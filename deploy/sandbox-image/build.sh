#!/bin/bash
# Builds wflo/sandbox:1, the image that agents' code runs in, from Debian
# packages and without a registry. The Dockerfile beside it gives the same for
# those who build images with docker build.
#
#   build.sh            build and load the image into the engine
#   build.sh --hash     print the hash of this recipe; the image carries it as a
#                       label, so that deploy/setup.sh knows when to rebuild
#
# WFLO_DEBIAN_MIRROR and WFLO_DEBIAN_SECURITY_MIRROR name other mirrors.
set -euo pipefail

image=wflo/sandbox:1
suite=bookworm
mirror=${WFLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${WFLO_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
# libnss-myhostname resolves "localhost" where the engine leaves /etc/hosts empty.
packages=python3,nodejs,jq,gawk,libnss-myhostname

hash=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
if [ "${1:-}" = --hash ]; then
	echo "$hash"
	exit
fi

say() { printf 'sandbox-image: %s\n' "$*" >&2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# strip is run on the new root: no package manager (nothing can be installed
# anyway), no perl, no caches and docs, no setuid or setgid bits.
cat >"$work/strip" <<'STRIP'
#!/bin/sh
set -eu
root=$1
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/locale \
	"$root"/usr/share/bash-completion "$root"/usr/share/lintian "$root"/usr/share/pixmaps \
	"$root"/var/cache/* "$root"/var/log/* "$root"/var/lib/apt "$root"/var/lib/dpkg "$root"/etc/apt/sources.list* "$root"/etc/apt/trusted* \
	"$root"/usr/lib/apt "$root"/usr/lib/dpkg "$root"/usr/bin/dpkg* "$root"/usr/bin/update-alternatives \
	"$root"/usr/lib/python3*/ensurepip "$root"/usr/lib/python3*/test "$root"/usr/lib/python3*/lib2to3 \
	"$root"/usr/share/python3/runtime.d "$root"/etc/cron* "$root"/etc/systemd \
	"$root"/usr/bin/perl* "$root"/usr/share/perl* "$root"/usr/lib/*/perl* "$root"/usr/lib/*/libperl* \
	"$root"/usr/lib/*/gconv "$root"/usr/share/nodejs/@types
find "$root" -xdev -name __pycache__ -prune -exec rm -rf {} +
chroot "$root" python3 -m compileall -q /usr/lib/python3.11 || true
find "$root" -xdev ! -type l -perm /6000 -exec chmod ug-s {} +
find "$root" -xdev -type d -perm -0002 ! -perm -1000 -exec chmod o-w {} +
printf 'hosts: files myhostname\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
sed -i 's,^nobody:.*,nobody:x:65534:65534:nobody:/tmp:/bin/bash,' "$root/etc/passwd"
# Every sandbox has a user of its own, and the engine gives a new volume the
# owner and mode of this directory.
mkdir -p "$root/workspace"
chmod 1777 "$root/workspace"
STRIP
chmod 755 "$work/strip"

say "building from $suite packages (about a minute)"
# The unpacked root needs a directory that others may traverse.
chmod 755 "$work"
if ! mmdebstrap --quiet --mode=root --variant=essential --include="$packages" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
	--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
	--customize-hook="$work/strip \"\$1\"" --skip=cleanup/apt,cleanup/reproducible \
	"$suite" "$work/root.tar" \
	"deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main" \
	>"$work/log" 2>&1; then
	tail -n 20 "$work/log" >&2
	say "error: the packages could not be unpacked; is $mirror reachable?"
	exit 1
fi
old=$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null || true)
docker import \
	--change 'USER 65534:65534' \
	--change 'WORKDIR /workspace' \
	--change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
	--change 'ENV LANG=C.UTF-8' \
	--change 'CMD ["bash"]' \
	--change 'LABEL org.opencontainers.image.title=wflo-sandbox' \
	--change 'LABEL org.opencontainers.image.version=1' \
	--change "LABEL io.wflo.sandbox.build=$hash" \
	--message 'wflo sandbox image' \
	"$work/root.tar" "$image" >/dev/null
# An earlier build stays only while containers use it.
[ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
say "built $image ($(du -m "$work/root.tar" | cut -f1) MB)"
