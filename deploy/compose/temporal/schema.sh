#!/bin/sh
# Brings both of Temporal's schemas up to the version of these tools. What is up to date
# stays as it is.
set -eu

SQL_PASSWORD=$(cat /run/secrets/temporal_database)
export SQL_PASSWORD
tool() { temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal "$@"; }

for name in temporal:temporal temporal_visibility:visibility; do
	database=${name%:*}
	# A database that has a version is only updated.
	tool --database "$database" update-schema --schema-name "postgresql/v12/${name#*:}" 2>/dev/null && continue
	tool --database "$database" setup-schema --version 0.0
	tool --database "$database" update-schema --schema-name "postgresql/v12/${name#*:}"
done
