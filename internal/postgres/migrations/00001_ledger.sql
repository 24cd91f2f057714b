-- +goose Up
-- Amounts are nano-USD. Names are resolved in the schema that the migration
-- runs in, and the functions below are bound to it.
CREATE TABLE budgets (
    id            text COLLATE "C" PRIMARY KEY,
    limit_nano    bigint NOT NULL CHECK (limit_nano >= 0), -- 0: no limit
    spent_nano    bigint NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
    reserved_nano bigint NOT NULL DEFAULT 0 CHECK (reserved_nano >= 0),
    unknown_nano  bigint NOT NULL DEFAULT 0 CHECK (unknown_nano BETWEEN 0 AND spent_nano),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50); -- room for updates in place: these rows are the hot ones

CREATE TABLE holds (
    key          text COLLATE "C" NOT NULL,
    attempt      integer NOT NULL CHECK (attempt > 0),
    amount_nano  bigint NOT NULL CHECK (amount_nano >= 0),
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'settled', 'released', 'unknown')),
    settled_nano bigint CHECK (settled_nano >= 0),
    budget_ids   text[] COLLATE "C" NOT NULL,
    budgets      json NOT NULL, -- the lines as they were asked for
    run          json NOT NULL, -- json and not jsonb, which refuses \u0000
    root_run     text NOT NULL,
    provider     text NOT NULL,
    model        text NOT NULL,
    outcome      bytea,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at    timestamptz,
    PRIMARY KEY (key, attempt),
    CHECK ((state = 'settled') = (settled_nano IS NOT NULL)),
    CHECK ((state = 'open') = (closed_at IS NULL))
);

CREATE INDEX holds_open ON holds (created_at) WHERE state = 'open';

CREATE TABLE entries (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key            text COLLATE "C" NOT NULL,
    attempt        integer NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    state          text NOT NULL CHECK (state IN ('settled', 'unknown')),
    adjusts        boolean NOT NULL, -- corrects the unknown entry of the same hold
    root_run       text COLLATE "C" NOT NULL,
    run            json NOT NULL,
    provider       text NOT NULL,
    model          text NOT NULL,
    response_id    text NOT NULL,
    usage          json NOT NULL,
    price          json NOT NULL,
    reserved_nano  bigint NOT NULL CHECK (reserved_nano >= 0),
    amount_nano    bigint NOT NULL CHECK (amount_nano >= 0 OR adjusts),
    overdraft_nano bigint NOT NULL CHECK (overdraft_nano >= 0),
    UNIQUE (key, attempt, state),
    FOREIGN KEY (key, attempt) REFERENCES holds (key, attempt)
);

CREATE INDEX entries_root_run ON entries (root_run, id);

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries are only ever added';
END $$;
-- +goose StatementEnd

CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every function below takes its locks in one order, so that no two of them can
-- wait for each other: first the effect's key, then budgets by id. Each is one
-- statement of the client and therefore one transaction and one round trip,
-- which is what bounds the time that a hot budget's row is locked.

-- +goose StatementBegin
CREATE FUNCTION lock_budgets(p_ids text[]) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM budgets WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
END $$;
-- +goose StatementEnd

-- charge_unknown charges an open hold in full; its budgets are locked.
-- +goose StatementBegin
CREATE FUNCTION charge_unknown(h holds) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE holds SET state = 'unknown', closed_at = clock_timestamp()
        WHERE key = h.key AND attempt = h.attempt;
    UPDATE budgets SET reserved_nano = reserved_nano - h.amount_nano,
            spent_nano = spent_nano + h.amount_nano, unknown_nano = unknown_nano + h.amount_nano
        WHERE id = ANY (h.budget_ids);
    INSERT INTO entries (key, attempt, state, adjusts, root_run, run, provider, model, response_id, usage, price,
            reserved_nano, amount_nano, overdraft_nano)
        VALUES (h.key, h.attempt, 'unknown', false, h.root_run, h.run, h.provider, h.model, '', '{}', '{}',
            h.amount_nano, h.amount_nano, 0);
END $$;
-- +goose StatementEnd

