-- Each migration leads from one schema version to the next (PRAGMA user_version); never change one that was released.

-- name: migration_1
-- Times are ISO 8601, UTC, with microseconds: they sort as text. by: clock or hand; of what was seen or missed: clock.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry TEXT NOT NULL,
    occurrence TEXT NOT NULL,
    made_by TEXT NOT NULL CHECK (made_by IN ('clock', 'hand')),
    state TEXT NOT NULL CHECK (state IN ('seen', 'missed', 'running', 'succeeded', 'failed', 'timed out', 'died', 'stopped')),
    failures INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    started TEXT NOT NULL,
    ended TEXT NOT NULL,
    exit_code INTEGER NOT NULL,
    error TEXT NOT NULL,
    times TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process TEXT NOT NULL
) STRICT;
CREATE INDEX runs_by_entry ON runs (entry, made_by, occurrence);
CREATE TABLE pins (
    entry TEXT NOT NULL,
    occurrence TEXT NOT NULL,
    as_of TEXT NOT NULL,
    log_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (entry, occurrence)
) STRICT, WITHOUT ROWID
