#!/bin/bash
# Prepares the stack of docker-compose.yml, once: secrets as files, a key for the console,
# and .env beside docker-compose.yml. What is there already stays as it is, so that it may
# run any number of times.
#
#   deploy/compose/init.sh         Temporal, PostgreSQL, workers, console, Temporal's Web UI
#   deploy/compose/init.sh full    and Redis, MinIO, traces, metrics and dashboards
#
# It needs Docker and the images wflo/wflo:dev (deploy/images/build.sh) and wflo/sandbox:1
# (deploy/sandbox-image). WFLO_IMAGE names another image of wflo; WFLO_SECRETS and
# WFLO_ENV say where the secrets and the settings go.
#
# Run by root, wflo in containers is user 65532; run by somebody else, it is that user,
# because only the owner may read wflo's secrets.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
secrets=${WFLO_SECRETS:-$here/secrets}
settings=${WFLO_ENV:-$here/../../.env}
image=${WFLO_IMAGE:-wflo/wflo:dev}
size=${1:-small}

say() { printf 'init: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

case "$size" in small | full) ;; *) die "usage: init.sh [small | full]" ;; esac
docker image inspect "$image" >/dev/null 2>&1 || die "there is no image $image: run deploy/images/build.sh"
docker image inspect wflo/sandbox:1 >/dev/null 2>&1 || die "there is no image wflo/sandbox:1: run deploy/sandbox-image/build.sh, or docker build -t wflo/sandbox:1 deploy/sandbox-image"

uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then uid=65532 gid=65532; fi
umask 077
mkdir -p "$secrets"
secrets=$(cd "$secrets" && pwd)

random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

# ours is a secret of wflo's own programs, which they alone read; theirs is one for an
# image that runs as a user of its own. The folder keeps everybody else on this machine out.
# The console refuses a key that others may read.
ours() { put "$1" "$2" 0600 && own "$secrets/$1"; }
theirs() { put "$1" "$2" 0644; }
put() {
	[ -e "$secrets/$1" ] || printf '%s\n' "$2" >"$secrets/$1"
	chmod "$3" "$secrets/$1"
}
own() { [ "$(id -u)" != 0 ] || chown "$uid:$gid" "$1"; }

theirs postgres_password "$(random)"
theirs temporal_database "$(random)"
theirs wflo_database "$(random)"
ours wflo_pgpass "postgres:5432:wflo:wflo:$(cat "$secrets/wflo_database")"
theirs minio_user wflo
theirs minio_password "$(random)"
ours s3_credentials "$(printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s' "$(cat "$secrets/minio_user")" "$(cat "$secrets/minio_password")")"
redis=$(random)
theirs redis.conf "$(printf 'requirepass %s\nsave ""\nappendonly no\nmaxmemory 128mb\nmaxmemory-policy allkeys-lru' "$redis")"
ours redis_url "redis://:$(sed -n 's/^requirepass //p' "$secrets/redis.conf")@redis:6379/0"
theirs grafana_password "$(random)"
ours blob_keys "stack:$(head -c 32 /dev/urandom | base64 | tr -d '\n')"
# Put the keys of your models in here; an empty file is a provider that you do not use.
for name in openai anthropic gemini cohere; do ours "${name}_api_key" ""; done

if [ ! -e "$secrets/console_key" ]; then
	# The image makes the key as the user that reads it. The folder is open to that user
	# for as long as this takes.
	new=$(mktemp -d "$secrets/new.XXXXXX")
	own "$new"
	docker run --rm --network none --user "$uid:$gid" -v "$new:/new" "$image" /usr/local/bin/wflo keygen /new/console_key 2>/dev/null >"$secrets/console_key.said"
	mv "$new/console_key" "$secrets/console_key"
	rm -rf "$new"
fi
public=$(grep -oE '[A-Za-z0-9+/]{43}=' "$secrets/console_key.said" | head -n 1)
[ -n "$public" ] || die "the public half of $secrets/console_key is not in console_key.said: remove both, and run this again"

socket=${WFLO_DOCKER_SOCKET:-/var/run/docker.sock}
[ -S "$socket" ] || die "there is no Docker engine at $socket; WFLO_DOCKER_SOCKET names another socket"
if [ -e "$settings" ]; then
	say "$settings is there and stays as it is"
else
	{
		echo "# Settings of docker-compose.yml, made by deploy/compose/init.sh. No secret is in here."
		echo "COMPOSE_PROFILES=$([ "$size" = small ] || echo full)"
		echo "WFLO_SIZE=$size"
		echo "WFLO_IMAGE=$image"
		echo "WFLO_UID=$uid"
		echo "WFLO_GID=$gid"
		echo "WFLO_SECRETS=$secrets"
		echo "WFLO_APPROVER_KEYS=console_key=$public"
		echo "WFLO_DOCKER_SOCKET=$socket"
		echo "WFLO_DOCKER_GID=$(stat -c %g "$socket")"
		if [ "$size" = full ]; then
			echo "WFLO_OTLP_ENDPOINT=http://otelcol:4318"
			echo "WFLO_REDIS_URL_FILE=/run/secrets/redis_url"
		fi
	} >"$settings"
	chmod 644 "$settings"
	say "wrote $settings; secrets are in $secrets"
fi
