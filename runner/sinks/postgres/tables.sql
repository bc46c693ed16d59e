-- Making and filling tables. {table} and its like are quoted names.

-- name: create
CREATE TABLE {table} ({columns}) {how};

-- name: create_temporary
CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP;

-- name: relid
SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s;

-- name: lock_rows
LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE;

-- name: is
SELECT to_regclass(%(table)s) = %(relid)s::oid;

-- name: not_each_on_the_disk
SET synchronous_commit = off;

-- name: room_for_indexes
-- A sort that fits, by as many workers as the server allows: 32 MB each are asked for before one is started.
SELECT set_config('maintenance_work_mem', greatest(
    pg_size_bytes(current_setting('maintenance_work_mem')), 256 * 1024 * 1024) / 1024 || 'kB', false);

-- name: key
ALTER TABLE {table} ADD CONSTRAINT {name} {key};

-- name: one_row
CREATE UNIQUE INDEX {name} ON {table} ((true));

-- name: index
CREATE INDEX {name} ON {table} ({columns});

-- name: lock_at_most
SELECT set_config('lock_timeout', %(milliseconds)s, true);

-- name: validate
ALTER TABLE {table} VALIDATE CONSTRAINT {name};

-- name: analyze
ANALYZE {table};

-- name: vacuumed
ALTER TABLE {table} RESET (autovacuum_enabled);

-- name: drop
DROP TABLE IF EXISTS {table};

-- name: rename
ALTER TABLE {table} RENAME TO {name};

-- name: rename_index
ALTER INDEX {index} RENAME TO {name};

-- name: count
SELECT count(*) FROM {table};

-- name: has_index
SELECT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid
    WHERE i.indrelid = %(relid)s AND c.relname = %(name)s
);

-- name: upsert
INSERT INTO {table} ({columns}) SELECT {columns} FROM {changed} ON CONFLICT ({key}) DO UPDATE SET {set};

-- name: insert_missing
INSERT INTO {table} ({columns}) SELECT {columns} FROM {changed} ON CONFLICT ({key}) DO NOTHING;

-- name: delete
DELETE FROM {table} AS t USING {gone} AS g WHERE {same_key};

-- name: delete_others
DELETE FROM {table} AS t WHERE NOT EXISTS (SELECT FROM {all} AS g WHERE {same_key});

-- name: keep_different
-- Of all rows only those that the table has not, or has otherwise.
DELETE FROM {all} AS g USING {table} AS t WHERE {same_key} AND {same_fields};
