-- +goose Up
-- Where the workspaces of runs are, for installations with several hosts for sandboxes.
CREATE TABLE places (
    box     TEXT    NOT NULL PRIMARY KEY, -- workflow id/first run id
    version INTEGER NOT NULL,
    place   TEXT    NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
