-- +goose Up
-- Log lines of runs, for as long as workers are told to keep them. Times are
-- microseconds since 1970.
CREATE TABLE log_runs (
    run  TEXT    NOT NULL PRIMARY KEY, -- workflow id/first run id
    last INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    full INTEGER NOT NULL CHECK (full IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    run   TEXT    NOT NULL,
    seq   INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    level INTEGER NOT NULL,
    step  TEXT    NOT NULL,
    line  TEXT    NOT NULL -- JSON
) STRICT;

CREATE UNIQUE INDEX logs_of_run ON logs (run, seq);
CREATE INDEX logs_at ON logs (at);
