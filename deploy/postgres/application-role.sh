#!/bin/sh
# Runs once, when the database volume is empty: the application's own role and database. The role is no superuser.
# TimescaleDB is in the new database because the image puts it into template1.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password DATABASE_PASSWORD
CREATE ROLE voltbay LOGIN PASSWORD :'password';
CREATE DATABASE voltbay OWNER voltbay;
REVOKE ALL ON DATABASE voltbay FROM PUBLIC;
SQL
