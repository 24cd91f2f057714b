-- +goose Up
-- What is governed besides money. JSON is kept as the bytes that were written,
-- never as jsonb, which reorders members and changes numbers: hashes are computed
-- again from what is read.

-- A gate's columns are for filters and order; doc is the gate.
CREATE TABLE gates (
    nonce       text COLLATE "C" PRIMARY KEY,
    changes     bigint NOT NULL,
    org         text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    open        boolean NOT NULL,
    expires_at  timestamptz NOT NULL,
    closed_at   timestamptz NOT NULL,
    -- at is what gates are listed by: when an open one times out, or when it closed.
    at          timestamptz NOT NULL GENERATED ALWAYS AS (CASE WHEN open THEN expires_at ELSE closed_at END) STORED,
    doc         bytea NOT NULL
);

CREATE INDEX gates_listed ON gates (open, at, nonce);
CREATE INDEX gates_of_org ON gates (org, open, at, nonce);
CREATE INDEX gates_of_run ON gates (workflow_id, open, at, nonce);

-- gate_approvers names who is asked, so that one person's gates are read in their
-- order without looking at those of others. Anybody is ''.
CREATE TABLE gate_approvers (
    nonce    text COLLATE "C" NOT NULL REFERENCES gates (nonce) ON DELETE CASCADE,
    approver text COLLATE "C" NOT NULL,
    org      text COLLATE "C" NOT NULL,
    open     boolean NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (nonce, approver)
);

CREATE INDEX gate_approvers_listed ON gate_approvers (approver, open, at, nonce) INCLUDE (org);

