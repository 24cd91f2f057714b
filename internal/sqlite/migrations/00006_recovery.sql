-- +goose Up
-- What going back is written down in. Times are microseconds since 1970, but for
-- snapshots, which are found by the nanosecond.
CREATE TABLE snapshots (
    id           TEXT    NOT NULL PRIMARY KEY,
    at_nano      INTEGER NOT NULL,
    org          TEXT    NOT NULL,
    workflow_id  TEXT    NOT NULL,
    first_run_id TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    pinned       INTEGER NOT NULL CHECK (pinned IN (0, 1)),
    digest       TEXT    NOT NULL,
    manifest     TEXT    NOT NULL -- the canonical JSON that was sealed
) STRICT;

CREATE INDEX snapshots_list ON snapshots (at_nano DESC, id DESC);
CREATE INDEX snapshots_workflow ON snapshots (workflow_id, at_nano DESC, id DESC);
CREATE INDEX snapshots_org ON snapshots (org, at_nano DESC, id DESC);

CREATE TABLE restores (
    n             INTEGER PRIMARY KEY AUTOINCREMENT, -- their order
    id            TEXT    NOT NULL UNIQUE,
    from_run      TEXT    NOT NULL,
    from_workflow TEXT    NOT NULL,
    into_run      TEXT    NOT NULL,
    into_workflow TEXT    NOT NULL,
    fork          INTEGER NOT NULL CHECK (fork IN (0, 1)),
    open          INTEGER NOT NULL CHECK (open IN (0, 1)),
    restored      TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX restores_open ON restores (from_run) WHERE open = 1;
CREATE INDEX restores_from ON restores (from_run);
CREATE INDEX restores_from_workflow ON restores (from_workflow);
CREATE INDEX restores_into ON restores (into_run);
CREATE INDEX restores_into_workflow ON restores (into_workflow);

CREATE TABLE compensations (
    id           TEXT    NOT NULL PRIMARY KEY,
    org          TEXT    NOT NULL,
    workflow_id  TEXT    NOT NULL,
    run          TEXT    NOT NULL, -- workflow id/first run id
    owner        TEXT    NOT NULL, -- JSON: the run
    height       INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    begun        INTEGER NOT NULL CHECK (begun IN (0, 1)),
    cause        TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    ended_by     TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    compensation TEXT    NOT NULL, -- JSON, without what has a column
    input        BLOB,
    probe_input  BLOB
) STRICT;

CREATE INDEX compensations_run ON compensations (run, height DESC, id DESC);
CREATE INDEX compensations_list ON compensations (changed_at DESC, id DESC);
CREATE INDEX compensations_workflow ON compensations (workflow_id, changed_at DESC, id DESC);
CREATE INDEX compensations_org ON compensations (org, changed_at DESC, id DESC);
CREATE INDEX compensations_state ON compensations (state, changed_at DESC, id DESC);
