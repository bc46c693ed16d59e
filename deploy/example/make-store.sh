#!/bin/sh
# Run by the Postgres image when its data directory is new.
exec psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set projections_password="$PROJECTIONS_PASSWORD" --file /example/store.sql
