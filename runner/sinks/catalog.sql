-- name: checkpoints
CREATE SCHEMA runner;
CREATE TABLE runner.checkpoints (
    read_model VARCHAR PRIMARY KEY,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    position BIGINT NOT NULL,
    fingerprint VARCHAR NOT NULL,
    log_id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL,
    updated TIMESTAMPTZ NOT NULL,
    base_rows BIGINT NOT NULL,
    delta_rows BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE TABLE runner.catalog (generation BIGINT NOT NULL, root VARCHAR NOT NULL);

-- name: checkpoint
INSERT INTO runner.checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: generation
INSERT INTO runner.catalog VALUES (?, ?);

-- name: read_generation
SELECT generation, root FROM old.runner.catalog;

-- name: view
-- Base rows alone. The first file of the list gives the columns, so it is the one without rows.
CREATE VIEW main.{view} AS
SELECT {columns} FROM read_parquet([{base}]) AS base;

-- name: view_with_deltas
-- The newest row of each key in the deltas, and the base rows whose key no delta names.
CREATE VIEW main.{view} AS
WITH delta AS MATERIALIZED (
    SELECT * FROM read_parquet([{deltas}])
    QUALIFY row_number() OVER ({partition} ORDER BY _delta DESC) = 1
)
SELECT {columns} FROM read_parquet([{base}]) AS base
WHERE NOT EXISTS (SELECT 1 FROM delta WHERE {same_key})
UNION ALL
SELECT {columns} FROM delta WHERE NOT _deleted;
