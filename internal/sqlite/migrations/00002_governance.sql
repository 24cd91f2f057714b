-- +goose Up
-- What a budget has in one window; ledger.AccountID makes the id. Budgets of runs
-- have one account for ever.
CREATE TABLE accounts (
    id            TEXT    NOT NULL PRIMARY KEY,
    budget        TEXT    NOT NULL,
    period        TEXT    NOT NULL DEFAULT '',
    window_start  INTEGER NOT NULL DEFAULT 0, -- of calendar windows
    window_end    INTEGER NOT NULL DEFAULT 0,
    limit_nano    INTEGER NOT NULL CHECK (limit_nano >= 0), -- with what was topped up; 0: no limit
    topped_nano   INTEGER NOT NULL DEFAULT 0 CHECK (topped_nano >= 0),
    spent_nano    INTEGER NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
    reserved_nano INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nano >= 0),
    unknown_nano  INTEGER NOT NULL DEFAULT 0 CHECK (unknown_nano BETWEEN 0 AND spent_nano),
    terms         TEXT    NOT NULL DEFAULT '', -- JSON: thresholds and on_exceeded, where they are not the default
    own           TEXT    NOT NULL DEFAULT '', -- JSON: the terms of a line that made it, where a rule counts too
    rule_id       TEXT    NOT NULL DEFAULT '',
    rule          TEXT    NOT NULL DEFAULT '', -- JSON: the rule as it was when it was applied
    alerted       INTEGER NOT NULL DEFAULT 0, -- the highest threshold that alerted
    exceeded_at   INTEGER NOT NULL DEFAULT 0, -- when it alerted that a call did not fit; 0: not since it had room
    filled_at     INTEGER NOT NULL -- when the sums were last known to hold all of the window
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_rule ON accounts (rule_id, window_start) WHERE rule_id <> '';

INSERT INTO accounts (id, budget, limit_nano, spent_nano, reserved_nano, unknown_nano, filled_at)
SELECT id, id, limit_nano, spent_nano, reserved_nano, unknown_nano, created_at FROM budgets;

DROP TABLE budgets;

CREATE TABLE rules (
    id         TEXT    NOT NULL PRIMARY KEY,
    rule       TEXT, -- JSON; NULL: removed
    since      INTEGER NOT NULL, -- when this rule with this period began
    declared   TEXT, -- JSON: the last declaration
    updated_by TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE top_ups (
    key         TEXT    NOT NULL PRIMARY KEY,
    budget      TEXT    NOT NULL,
    amount_nano INTEGER NOT NULL CHECK (amount_nano > 0),
    made_by     TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is in a rolling window, by the time at which it was charged.
CREATE TABLE spendings (
    account      TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    key          TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    amount_nano  INTEGER NOT NULL CHECK (amount_nano >= 0),
    unknown_nano INTEGER NOT NULL CHECK (unknown_nano BETWEEN 0 AND amount_nano),
    PRIMARY KEY (account, key, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX spendings_at ON spendings (account, at);

CREATE TABLE alerts (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    budget       TEXT    NOT NULL,
    alert        TEXT    NOT NULL, -- JSON
    leased_until INTEGER NOT NULL DEFAULT 0,
    done_at      INTEGER
) STRICT;

CREATE INDEX alerts_budget ON alerts (budget, n);
CREATE INDEX alerts_open ON alerts (n) WHERE done_at IS NULL;

ALTER TABLE holds ADD COLUMN granted_nano INTEGER NOT NULL DEFAULT 0 CHECK (granted_nano BETWEEN 0 AND amount_nano);
ALTER TABLE holds ADD COLUMN least_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN within INTEGER NOT NULL DEFAULT 0; -- nanoseconds
ALTER TABLE holds ADD COLUMN scopes TEXT NOT NULL DEFAULT '[]'; -- JSON
ALTER TABLE holds ADD COLUMN accounts TEXT NOT NULL DEFAULT '[]'; -- JSON: where it is counted

UPDATE holds SET granted_nano = amount_nano,
    budgets = CASE WHEN json_type(budgets) = 'array' THEN budgets ELSE '[]' END;
UPDATE holds SET accounts = (SELECT json_group_array(line.value ->> 'id') FROM json_each(holds.budgets) AS line);

CREATE INDEX holds_unknown ON holds (closed_at) WHERE state = 'unknown';

CREATE TABLE all_entries (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('settled', 'unknown', 'cached')),
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
    saved_nano     INTEGER NOT NULL DEFAULT 0 CHECK (saved_nano >= 0),
    source         TEXT    NOT NULL DEFAULT '', -- of what was cached: the effect that paid
    scopes         TEXT    NOT NULL DEFAULT '[]', -- JSON
    UNIQUE (key, attempt, state),
    FOREIGN KEY (key, attempt) REFERENCES holds (key, attempt)
) STRICT;

INSERT INTO all_entries (id, key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
    reserved_nano, amount_nano, overdraft_nano)
SELECT id, key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
    reserved_nano, amount_nano, overdraft_nano FROM entries;

DROP TABLE entries;
ALTER TABLE all_entries RENAME TO entries;
CREATE INDEX entries_root_run ON entries (root_run, id);
CREATE INDEX entries_at ON entries (at);

-- Which entries a budget would count: those attributed to it, or charged to it
-- by a line.
CREATE TABLE entry_budgets (
    budget TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    entry  INTEGER NOT NULL,
    PRIMARY KEY (budget, at, entry)
) STRICT, WITHOUT ROWID;
