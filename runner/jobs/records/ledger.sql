-- name: begin
INSERT INTO jobs (id, what, projections, state, started, host, pid, process, log_id, cut, plan_digest, fingerprints,
                  versions, options, counts, error, resumes)
VALUES (:id, :what, :projections, 'running', :started, :host, :pid, :process, :log_id, :cut, :plan_digest, :fingerprints,
        :versions, :options, '{}', '', :resumes)

-- name: take_over
INSERT INTO partitions (job, partition, record, recorded)
SELECT :id, partition, record, recorded FROM partitions WHERE job = :resumes

-- name: claimed
UPDATE jobs SET versions = :versions WHERE id = :id

-- name: partition_done
INSERT INTO partitions (job, partition, record, recorded) VALUES (:id, :partition, :record, :recorded)
ON CONFLICT (job, partition) DO UPDATE SET record = excluded.record, recorded = excluded.recorded

-- name: forget_partition
DELETE FROM partitions WHERE job = :id AND partition = :partition

-- name: stage_done
-- A stage that comes in parts adds up.
INSERT INTO stages (job, stage, seconds, events) VALUES (:id, :stage, :seconds, :events)
ON CONFLICT (job, stage) DO UPDATE SET seconds = seconds + excluded.seconds, events = events + excluded.events

-- name: progress
UPDATE jobs SET counts = :counts WHERE id = :id

-- name: finish
UPDATE jobs SET state = :state, finished = :finished, error = :error, counts = :counts WHERE id = :id

-- name: find
SELECT id FROM jobs WHERE substr(id, 1, length(:prefix)) = :prefix ORDER BY id LIMIT 9

-- name: job
SELECT jobs.*, (SELECT count(*) FROM partitions WHERE job = jobs.id) AS partitions_done
FROM jobs WHERE id = :id

-- name: jobs
SELECT jobs.*, (SELECT count(*) FROM partitions WHERE job = jobs.id) AS partitions_done
FROM jobs WHERE :what = '' OR what = :what
ORDER BY started DESC, id DESC LIMIT :limit

-- name: last
-- Of runs that share a projection with those asked for: a later one took the version that an earlier one wrote.
SELECT jobs.*, (SELECT count(*) FROM partitions WHERE job = jobs.id) AS partitions_done
FROM jobs WHERE what = :what
    AND EXISTS (SELECT 1 FROM json_each(jobs.projections) AS theirs, json_each(:projections) AS asked
                WHERE theirs.value = asked.value)
    AND (state = 'succeeded' OR EXISTS (SELECT 1 FROM partitions WHERE job = jobs.id))
ORDER BY started DESC, id DESC LIMIT 1

-- name: stages
SELECT stage, seconds, events FROM stages WHERE job = :id

-- name: partitions
SELECT partition, record FROM partitions WHERE job = :id ORDER BY partition

-- name: remove_older
DELETE FROM jobs WHERE state <> 'running' AND id NOT IN (SELECT id FROM jobs ORDER BY started DESC, id DESC LIMIT :keep)
