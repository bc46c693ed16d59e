-- What the runner knows of its tables, in the read models' database. Format 1.

-- name: exists
SELECT to_regclass('projection_runner.tables') IS NOT NULL AND to_regclass('projection_runner.read_models') IS NOT NULL;

-- name: exclusive
-- Two runs that begin at once would both make the schema, or the same table.
SELECT pg_advisory_xact_lock(7236402183390143089);

-- name: schema_exists
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s);

-- name: create_schema
CREATE SCHEMA projection_runner;

-- name: create
COMMENT ON SCHEMA projection_runner IS 'Bookkeeping of the projection runner, format 1';
CREATE TABLE projection_runner.tables (
    read_model text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    tenant text NOT NULL,
    version integer NOT NULL,
    revision integer NOT NULL,
    position bigint NOT NULL,
    fingerprint text NOT NULL,
    log_id text NOT NULL,
    job_id text NOT NULL,
    relid oid NOT NULL UNIQUE,
    complete boolean NOT NULL DEFAULT false,
    made_of text NOT NULL,
    columns jsonb NOT NULL,
    names jsonb NOT NULL DEFAULT '{}',
    own text[] NOT NULL,
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (read_model, schema_name, table_name, version, relid)
);
COMMENT ON TABLE projection_runner.tables IS
    'Tables of the runner: live, former and being loaded. relid: which table; made_of: digest of its columns; '
    'own: indexes of the read model''s own; names: what indexes and statistics are called now and when the table is live';
CREATE TABLE projection_runner.loaded (
    relid oid NOT NULL,
    partition integer NOT NULL,
    digest text NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (relid, partition)
);
COMMENT ON TABLE projection_runner.loaded IS 'Partitions that are in a table whose load has not finished';
-- A switch takes the same lock alone, before all others. So whoever has asked for a checkpoint finds its rows afterwards,
-- and who has the table already need not wait for a switch that waits for them.
CREATE FUNCTION projection_runner.stays(schema_name text, table_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED COST 1000 AS $stays$
DECLARE
    name text := pg_catalog.format('%I.%I', schema_name, table_name);
    key bigint := pg_catalog.hashtextextended(name, 7236402183390143089);
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(key) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_locks AS l
        JOIN pg_catalog.pg_database AS d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
        WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()
            AND (pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, l.relation, 0)).identity = name
    ) THEN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared(key);
    END IF;
    RETURN true;
END
$stays$;
COMMENT ON FUNCTION projection_runner.stays IS 'What the name stands for stays so until the transaction ends';
-- Which version is live is what the name stands for now, not what it stood for in the reader's snapshot: so it is asked
-- by functions that look past the snapshot, and a REPEATABLE READ reader has the checkpoint of the rows it sees.
CREATE VIEW projection_runner.read_models AS
SELECT read_model, schema_name, table_name, tenant, version, revision, position, fingerprint, log_id, job_id, changed
FROM projection_runner.tables
WHERE CASE
    WHEN projection_runner.stays(schema_name, table_name)
    THEN (pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, relid, 0)).identity
        = pg_catalog.format('%I.%I', schema_name, table_name)
END;
COMMENT ON VIEW projection_runner.read_models IS
    'The checkpoint of each read model: its rows reflect every event up to position';
GRANT USAGE ON SCHEMA projection_runner TO PUBLIC;
GRANT EXECUTE ON FUNCTION projection_runner.stays TO PUBLIC;
GRANT SELECT ON projection_runner.read_models TO PUBLIC;

-- name: states
SELECT read_model, schema_name, table_name, tenant, version, revision, position, fingerprint, log_id, job_id
FROM projection_runner.read_models
ORDER BY read_model, schema_name, table_name;

-- name: of_version
SELECT relid, revision, position, fingerprint, log_id, complete, made_of,
    (SELECT relname FROM pg_class WHERE oid = relid) AS relname,
    coalesce((pg_identify_object('pg_class'::regclass, relid, 0)).identity = format('%%I.%%I', schema_name, table_name), false),
    names
FROM projection_runner.tables
WHERE read_model = %(name)s AND schema_name = %(schema)s AND table_name = %(table)s AND version = %(version)s
ORDER BY relid DESC;

-- name: of_model
SELECT t.schema_name, t.table_name, t.version, t.relid, c.relname, n.nspname,
    (pg_identify_object('pg_class'::regclass, t.relid, 0)).identity = format('%%I.%%I', t.schema_name, t.table_name)
FROM projection_runner.tables AS t
LEFT JOIN pg_class AS c ON c.oid = t.relid
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.read_model = %(name)s
ORDER BY t.schema_name, t.table_name, t.version;

-- name: note_table
INSERT INTO projection_runner.tables (
    read_model, schema_name, table_name, tenant, version, revision, position, fingerprint, log_id, job_id, relid,
    made_of, columns, own
)
VALUES (
    %(name)s, %(schema)s, %(table)s, %(tenant)s, %(version)s, %(revision)s, %(position)s, %(fingerprint)s, %(log_id)s,
    %(job_id)s, %(relid)s, %(made_of)s, %(columns)s, %(own)s
);

-- name: forget_table
WITH gone AS (DELETE FROM projection_runner.tables WHERE relid = %(relid)s RETURNING relid)
DELETE FROM projection_runner.loaded WHERE relid IN (SELECT relid FROM gone) OR relid = %(relid)s;

-- name: finished_partitions
SELECT partition, digest FROM projection_runner.loaded WHERE relid = %(relid)s;

-- name: note_partition
INSERT INTO projection_runner.loaded VALUES (%(relid)s, %(partition)s, %(digest)s, %(rows)s);

-- name: note_complete
WITH done AS (DELETE FROM projection_runner.loaded WHERE relid = %(relid)s)
UPDATE projection_runner.tables
SET complete = true, revision = %(revision)s, position = %(position)s, job_id = %(job_id)s,
    changed = now()
WHERE relid = %(relid)s;

-- name: note_names
-- Who looks for older snapshots takes the row's last change for the last writing: it changes only where it has to.
UPDATE projection_runner.tables SET names = %(names)s WHERE relid = %(relid)s AND names <> %(names)s;

-- name: note_written
-- Something that is read with the table was written: whose snapshot is older would not see it.
UPDATE projection_runner.tables SET changed = now() WHERE relid = %(relid)s;

-- name: lock_row
SELECT version, revision, position, fingerprint, log_id FROM projection_runner.tables WHERE relid = %(relid)s FOR UPDATE;

-- name: checkpoint
UPDATE projection_runner.tables
SET revision = %(revision)s, position = %(position)s, job_id = %(job_id)s, changed = now()
WHERE relid = %(relid)s;

-- name: lost
-- Tables whose number is no longer theirs, as after a restore from a dump, and what has their columns under their names.
SELECT t.read_model, t.schema_name, t.table_name, t.version, t.relid
FROM projection_runner.tables AS t
WHERE NOT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = t.relid AND n.nspname = t.schema_name)
ORDER BY t.read_model, t.schema_name, t.table_name, t.version;

-- name: adopt
UPDATE projection_runner.tables AS t
SET relid = c.oid
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.relid = %(relid)s AND n.nspname = t.schema_name AND c.relname = %(relname)s AND c.relkind = 'r'
    AND NOT EXISTS (SELECT FROM projection_runner.tables AS o WHERE o.relid = c.oid)
    AND (
        SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) = (SELECT jsonb_object_agg(k, v -> 0) FROM jsonb_each(t.columns) AS e (k, v))
RETURNING t.relid;

-- name: adopt_loaded
UPDATE projection_runner.loaded SET relid = %(now)s WHERE relid = %(relid)s;
