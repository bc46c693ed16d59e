-- name: begin
INSERT INTO runs (entry, occurrence, made_by, state, failures, missed, started, ended, exit_code, error, times, host, pid, process)
VALUES (:entry, :occurrence, :made_by, :state, :failures, :missed, :started, :ended, 0, '', :times, :host, :pid, :process)

-- name: own
UPDATE runs SET host = :host, pid = :pid, process = :process WHERE id = :id AND state = 'running'

-- name: end
UPDATE runs SET state = :state, failures = :failures, ended = :ended, exit_code = :exit_code, error = :error WHERE id = :id

-- name: run
SELECT * FROM runs WHERE id = :id

-- name: times
SELECT times FROM runs WHERE entry = :entry AND state = 'seen' ORDER BY id DESC LIMIT 1

-- name: handled
-- Of what was handled, the last that is not ahead of the clock: one that was put back leaves marks of times to come.
SELECT occurrence FROM runs WHERE entry = :entry AND made_by = 'clock' AND occurrence <= :now
ORDER BY occurrence DESC LIMIT 1

-- name: latest
SELECT * FROM runs WHERE entry = :entry AND made_by = 'clock' ORDER BY id DESC LIMIT 1

-- name: runs
SELECT * FROM runs WHERE entry = :entry AND state NOT IN ('seen', 'missed') ORDER BY id DESC LIMIT :limit

-- name: running
SELECT * FROM runs WHERE state = 'running' ORDER BY id

-- name: success
SELECT * FROM runs WHERE entry = :entry AND state = 'succeeded' ORDER BY ended DESC LIMIT 1

-- name: missed
SELECT coalesce(sum(missed), 0) AS missed FROM runs WHERE entry = :entry

-- name: trim
DELETE FROM runs WHERE entry = :entry AND state <> 'running' AND id NOT IN (
    SELECT id FROM runs WHERE entry = :entry ORDER BY id DESC LIMIT :keep)
    AND id NOT IN (SELECT max(id) FROM runs WHERE entry = :entry AND state IN ('seen', 'succeeded') GROUP BY state)

-- name: pin
SELECT * FROM pins WHERE entry = :entry AND occurrence = :occurrence

-- name: set_pin
INSERT INTO pins (entry, occurrence, as_of, log_id, position) VALUES (:entry, :occurrence, :as_of, :log_id, :position)
ON CONFLICT (entry, occurrence) DO UPDATE
SET as_of = excluded.as_of, log_id = excluded.log_id, position = excluded.position
