-- Ready statements. A row of progress that is not there yet is made.

-- name: marten
INSERT INTO {table} AS p (name, last_seq_id, last_updated)
VALUES (%(name)s, %(checkpoint)s, pg_catalog.transaction_timestamp())
ON CONFLICT (name) DO UPDATE SET last_seq_id = excluded.last_seq_id, last_updated = excluded.last_updated

-- name: emt_processors
-- The checkpoint is a text; one that is filled up with zeros stays as wide as it is.
UPDATE {table}
SET last_processed_checkpoint = pg_catalog.lpad(
        %(checkpoint)s::bigint::text,
        greatest(pg_catalog.length(last_processed_checkpoint), pg_catalog.length(%(checkpoint)s::bigint::text)), '0'
    ),
    last_processed_transaction_id = %(transaction)s::bigint::text::xid8,
    last_updated = pg_catalog.now()
WHERE processor_id = %(name)s

-- name: emt_subscriptions
UPDATE {table}
SET last_processed_position = %(checkpoint)s, last_processed_transaction_id = %(transaction)s::bigint::text::xid8
WHERE subscription_id = %(name)s

-- name: eventsourcing
-- The library goes on behind the highest number of its rows; older releases kept several.
WITH moved AS (
    UPDATE {table} SET notification_id = %(checkpoint)s WHERE application_name = %(name)s RETURNING 1
), made AS (
    INSERT INTO {table} (application_name, notification_id)
    SELECT %(name)s, %(checkpoint)s WHERE NOT EXISTS (SELECT FROM {table} WHERE application_name = %(name)s)
    RETURNING 1
)
SELECT 1 FROM moved UNION ALL SELECT 1 FROM made

-- name: running
SELECT processor_instance_id, last_updated
FROM {table}
WHERE processor_id = %(name)s AND status = 'running'
  AND last_updated > pg_catalog.now() - pg_catalog.make_interval(secs => %(recent)s)
