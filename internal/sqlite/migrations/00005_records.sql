-- +goose Up
-- What governance writes down besides money. Times are microseconds since 1970.
CREATE TABLE gates (
    nonce       TEXT    NOT NULL PRIMARY KEY,
    changes     INTEGER NOT NULL,
    open        INTEGER NOT NULL CHECK (open IN (0, 1)),
    rank        INTEGER NOT NULL, -- the order of lists: when it times out, or minus when it closed
    expires_at  INTEGER NOT NULL,
    closed_at   INTEGER NOT NULL,
    org         TEXT    NOT NULL,
    workflow_id TEXT    NOT NULL,
    gate        TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX gates_list ON gates (open, rank, nonce);
CREATE INDEX gates_workflow ON gates (workflow_id, open, rank, nonce);
CREATE INDEX gates_org ON gates (org, open, rank, nonce);

-- Who may decide at a gate; the empty name stands for anybody.
CREATE TABLE gate_approvers (
    approver TEXT    NOT NULL,
    open     INTEGER NOT NULL,
    rank     INTEGER NOT NULL,
    nonce    TEXT    NOT NULL,
    PRIMARY KEY (approver, open, rank, nonce)
) STRICT, WITHOUT ROWID;

CREATE INDEX gate_approvers_nonce ON gate_approvers (nonce);

-- One row for an approval that was used, or taken back.
CREATE TABLE grants (
    nonce      TEXT    NOT NULL PRIMARY KEY,
    effect     TEXT    NOT NULL, -- that used it; empty: it was taken back
    revoked_by TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    chain       TEXT    NOT NULL,
    seq         INTEGER NOT NULL CHECK (seq > 0),
    id          TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    workflow_id TEXT    NOT NULL,
    event       TEXT    NOT NULL, -- JSON, without the data
    data        TEXT    NOT NULL, -- canonical JSON; empty: none
    prev        TEXT    NOT NULL,
    hash        TEXT    NOT NULL,
    PRIMARY KEY (chain, seq),
    UNIQUE (chain, id)
) STRICT;

CREATE INDEX audit_at ON audit (at, chain, seq);
CREATE INDEX audit_workflow ON audit (workflow_id, at) WHERE workflow_id <> '';
CREATE INDEX audit_type ON audit (type, at);

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are only ever added');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are only ever added');
END;
-- +goose StatementEnd

CREATE TABLE notices (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    channel      TEXT    NOT NULL,
    thread       TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'dead_letter')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL, -- while somebody has it, the end of the lease
    error        TEXT    NOT NULL DEFAULT '',
    delivered_at INTEGER NOT NULL DEFAULT 0,
    notice       TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX notices_due ON notices (due_at, n) WHERE state = 'pending';
CREATE INDEX notices_thread ON notices (thread, channel, seq, n) WHERE state = 'pending';
CREATE INDEX notices_state ON notices (state, n);

CREATE TABLE receipts (
    thread  TEXT NOT NULL,
    channel TEXT NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (thread, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundles (
    hash   TEXT NOT NULL PRIMARY KEY,
    source BLOB NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    hash       TEXT    NOT NULL,
    key        TEXT    NOT NULL, -- JSON, without what changes
    revoked_at INTEGER NOT NULL DEFAULT 0,
    revoked_by TEXT    NOT NULL DEFAULT '',
    used_at    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    subject    TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    session    TEXT    NOT NULL -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_subject ON sessions (subject);
CREATE INDEX sessions_expires ON sessions (expires_at);
