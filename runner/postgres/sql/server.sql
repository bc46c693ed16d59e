-- What a session can learn of its server and of itself, without any privilege.

-- name: facts
SELECT
    current_setting('server_version_num')::int AS version,
    current_user::text AS role,
    current_database()::text AS database,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS standby,
    r.rolsuper AS superuser,
    r.rolbypassrls AS bypasses_row_security,
    r.rolconnlimit AS role_limit,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('max_connections')::int AS most_connections,
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend')::int
        AS connections,
    extract(epoch FROM clock_timestamp())::float8 AS clock,
    pg_backend_pid() AS backend,
    has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS sees_identity
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user

-- Seconds since the last transaction that a standby replayed, where it has more to replay.
-- name: standby_lag
SELECT CASE
    WHEN pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
    THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
END::float8

-- Roles and databases for which commits need not be durable.
-- name: asynchronous_commits
SELECT coalesce(quote_ident(r.rolname), 'all roles') || ' in ' || coalesce(quote_ident(d.datname), 'all databases')
FROM pg_catalog.pg_db_role_setting AS s
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
WHERE 'synchronous_commit=off' = ANY (s.setconfig)
    AND (s.setdatabase = 0 OR d.datname = current_database())
ORDER BY 1

-- name: leave_mark
SELECT set_config('projection_runner.mark', %(mark)s, false), pg_backend_pid()

-- name: read_mark
SELECT current_setting('projection_runner.mark', true), pg_backend_pid()
