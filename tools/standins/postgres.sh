#!/bin/bash
# The entry point of the image postgres, as far as the stack uses it: as root it gives the
# folders to postgres and goes on as that user; an empty folder becomes a cluster whose
# password is in a file, with the scripts of /docker-entrypoint-initdb.d run once.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA"
	chmod 700 "$PGDATA"
	chown -R postgres:postgres "$PGDATA" /var/run/postgresql
	exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 >/dev/null
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl -w -D "$PGDATA" -o "-c listen_addresses=''" start >/dev/null
	export POSTGRES_USER=postgres
	for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
	pg_ctl -m fast -w -D "$PGDATA" stop >/dev/null
fi
exec "$@" -c 'listen_addresses=*' -c jit=off
