-- Each migration leads from one schema version to the next (PRAGMA user_version); never change one that was released.

-- name: migration_1
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    what TEXT NOT NULL,
    projections TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'interrupted')),
    started TEXT NOT NULL,
    finished TEXT,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process TEXT NOT NULL,
    log_id TEXT NOT NULL,
    cut INTEGER NOT NULL,
    plan_digest TEXT NOT NULL,
    fingerprints TEXT NOT NULL,
    versions TEXT NOT NULL,
    options TEXT NOT NULL,
    counts TEXT NOT NULL,
    error TEXT NOT NULL,
    resumes TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_what ON jobs (what, projections, started);
CREATE TABLE partitions (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    partition INTEGER NOT NULL,
    record TEXT NOT NULL,
    recorded TEXT NOT NULL,
    PRIMARY KEY (job, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE stages (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    stage TEXT NOT NULL,
    seconds REAL NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (job, stage)
) STRICT, WITHOUT ROWID;
