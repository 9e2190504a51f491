-- One row: what is true of the service as a whole.
CREATE TABLE service (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    revision    INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    started_at  TEXT NOT NULL
) STRICT;
INSERT INTO service VALUES (1, 0, '', '');

CREATE TABLE job (
    id          TEXT PRIMARY KEY,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    queue       TEXT NOT NULL,
    attempt     INTEGER NOT NULL CHECK (attempt >= 1),
    enqueued_at TEXT NOT NULL,
    started_at  TEXT,
    finished_at TEXT,
    error       TEXT,
    due_at      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX job_by_state ON job (state, id);
CREATE INDEX job_by_due ON job (due_at) WHERE state IN ('queued', 'running');

-- The revision is raised here and nowhere else, so that no statement can change a job and forget it.
CREATE TRIGGER job_inserted AFTER INSERT ON job
BEGIN UPDATE service SET revision = revision + 1; END;
CREATE TRIGGER job_updated
AFTER UPDATE OF state, queue, attempt, enqueued_at, started_at, finished_at, error ON job
BEGIN UPDATE service SET revision = revision + 1; END;
CREATE TRIGGER job_removed AFTER DELETE ON job
BEGIN UPDATE service SET revision = revision + 1; END;

CREATE TABLE tombstone (
    id          TEXT PRIMARY KEY,
    state       TEXT NOT NULL CHECK (state IN ('succeeded', 'failed', 'deleted', 'purged')),
    finished_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_by_age ON tombstone (finished_at);

-- The answers that a repeated Idempotency-Key gets again.
CREATE TABLE idempotency (
    key    TEXT PRIMARY KEY,
    at     TEXT NOT NULL,
    method TEXT NOT NULL,
    path   TEXT NOT NULL,
    status INTEGER NOT NULL,
    body   TEXT NOT NULL
) STRICT;

-- The commands executed, for whoever wants to check what really happened.
CREATE TABLE call (
    seq             INTEGER PRIMARY KEY,
    at              TEXT NOT NULL,
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    idempotency_key TEXT,
    status          INTEGER NOT NULL
) STRICT;

PRAGMA user_version = 1;
