-- Which relations have all of some columns. One row a relation: schema, name, oid, kind, then its columns and the names
-- of their types (of a domain: the type below it), and whether they are NOT NULL, in the same order.

-- name: relations
SELECT n.nspname, c.relname, c.oid::bigint, c.relkind::text,
       array_agg(a.attname::text ORDER BY a.attnum),
       array_agg(coalesce(b.typname, t.typname)::text ORDER BY a.attnum),
       array_agg(a.attnotnull ORDER BY a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
WHERE c.relkind = ANY ('{r,p,v,m,f}')
  AND (NOT c.relispartition OR c.relname = %(table)s)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%%' AND n.nspname NOT LIKE 'pg\_temp%%'
  AND (%(table)s::text IS NULL OR c.relname = %(table)s)
GROUP BY n.nspname, c.relname, c.oid, c.relkind
HAVING array_agg(a.attname::text) @> %(columns)s::text[]
ORDER BY n.nspname, c.relname

-- name: types
SELECT t.oid::bigint, t.typname::text FROM pg_catalog.pg_type t WHERE t.oid::bigint = ANY (%(oids)s)

-- What is known of a relation without reading it; of a partitioned one, of all its leaves.
-- name: size
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::float8, coalesce(sum(pg_catalog.pg_relation_size(c.oid)), 0)::bigint,
       coalesce(sum(pg_catalog.pg_table_size(c.oid)), 0)::bigint, coalesce(bool_and(c.reltuples >= 0), false)
FROM pg_catalog.pg_class c
WHERE c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(oid)s::oid::regclass) UNION SELECT %(oid)s::oid)
  AND c.relkind IN ('r', 'm')

-- Whether the first columns of a valid index are these, in this order.
-- name: indexed
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
    WHERE i.indrelid = %(oid)s::oid AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts >= cardinality(%(columns)s::text[])
      AND (SELECT array_agg(a.attname::text ORDER BY k.place)
           FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.place <= cardinality(%(columns)s::text[])) = %(columns)s::text[])

-- Seconds by which this standby is behind, or the slowest standby that the role may see.
-- name: replica_lag
SELECT CASE
    WHEN NOT pg_catalog.pg_is_in_recovery()
    THEN (SELECT max(extract(epoch FROM r.replay_lag)) FROM pg_catalog.pg_stat_replication r)
    WHEN pg_catalog.pg_last_wal_receive_lsn() IS DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn()
    THEN extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
END::float8

-- The columns of each unique index that covers all rows.
-- name: unique
SELECT (SELECT array_agg(a.attname::text)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.place <= i.indnkeyatts)
FROM pg_catalog.pg_index i
WHERE i.indrelid = %(oid)s::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
