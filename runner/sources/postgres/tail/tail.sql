-- Statements of the tail rules. {rows} is what stands behind FROM, with its alias. Those that have it, or a {condition},
-- take their values by name in braces, never as parameters: a % in an author's query would be taken for one.

-- name: facts
-- The server, the table with all that inherits from it, and the sequences that its position column draws from.
WITH RECURSIVE family AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN family ON i.inhparent = family.oid
),
positions AS (
    SELECT a.attrelid, a.attnum
    FROM family JOIN pg_catalog.pg_attribute AS a ON a.attrelid = family.oid AND a.attname = %(column)s
),
drawn AS (
    SELECT d.refobjid AS sequence
    FROM positions AS p
    JOIN pg_catalog.pg_attrdef AS f ON f.adrelid = p.attrelid AND f.adnum = p.attnum
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass
    UNION
    SELECT d.objid
    FROM positions AS p
    JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = p.attrelid
        AND d.refobjsubid = p.attnum AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'i'
    UNION
    SELECT to_regclass(%(sequence)s)::oid
)
SELECT
    pg_is_in_recovery(),
    -- A crash of one session makes the postmaster start all anew and keep its start time; but statistics begin anew.
    concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())),
    ARRAY(SELECT oid::bigint FROM family ORDER BY oid),
    (
        SELECT json_agg(json_build_array(s.seqrelid::bigint, s.seqrelid::regclass::text, s.seqincrement, s.seqcache,
            s.seqcycle, s.seqmin) ORDER BY s.seqrelid)
        FROM drawn JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = drawn.sequence
    ),
    EXISTS (SELECT FROM pg_catalog.pg_subscription_rel AS r JOIN family ON r.srrelid = family.oid)

-- name: newest
SELECT {number} FROM (SELECT max({position}) AS {column} FROM {rows} WHERE {finite} AND {condition}) AS {alias}

-- name: newest_pair
SELECT {first_number}, {second_number} FROM {rows} WHERE {finite} AND {condition} ORDER BY {first} DESC, {second} DESC LIMIT 1

-- name: newest_of_epoch
SELECT {first_number}, {second_number} FROM {rows} WHERE {condition} ORDER BY {first} DESC, {second} DESC LIMIT 1

-- name: run
SELECT {number} FROM {rows} WHERE {position} > {after} AND {position} <= {newest} AND {condition}
ORDER BY {position} LIMIT {limit}

-- name: copied
-- Whether the highest visible position was never drawn from the sequence. The rows are those of the statement's snapshot,
-- the sequence is read as it is, so later. Unknown to a role without a privilege on the sequence.
SELECT coalesce(
    has_sequence_privilege({sequence}::oid, 'SELECT, USAGE')
    AND coalesce(pg_sequence_last_value({sequence}::oid::regclass), {least} - 1)
        < (SELECT max({position})::bigint FROM {rows} WHERE {condition}),
    false
)

-- name: last_value
SELECT CASE WHEN has_sequence_privilege(%(sequence)s::oid, 'SELECT, USAGE')
    THEN pg_sequence_last_value(%(sequence)s::oid::regclass) END

-- name: writers
-- Who holds the lock that nextval takes on the sequence, until its transaction ends. One look at pg_locks: its second
-- use here only names prepared transactions.
WITH locks AS MATERIALIZED (
    SELECT locktype, relation, virtualtransaction, pid, transactionid, mode, database FROM pg_catalog.pg_locks WHERE granted
),
writers AS (
    SELECT DISTINCT virtualtransaction, pid
    FROM locks
    WHERE locktype = 'relation' AND relation = %(sequence)s::oid
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND pid IS DISTINCT FROM pg_backend_pid()
)
SELECT
    w.virtualtransaction,
    w.pid,
    a.application_name,
    coalesce(a.xact_start, p.prepared),
    a.state,
    CASE WHEN a.state LIKE 'idle%%' THEN a.state_change::text END,
    p.gid
FROM writers AS w
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = w.pid
LEFT JOIN locks AS x ON w.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = w.virtualtransaction
    AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock'
LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid

-- name: sessions
-- Every session that may have a block of the sequence, whatever it does now.
SELECT
    a.pid || '@' || coalesce(extract(epoch FROM a.backend_start)::text, ''),
    a.pid,
    a.application_name,
    coalesce(a.xact_start, a.backend_start),
    a.state,
    CASE WHEN a.state LIKE 'idle%%' THEN a.state_change::text END,
    NULL::text
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND a.pid <> pg_backend_pid()
    AND coalesce(a.backend_type, 'client backend') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
    AND coalesce(a.application_name, '') NOT LIKE 'projection-runner:%%'

-- name: snapshot
SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint,
    ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) AS x)
FROM (SELECT pg_current_snapshot() AS s) AS now

-- name: running
-- Who runs a transaction with an id: sessions, of all databases, and prepared transactions. The id without its epoch.
WITH locks AS MATERIALIZED (
    SELECT locktype, relation, virtualtransaction, pid, transactionid, mode, database FROM pg_catalog.pg_locks WHERE granted
),
here AS (SELECT oid, datname FROM pg_catalog.pg_database WHERE datname = current_database()),
writers AS (
    SELECT DISTINCT virtualtransaction, pid
    FROM locks
    WHERE locktype = 'relation' AND relation = ANY(%(family)s::oid[]) AND database = (SELECT oid FROM here)
        AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
)
SELECT
    a.backend_xid::text::bigint,
    a.pid,
    a.application_name,
    a.xact_start,
    a.state,
    NULL::text,
    a.datid = (SELECT oid FROM here),
    EXISTS (SELECT FROM writers AS w WHERE w.pid = a.pid)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_xid IS NOT NULL
UNION ALL
SELECT
    p.transaction::text::bigint,
    NULL,
    NULL,
    p.prepared,
    NULL,
    p.gid,
    p.database = (SELECT datname FROM here),
    EXISTS (
        SELECT FROM locks AS x JOIN writers AS w ON w.virtualtransaction = x.virtualtransaction AND w.pid IS NULL
        WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL
    )
FROM pg_catalog.pg_prepared_xacts AS p

-- name: other_life
-- Rows whose transaction this server has not given out yet, asked in one snapshot with the rows.
SELECT max({second_number}) FROM {rows}
WHERE {condition} AND {first_number} >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint

-- name: has_index
-- Whether an index leads with a column, on the table and each of its leaves that has rows.
SELECT coalesce(bool_and(c.reltuples < 100000 OR c.relkind = 'p' OR EXISTS (
    SELECT FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = c.oid AND i.indisvalid AND a.attname = %(column)s AND i.indpred IS NULL
)), false)
FROM pg_catalog.pg_class AS c WHERE c.oid = ANY(%(family)s::oid[])

-- name: asked_again
SELECT {number}
FROM unnest({first}::bigint[], {last}::bigint[]) AS gap (first, last)
JOIN {rows} ON {position} BETWEEN gap.first AND gap.last
WHERE {condition}
ORDER BY 1

-- name: below
-- What a partition that was attached later holds at or below the watermark.
SELECT {numbers} FROM {partition} AS {alias} WHERE {first} <= {upto} AND {condition}

-- name: partition
SELECT n.nspname, c.relname, c.relkind = 'p' FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %(oid)s::oid

-- name: inserted
-- Nothing on a standby: it has only what its primary has flushed. And the life of the server, as in "facts".
SELECT
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_insert_lsn() END::text,
    concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()))

-- name: flushed
SELECT
    CASE WHEN pg_is_in_recovery() THEN true ELSE pg_current_wal_flush_lsn() >= %(noted)s::pg_lsn END,
    concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()))

-- name: nudge
-- Takes a transaction id and commits; nothing on a standby, where none can be had.
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_xact_id() END::text

-- name: system
-- The control file's timeline lags behind a promotion, so a primary's is read off its log's name.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()),
    CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END

-- name: identity
SELECT
    (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database()),
    coalesce((
        SELECT c.oid::bigint FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    ), 0),
    coalesce((
        SELECT c.relfilenode::bigint FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n
            ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    ), 0),
    concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()))