-- save_gate keeps the newest state of a gate.
-- +goose StatementBegin
CREATE FUNCTION save_gate(p_nonce text, p_changes bigint, p_org text, p_workflow text, p_open boolean,
    p_expires timestamptz, p_closed timestamptz, p_doc bytea, p_approvers text[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    listed timestamptz;
BEGIN
    INSERT INTO gates AS g (nonce, changes, org, workflow_id, open, expires_at, closed_at, doc)
        VALUES (p_nonce, p_changes, p_org, p_workflow, p_open, p_expires, p_closed, p_doc)
        ON CONFLICT (nonce) DO UPDATE SET changes = excluded.changes, org = excluded.org, workflow_id = excluded.workflow_id,
            open = excluded.open, expires_at = excluded.expires_at, closed_at = excluded.closed_at, doc = excluded.doc
            WHERE g.changes <= excluded.changes
        RETURNING at INTO listed;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM gate_approvers WHERE nonce = p_nonce AND approver <> ALL (p_approvers);
    INSERT INTO gate_approvers AS a (nonce, approver, org, open, at)
        SELECT DISTINCT p_nonce, approver, p_org, p_open, listed FROM unnest(p_approvers) AS approver
        ON CONFLICT (nonce, approver) DO UPDATE SET org = excluded.org, open = excluded.open, at = excluded.at
            WHERE (a.org, a.open, a.at) IS DISTINCT FROM (excluded.org, excluded.open, excluded.at);
END $$;
-- +goose StatementEnd

-- A grant is used by one effect or taken back, whichever is first.
CREATE TABLE grants (
    nonce      text COLLATE "C" PRIMARY KEY,
    effect     text COLLATE "C",
    revoked_by text,
    at         timestamptz NOT NULL,
    CHECK ((effect IS NULL) <> (revoked_by IS NULL))
);

-- The audit trail. Hashes cover every column but prev and hash.
CREATE TABLE audit (
    n            bigint GENERATED ALWAYS AS IDENTITY, -- the order of what happened at the same time
    chain        text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL CHECK (seq > 0),
    id           text COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    type         text COLLATE "C" NOT NULL,
    severity     text NOT NULL,
    actor        text NOT NULL,
    namespace    text NOT NULL,
    workflow_id  text COLLATE "C" NOT NULL,
    first_run_id text NOT NULL,
    step         text NOT NULL,
    gate         text NOT NULL,
    data         text, -- canonical JSON
    prev         text NOT NULL,
    hash         text NOT NULL,
    PRIMARY KEY (chain, seq),
    UNIQUE (chain, id)
);

CREATE INDEX audit_at ON audit (at, n);
CREATE INDEX audit_type ON audit (type, at, n);
CREATE INDEX audit_run ON audit (workflow_id, chain, seq) WHERE workflow_id <> '';

-- audit_heads is the end of each chain, locked by whoever adds to it, in the order
-- of names. It is kept apart from the records, so that a chain whose end was cut
-- off goes on with a gap.
CREATE TABLE audit_heads (
    chain text COLLATE "C" PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  text NOT NULL
) WITH (fillfactor = 50); -- room for updates in place: these rows are the hot ones

-- audit_known finds which of these events are in their chains. The plan must not be
-- one that was made when the table was small.
-- +goose StatementBegin
CREATE FUNCTION audit_known(p_chain text[], p_id text[]) RETURNS TABLE (chain text, id text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY SELECT a.chain, a.id FROM unnest(p_chain, p_id) AS e(chain, id) JOIN audit a ON a.chain = e.chain AND a.id = e.id;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit records are only ever added' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- Else a session that says that it applies another server's changes is not asked.
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;

-- +goose StatementBegin
CREATE FUNCTION refuse_head_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.chain = OLD.chain AND NEW.seq > OLD.seq THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the head of an audit chain only ever moves on' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd

CREATE TRIGGER audit_heads_move_on BEFORE UPDATE OR DELETE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION refuse_head_loss();
CREATE TRIGGER audit_heads_stay BEFORE TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_head_loss();
ALTER TABLE audit_heads ENABLE ALWAYS TRIGGER audit_heads_move_on;
ALTER TABLE audit_heads ENABLE ALWAYS TRIGGER audit_heads_stay;

-- Notices until they are delivered, and what became of them.
CREATE TABLE notices (
    n            bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL UNIQUE,
    channel      text COLLATE "C" NOT NULL,
    thread       text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL, -- within the thread
    doc          bytea NOT NULL,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead_letter')),
    attempts     integer NOT NULL DEFAULT 0,
    due          timestamptz NOT NULL, -- while somebody delivers it, when their lease ends
    error        text NOT NULL DEFAULT '',
    delivered_at timestamptz,
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
) WITH (fillfactor = 80);

CREATE INDEX notices_thread ON notices (thread, channel, seq, n) WHERE state = 'pending';
CREATE INDEX notices_state ON notices (state, n);

-- What a channel answered, for later notices of the same thread.
CREATE TABLE notice_receipts (
    thread  text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    receipt text NOT NULL,
    PRIMARY KEY (thread, channel)
);

-- add_notices numbers notices in the order given, and adds them in that of their
-- ids, so that two who add the same ones do not wait for each other.
-- +goose StatementBegin
CREATE FUNCTION add_notices(p_id text[], p_channel text[], p_thread text[], p_seq bigint[], p_doc bytea[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH numbered AS MATERIALIZED (
        SELECT nextval('notices_n_seq') AS n, t.* FROM unnest(p_id, p_channel, p_thread, p_seq, p_doc) AS t(id, channel, thread, seq, doc)
    )
    INSERT INTO notices (n, id, channel, thread, seq, doc, due)
        SELECT n, id, channel, thread, seq, doc, clock() FROM numbered ORDER BY id COLLATE "C", n
        ON CONFLICT (id) DO NOTHING
$$;
-- +goose StatementEnd

-- claim_notices leases the oldest notices that are due and the first of their
-- thread and channel.
-- +goose StatementBegin
CREATE FUNCTION claim_notices(p_n bigint, p_lease interval) RETURNS SETOF notices
LANGUAGE sql VOLATILE SET search_path FROM CURRENT SET enable_seqscan = off AS $$
    WITH taken AS MATERIALIZED (
        SELECT o.n FROM notices o
            WHERE o.state = 'pending' AND o.due <= clock() AND NOT EXISTS (
                SELECT 1 FROM notices e WHERE e.state = 'pending' AND e.thread = o.thread AND e.channel = o.channel
                    AND (e.seq, e.n) < (o.seq, o.n))
            ORDER BY o.n LIMIT p_n FOR UPDATE OF o SKIP LOCKED
    ), claimed AS (
        UPDATE notices o SET due = clock() + p_lease, attempts = o.attempts + 1 FROM taken t WHERE o.n = t.n RETURNING o.*
    )
    SELECT * FROM claimed ORDER BY n
$$;
-- +goose StatementEnd

-- notice_delivered ends a notice and keeps what its channel answered.
-- +goose StatementBegin
CREATE FUNCTION notice_delivered(p_id text, p_receipt text) RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH ended AS (
        UPDATE notices SET state = 'delivered', delivered_at = clock(), error = '' WHERE id = p_id AND state <> 'delivered'
            RETURNING thread, channel
    )
    INSERT INTO notice_receipts (thread, channel, receipt) SELECT thread, channel, p_receipt FROM ended WHERE p_receipt <> ''
        ON CONFLICT (thread, channel) DO UPDATE SET receipt = excluded.receipt
$$;
-- +goose StatementEnd

-- The sources of policies, by their hash.
CREATE TABLE bundles (
    hash    text COLLATE "C" PRIMARY KEY,
    source  bytea NOT NULL,
    made_at timestamptz NOT NULL
);

-- API keys, without what opens them.
CREATE TABLE api_keys (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    hash       text NOT NULL, -- SHA-256, in hex
    subject    text NOT NULL,
    groups     text NOT NULL, -- JSON, as are roles
    roles      text NOT NULL,
    org        text NOT NULL,
    made_by    text NOT NULL,
    made_at    timestamptz NOT NULL,
    expires    timestamptz,
    revoked    timestamptz,
    revoked_by text NOT NULL DEFAULT '',
    used_at    timestamptz
);

CREATE TABLE sessions (
    id      text COLLATE "C" PRIMARY KEY, -- a hash
    subject text COLLATE "C" NOT NULL,
    doc     bytea NOT NULL,
    expires timestamptz NOT NULL
);

CREATE INDEX sessions_subject ON sessions (subject);
CREATE INDEX sessions_expires ON sessions (expires);
