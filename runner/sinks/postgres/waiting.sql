-- name: snapshots
-- Transactions of this database that hold a snapshot in which something of the tables' last writing is not visible;
-- whether they keep it between statements; and whom they wait for, where that is asked.
SELECT l.pid, l.virtualtransaction, a.backend_xmin::text, a.application_name,
    coalesce(a.state LIKE 'idle in transaction%%', false),
    CASE WHEN %(blockers)s THEN pg_blocking_pids(l.pid) ELSE '{}' END
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock'
    AND a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND a.backend_xmin IS NOT NULL
    -- Of others' sessions a role may not see what they are.
    AND coalesce(a.backend_type, '') NOT IN ('autovacuum worker', 'autovacuum launcher', 'parallel worker')
    AND age(a.backend_xmin) >= coalesce(
        (SELECT min(age(t.xmin)) FROM projection_runner.tables AS t WHERE t.relid = ANY(%(relids)s)), 0);

-- name: keeping
-- Transactions that keep their snapshot between statements, just now between two.
SELECT l.pid, l.virtualtransaction
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock'
    AND a.datname = current_database() AND a.backend_xmin IS NOT NULL AND a.state LIKE 'idle in transaction%';

-- name: holders
-- Who else holds a lock on these relations, or has asked for their checkpoints, and for how long its transaction has
-- been going on.
SELECT l.pid, coalesce(l.virtualtransaction, ''), coalesce(a.application_name, ''),
    extract(epoch FROM clock_timestamp() - a.xact_start)::double precision,
    coalesce(l.relation::regclass::text, 'the checkpoint of a read model')
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND (
        (l.locktype = 'relation' AND l.relation = ANY(%(relids)s))
        OR (l.locktype = 'advisory' AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = ANY(%(keys)s)))
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.mode <> ALL(%(passed)s::text[])
    AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.pid IS DISTINCT FROM %(held_by)s::int;
