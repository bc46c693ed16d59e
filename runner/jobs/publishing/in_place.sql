-- The checkpoints of tables that the application owns, in their own database: not among the runner's tables, which it
-- may drop.

-- name: make
DO $$
BEGIN
    IF to_regclass('projection_runner.in_place') IS NULL THEN
        PERFORM pg_advisory_xact_lock(7236402183390143089);
        IF to_regnamespace('projection_runner') IS NULL THEN
            CREATE SCHEMA projection_runner;
            GRANT USAGE ON SCHEMA projection_runner TO PUBLIC;
        END IF;
        CREATE TABLE IF NOT EXISTS projection_runner.in_place (
            read_model text PRIMARY KEY,
            schema_name text NOT NULL,
            table_name text NOT NULL,
            version integer NOT NULL,
            revision integer NOT NULL,
            position bigint NOT NULL,
            fingerprint text NOT NULL,
            log_id text NOT NULL,
            job_id text NOT NULL,
            changed timestamptz NOT NULL DEFAULT now()
        );
        GRANT SELECT ON projection_runner.in_place TO PUBLIC;
    END IF;
END $$

-- name: stands
SELECT schema_name, table_name, version, fingerprint, log_id, revision, position
FROM projection_runner.in_place
WHERE read_model = %(name)s

-- name: checkpoint
INSERT INTO projection_runner.in_place AS p (
    read_model, schema_name, table_name, version, revision, position, fingerprint, log_id, job_id
)
VALUES (
    %(name)s, %(schema)s, %(table)s, %(version)s, %(revision)s, %(position)s, %(fingerprint)s, %(log_id)s, %(job_id)s
)
ON CONFLICT (read_model) DO UPDATE SET
    schema_name = excluded.schema_name, table_name = excluded.table_name, version = excluded.version,
    revision = excluded.revision, position = excluded.position, fingerprint = excluded.fingerprint,
    log_id = excluded.log_id, job_id = excluded.job_id, changed = now()
