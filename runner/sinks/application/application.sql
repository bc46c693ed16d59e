-- name: table
SELECT n.nspname, c.relname, c.oid::bigint, c.relkind::text, c.reltuples::bigint,
       pg_catalog.has_table_privilege(c.oid, 'SELECT')
           OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(table)s
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND CASE WHEN %(schema)s::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s::text END

-- name: like
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE lower(c.relname) = lower(%(table)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 1, 2
LIMIT 5

-- name: columns
SELECT a.attname,
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       pg_catalog.format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL),
       t.typcategory::text,
       a.attnotnull,
       a.atthasdef OR a.attidentity <> '',
       a.attgenerated <> '' OR a.attidentity = 'a'
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: key
SELECT a.attname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = %(oid)s AND i.indisprimary
ORDER BY pg_catalog.array_position(i.indkey::smallint[], a.attnum)

-- name: there_is
SELECT pg_catalog.to_regclass(%(name)s) IS NOT NULL

-- name: may_write
SELECT pg_catalog.has_table_privilege(%(oid)s::oid, 'INSERT'),
       pg_catalog.has_table_privilege(%(oid)s::oid, 'UPDATE') OR pg_catalog.has_any_column_privilege(%(oid)s::oid, 'UPDATE'),
       pg_catalog.has_table_privilege(%(oid)s::oid, 'DELETE'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')

-- name: advisory
-- Sessions that hold one of these advisory locks: of one bigint key, or of two integers (then the second).
SELECT a.pid, a.application_name, ((l.classid::bigint << 32) | l.objid::bigint) AS key
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND a.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND (((l.classid::bigint << 32) | l.objid::bigint) = ANY (%(keys)s) OR (l.objsubid = 2 AND l.objid::bigint = ANY (%(keys)s)))

-- name: sessions
SELECT a.pid, a.application_name
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.application_name <> '' AND a.application_name NOT LIKE 'projection-runner: %%'
ORDER BY a.pid
