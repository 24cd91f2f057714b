-- +goose Up
-- Amounts are nano-USD. STRICT refuses the REAL that SQLite would otherwise
-- turn an overflowing sum into.
CREATE TABLE budgets (
    id            TEXT    NOT NULL PRIMARY KEY,
    limit_nano    INTEGER NOT NULL CHECK (limit_nano >= 0), -- 0: no limit
    spent_nano    INTEGER NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
    reserved_nano INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nano >= 0),
    unknown_nano  INTEGER NOT NULL DEFAULT 0 CHECK (unknown_nano BETWEEN 0 AND spent_nano),
    created_at    INTEGER NOT NULL -- nanoseconds since 1970, as all times here
) STRICT, WITHOUT ROWID;

CREATE TABLE holds (
    key          TEXT    NOT NULL,
    attempt      INTEGER NOT NULL CHECK (attempt > 0),
    amount_nano  INTEGER NOT NULL CHECK (amount_nano >= 0),
    state        TEXT    NOT NULL CHECK (state IN ('open', 'settled', 'released', 'unknown')),
    settled_nano INTEGER CHECK (settled_nano >= 0),
    budgets      TEXT    NOT NULL, -- JSON: the budget lines
    run          TEXT    NOT NULL, -- JSON
    root_run     TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    outcome      BLOB,
    created_at   INTEGER NOT NULL,
    closed_at    INTEGER,
    PRIMARY KEY (key, attempt),
    CHECK ((state = 'settled') = (settled_nano IS NOT NULL)),
    CHECK ((state = 'open') = (closed_at IS NULL))
) STRICT;

CREATE INDEX holds_open ON holds (created_at) WHERE state = 'open';

CREATE TABLE entries (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('settled', 'unknown')),
    adjusts        INTEGER NOT NULL CHECK (adjusts IN (0, 1)), -- 1: corrects the unknown entry of the same hold
    root_run       TEXT    NOT NULL,
    run            TEXT    NOT NULL, -- JSON
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    response_id    TEXT    NOT NULL,
    usage          TEXT    NOT NULL, -- JSON
    price          TEXT    NOT NULL, -- JSON
    reserved_nano  INTEGER NOT NULL CHECK (reserved_nano >= 0),
    amount_nano    INTEGER NOT NULL CHECK (amount_nano >= 0 OR adjusts = 1),
    overdraft_nano INTEGER NOT NULL CHECK (overdraft_nano >= 0),
    UNIQUE (key, attempt, state),
    FOREIGN KEY (key, attempt) REFERENCES holds (key, attempt)
) STRICT;

CREATE INDEX entries_root_run ON entries (root_run, id);

-- +goose StatementBegin
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are only ever added');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are only ever added');
END;
-- +goose StatementEnd
