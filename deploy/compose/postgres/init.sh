#!/bin/sh
# Runs once, when the volume of PostgreSQL is empty: a role and a database for Temporal and
# for wflo each, neither of which may see the other's.
set -eu

role() { # NAME FILE: a role whose password is in a file
	psql -v ON_ERROR_STOP=1 -v name="$1" -v password="$(cat "$2")" --username "$POSTGRES_USER" --dbname postgres <<-'SQL'
		CREATE ROLE :"name" LOGIN PASSWORD :'password';
	SQL
}

database() { # NAME OWNER
	psql -v ON_ERROR_STOP=1 -v name="$1" -v owner="$2" --username "$POSTGRES_USER" --dbname postgres <<-'SQL'
		CREATE DATABASE :"name" OWNER :"owner";
		REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
	SQL
}

role temporal /run/secrets/temporal_database
role wflo /run/secrets/wflo_database
database temporal temporal
database temporal_visibility temporal
database wflo wflo
