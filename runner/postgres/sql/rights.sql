-- What the current role may do. Names of things are shown to every role, whatever it may do with them.

-- name: schema
SELECT
    n.oid IS NOT NULL,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
    coalesce(has_schema_privilege(n.oid, 'CREATE'), false),
    has_database_privilege(current_database(), 'CREATE')
FROM (VALUES (%(schema)s::text)) AS asked (name)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = asked.name

-- name: tables
SELECT
    n.nspname::text,
    c.relname::text,
    c.relkind::text,
    has_schema_privilege(n.oid, 'USAGE'),
    has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'),
    has_table_privilege(c.oid, 'SELECT'),
    has_table_privilege(c.oid, 'INSERT'),
    has_table_privilege(c.oid, 'UPDATE'),
    has_table_privilege(c.oid, 'DELETE'),
    pg_has_role(c.relowner, 'USAGE'),
    row_security_active(c.oid),
    quote_ident(pg_get_userbyid(c.relowner))
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = %(name)s::text
    AND CASE WHEN %(schema)s::text = '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s::text END
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 1

-- name: sequence
SELECT has_sequence_privilege(%(oid)s::oid, 'SELECT') OR has_sequence_privilege(%(oid)s::oid, 'USAGE')
