-- A materialised view of the new table is made while that has, in another schema and in no transaction but this, the live
-- table's name: so the text of the present one is true of it.

-- name: lend_name
ALTER TABLE {table} SET SCHEMA projection_runner;
ALTER TABLE projection_runner.{relname} RENAME TO {live};

-- name: create
CREATE MATERIALIZED VIEW {view}{options}{tablespace} AS {query} WITH NO DATA;

-- name: return_name
ALTER TABLE projection_runner.{live} RENAME TO {relname};
ALTER TABLE projection_runner.{relname} SET SCHEMA {schema};

-- name: refresh
REFRESH MATERIALIZED VIEW {view};

-- name: owner
ALTER MATERIALIZED VIEW {view} OWNER TO {owner};

-- name: rename
ALTER MATERIALIZED VIEW {view} RENAME TO {name};

-- name: drop
DROP MATERIALIZED VIEW IF EXISTS {view};
