-- name: bounds
-- What a statement of the switch may take; and a runner that died or cannot be reached lets go of the locks.
SELECT set_config('lock_timeout', %(lock)s, true), set_config('statement_timeout', %(work)s, true),
    set_config('idle_in_transaction_session_timeout', %(work)s, true);

-- name: lock_time_left
SELECT set_config('lock_timeout', greatest(
    1, round({lock} - 1000 * extract(epoch FROM clock_timestamp() - statement_timestamp())))::text, true)

-- name: key_of
-- By which projection_runner.stays knows a name.
SELECT hashtextextended(format('%%I.%%I', %(schema)s::text, %(table)s::text), 7236402183390143089);

-- name: lock_name
SELECT pg_advisory_xact_lock({key})

-- name: lock_table
LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE

-- name: kept_waiting
SELECT coalesce(bool_or(pg_backend_pid() = ANY(pg_blocking_pids(pid))), false) FROM unnest(%(pids)s::int[]) AS pid;

-- name: hold_table
LOCK TABLE ONLY {table} IN SHARE ROW EXCLUSIVE MODE;

-- name: dependents
-- Views over these tables, and views over those, the outermost first: in the order in which readers lock them.
WITH RECURSIVE above AS (
    SELECT 0 AS depth, relid FROM unnest(%(relids)s::oid[]) AS relid
    UNION
    SELECT a.depth + 1, r.ev_class
    FROM above AS a
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.relid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
    WHERE r.ev_class <> a.relid AND a.depth < 50
)
SELECT relid::bigint FROM above WHERE depth > 0 GROUP BY relid ORDER BY max(depth) DESC, relid;

-- name: name_of
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %(relid)s;

-- name: names_taken
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(names)s)
UNION
SELECT s.stxname FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
WHERE n.nspname = %(schema)s AND s.stxname = ANY(%(names)s);

-- name: rename_statistics
ALTER STATISTICS {index} RENAME TO {name};