-- reserve answers with a verdict: 'held' (with the hold: the new one, the same
-- as before, or that of a settled predecessor), 'conflict' (with the amount
-- that was reserved before), or 'refused' (with the budget that has no room).
-- It does not raise for a refusal, because what it did to earlier attempts must
-- be committed.
-- +goose StatementBegin
CREATE FUNCTION reserve(
    p_key text, p_attempt integer, p_amount bigint, p_ids text[], p_limits bigint[], p_budgets json,
    p_root_run text, p_run json, p_provider text, p_model text,
    OUT verdict text, OUT hold_attempt integer, OUT hold_amount bigint, OUT hold_state text, OUT hold_budgets json,
    OUT hold_run json, OUT hold_provider text, OUT hold_model text, OUT hold_outcome bytea, OUT room bigint,
    OUT refused text, OUT refused_limit bigint, OUT refused_spent bigint, OUT refused_reserved bigint
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    most CONSTANT bigint := 9223372036854775807;
    h holds;
    prior holds;
    open_ids text[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_key, 0));
    SELECT * INTO h FROM holds WHERE key = p_key AND attempt = p_attempt;
    IF h.amount_nano <> p_amount THEN
        verdict := 'conflict';
        hold_amount := h.amount_nano;
        RETURN;
    END IF;

    IF h.key IS NULL THEN
        SELECT * INTO h FROM holds WHERE key = p_key AND attempt < p_attempt AND state = 'settled'
            ORDER BY attempt DESC LIMIT 1;
        open_ids := ARRAY(SELECT unnest(budget_ids) FROM holds
            WHERE key = p_key AND attempt < p_attempt AND state = 'open');
        IF h.key IS NULL THEN
            -- Missing budgets are made, in order, before any row is locked:
            -- a row that does not exist cannot be locked.
            INSERT INTO budgets (id, limit_nano)
                SELECT l.id, l.most FROM unnest(p_ids, p_limits) AS l(id, most)
                WHERE NOT EXISTS (SELECT 1 FROM budgets b WHERE b.id = l.id COLLATE "C")
                ORDER BY l.id COLLATE "C"
                ON CONFLICT (id) DO NOTHING;
            PERFORM lock_budgets(open_ids || p_ids);
        ELSIF open_ids <> '{}' THEN
            PERFORM lock_budgets(open_ids);
        END IF;
        FOR prior IN SELECT * FROM holds WHERE key = p_key AND attempt < p_attempt AND state = 'open' ORDER BY attempt LOOP
            PERFORM charge_unknown(prior);
        END LOOP;
    END IF;

    IF h.key IS NULL THEN
        SELECT b.id, b.limit_nano, b.spent_nano, b.reserved_nano
            INTO refused, refused_limit, refused_spent, refused_reserved
            FROM unnest(p_ids) WITH ORDINALITY AS l(id, n) JOIN budgets b ON b.id = l.id COLLATE "C"
            WHERE coalesce(nullif(b.limit_nano, 0), most) - b.spent_nano - b.reserved_nano < p_amount
            ORDER BY l.n LIMIT 1;
        IF FOUND THEN
            verdict := 'refused';
            RETURN;
        END IF;
        UPDATE budgets SET reserved_nano = reserved_nano + p_amount WHERE id = ANY (p_ids);
        INSERT INTO holds (key, attempt, amount_nano, budget_ids, budgets, run, root_run, provider, model)
            VALUES (p_key, p_attempt, p_amount, p_ids, p_budgets, p_run, p_root_run, p_provider, p_model)
            RETURNING * INTO h;
    END IF;

    verdict := 'held';
    SELECT coalesce(min(b.limit_nano - b.spent_nano - b.reserved_nano), most) INTO room
        FROM budgets b WHERE b.id = ANY (h.budget_ids) AND b.limit_nano > 0;
    hold_attempt := h.attempt; hold_amount := h.amount_nano; hold_state := h.state; hold_budgets := h.budgets;
    hold_run := h.run; hold_provider := h.provider; hold_model := h.model; hold_outcome := h.outcome;
END $$;
-- +goose StatementEnd

-- settle answers 'done', 'missing', 'released', or 'conflict' with the amount
-- that was settled before.
-- +goose StatementBegin
CREATE FUNCTION settle(
    p_key text, p_attempt integer, p_amount bigint, p_usage json, p_price json,
    p_provider text, p_model text, p_response_id text, p_outcome bytea,
    OUT verdict text, OUT before bigint
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    h holds;
    late boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_key, 0));
    SELECT * INTO h FROM holds WHERE key = p_key AND attempt = p_attempt;
    verdict := CASE
        WHEN h.key IS NULL THEN 'missing'
        WHEN h.state = 'released' THEN 'released'
        WHEN h.settled_nano <> p_amount THEN 'conflict'
        ELSE 'done' END;
    before := h.settled_nano;
    IF verdict <> 'done' OR h.state = 'settled' THEN
        RETURN;
    END IF;

    late := h.state = 'unknown';
    PERFORM lock_budgets(h.budget_ids);
    UPDATE budgets SET
            reserved_nano = reserved_nano - CASE WHEN late THEN 0 ELSE h.amount_nano END,
            unknown_nano = unknown_nano - CASE WHEN late THEN h.amount_nano ELSE 0 END,
            spent_nano = spent_nano - CASE WHEN late THEN h.amount_nano ELSE 0 END + p_amount
        WHERE id = ANY (h.budget_ids);
    UPDATE holds SET state = 'settled', settled_nano = p_amount, outcome = p_outcome, closed_at = clock_timestamp()
        WHERE key = p_key AND attempt = p_attempt;
    INSERT INTO entries (key, attempt, state, adjusts, root_run, run, provider, model, response_id, usage, price,
            reserved_nano, amount_nano, overdraft_nano)
        VALUES (p_key, p_attempt, 'settled', late, h.root_run, h.run, p_provider, p_model, p_response_id, p_usage, p_price,
            h.amount_nano, p_amount - CASE WHEN late THEN h.amount_nano ELSE 0 END, greatest(0, p_amount - h.amount_nano));
END $$;
-- +goose StatementEnd

-- give_up ends an open hold without knowing a cost: p_charge charges it in full
-- as unknown, otherwise it is released. A hold that is not open stays as it is.
-- +goose StatementBegin
CREATE FUNCTION give_up(p_key text, p_attempt integer, p_charge boolean)
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    h holds;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_key, 0));
    SELECT * INTO h FROM holds WHERE key = p_key AND attempt = p_attempt AND state = 'open';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM lock_budgets(h.budget_ids);
    IF p_charge THEN
        PERFORM charge_unknown(h);
    ELSE
        UPDATE budgets SET reserved_nano = reserved_nano - h.amount_nano WHERE id = ANY (h.budget_ids);
        UPDATE holds SET state = 'released', closed_at = clock_timestamp()
            WHERE key = p_key AND attempt = p_attempt;
    END IF;
END $$;
-- +goose StatementEnd
