-- +goose Up
-- What a batch calls lives on the search path that the functions of clients set,
-- because setting it costs more than most of what they do; a batch skips what it
-- has no calls for; and no statement looks into an array of text by number, which
-- reads it from its beginning each time. Plans are made once for each session,
-- when the tables may still be empty, so they are kept from reading whole tables,
-- and the index of open holds, by comparing the state with a variable: in holds a
-- call is found by its key.

-- settle_all settles what of a batch is open and alerts nobody, by set, and says
-- which items that were. Keys and accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION settle_all(s_key text[], s_attempt integer[], s_amount bigint[], s_usage text[], s_price text[],
    s_provider text[], s_model text[], s_response_id text[], s_outcome bytea[], s_by text[], s_reason text[]) RETURNS integer[]
LANGUAGE plpgsql AS $$
DECLARE
    now CONSTANT timestamptz := clock();
    items integer[];
    loud text[];
    opened CONSTANT text := 'open';
BEGIN
    WITH moves AS (
        SELECT b.account, sum(s.amount) AS spent FROM unnest(s_key, s_attempt, s_amount) AS s(key, attempt, amount)
            JOIN holds h ON h.key = s.key AND h.attempt = s.attempt AND h.state = opened, unnest(h.budget_ids) AS b(account)
            GROUP BY b.account
    )
    SELECT array_agg(a.id) INTO loud FROM moves m JOIN accounts a ON a.id = m.account
        WHERE a.spent_nano + m.spent >= a.next_alert_nano;
    WITH quiet AS (
        UPDATE holds h SET state = 'settled', settled_nano = s.amount, outcome = s.outcome, closed_at = now
            FROM unnest(s_key, s_attempt, s_amount, s_usage, s_price, s_provider, s_model, s_response_id, s_outcome, s_by, s_reason)
                WITH ORDINALITY AS s(key, attempt, amount, usage, price, provider, model, response_id, outcome, made_by, reason, n)
            WHERE h.key = s.key AND h.attempt = s.attempt AND h.state = opened AND (loud IS NULL OR NOT h.budget_ids && loud)
            RETURNING s.n, s.amount, s.usage, s.price, s.provider, s.model, s.response_id, s.made_by, s.reason,
                h.key, h.attempt, h.granted_nano, h.budget_ids, h.root_run, h.run, h.scopes
    ), added AS (
        INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
                reserved_nano, amount_nano, overdraft_nano, scopes, made_by, reason)
            SELECT key, attempt, now, 'settled', false, root_run, run, provider, model, response_id, usage::json, price::json,
                granted_nano, amount, greatest(0, amount - granted_nano), scopes, made_by, reason
            FROM quiet
    ), moved AS (
        UPDATE accounts a SET spent_nano = (a.spent_nano + m.spent)::bigint, reserved_nano = (a.reserved_nano - m.granted)::bigint
            FROM (SELECT b.account, sum(q.amount) AS spent, sum(q.granted_nano) AS granted
                FROM quiet q, unnest(q.budget_ids) AS b(account) GROUP BY b.account) AS m
            WHERE a.id = m.account RETURNING a.id, a.slides
    ), slid AS (
        INSERT INTO spendings (account, at, spent_nano, unknown_nano)
            SELECT m.id, now, q.amount, 0 FROM moved m JOIN quiet q ON m.id = ANY (q.budget_ids) WHERE m.slides IS NOT NULL
    )
    SELECT array_agg(n::integer) INTO items FROM quiet;
    RETURN coalesce(items, '{}');
END $$;
-- +goose StatementEnd

-- hold_all holds those of the given items whose accounts have room for all of
-- them together, by set. Keys and accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION hold_all(p_items integer[], p_seats seat[], r_key text[], r_attempt integer[], r_amount bigint[], r_least bigint[],
    r_budgets text[], r_scopes text[], r_root_run text[], r_run text[], r_provider text[], r_model text[], r_within bigint[])
RETURNS SETOF answer LANGUAGE plpgsql AS $$
DECLARE
    now CONSTANT timestamptz := clock();
    tight integer[];
    items integer[] := p_items;
BEGIN
    WITH moves AS (
        SELECT account, sum(r_amount[item]) AS amount FROM unnest(p_seats) WHERE item = ANY (p_items) GROUP BY account
    ), over AS (
        SELECT m.account FROM moves m JOIN accounts a ON a.id = m.account
            WHERE CASE WHEN a.limit_nano = 0 OR a.on_exceeded = 'ignore' OR a.on_exceeded = 'alert' AND a.exceeded_nano IS NOT NULL
                THEN 9223372036854775807 ELSE a.limit_nano END::numeric - a.spent_nano - a.reserved_nano < m.amount
    )
    SELECT array_agg(DISTINCT item) INTO tight FROM unnest(p_seats) WHERE account IN (SELECT account FROM over);
    IF tight IS NOT NULL THEN
        items := ARRAY(SELECT i FROM unnest(p_items) AS i WHERE i <> ALL (tight));
    END IF;
    IF items = '{}' THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH seats AS MATERIALIZED (
            SELECT item, ord, account FROM unnest(p_seats) WHERE item = ANY (items)
        ), moved AS (
            UPDATE accounts a SET reserved_nano = (a.reserved_nano + m.amount)::bigint
                FROM (SELECT account, sum(r_amount[item]) AS amount FROM seats GROUP BY account) AS m
                WHERE a.id = m.account
                RETURNING a.id, CASE WHEN a.limit_nano > 0 AND a.on_exceeded IN ('halt', 'ask')
                    THEN a.limit_nano - a.spent_nano - a.reserved_nano END AS room
        ), sat AS MATERIALIZED (
            SELECT s.item, array_agg(s.account ORDER BY s.ord) AS ids, min(m.room) AS room
                FROM seats s JOIN moved m ON m.id = s.account GROUP BY s.item
        ), made AS (
            INSERT INTO holds (key, attempt, amount_nano, least_nano, granted_nano, budget_ids, budgets, scopes, run, root_run,
                    provider, model, within_nano, created_at)
                SELECT r.key, r.attempt, r.amount, r.least, r.amount, coalesce(s.ids, '{}'), r.budgets::json,
                    r.scopes::text[], r.run::json, r.root_run, r.provider, r.model, r.within, now
                FROM unnest(r_key, r_attempt, r_amount, r_least, r_budgets, r_scopes, r_root_run, r_run, r_provider, r_model, r_within)
                    WITH ORDINALITY AS r(key, attempt, amount, least, budgets, scopes, root_run, run, provider, model, within, item)
                    LEFT JOIN sat s ON s.item = r.item
                WHERE r.item = ANY (items)
        )
        SELECT i, 'held'::text, NULL::holds, true, r_amount[i], now, coalesce(s.room, 9223372036854775807), NULL::accounts
            FROM unnest(items) AS i LEFT JOIN sat s ON s.item = i;
END $$;
-- +goose StatementEnd

-- save_all records answers that cost nothing, but for holds that exist.
-- +goose StatementBegin
CREATE FUNCTION save_all(v_key text[], v_attempt integer[], v_root_run text[], v_run text[], v_scopes text[], v_source text[],
    v_usage text[], v_price text[], v_provider text[], v_model text[], v_saved bigint[], v_outcome bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now CONSTANT timestamptz := clock();
BEGIN
    WITH made AS (
        INSERT INTO holds (key, attempt, amount_nano, granted_nano, state, settled_nano, budget_ids, budgets, scopes, run, root_run,
                provider, model, outcome, created_at, closed_at)
            SELECT v.key, v.attempt, 0, 0, 'settled', 0, '{}', '[]', v.scopes::text[], v.run::json, v.root_run,
                v.provider, v.model, v.outcome, now, now
            FROM unnest(v_key, v_attempt, v_root_run, v_run, v_scopes, v_provider, v_model, v_outcome)
                AS v(key, attempt, root_run, run, scopes, provider, model, outcome)
            ON CONFLICT (key, attempt) DO NOTHING
            RETURNING key, attempt, root_run, run, scopes, provider, model
    )
    INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
            reserved_nano, amount_nano, overdraft_nano, scopes, saved_nano, source_key)
        SELECT m.key, m.attempt, now, 'cached', false, m.root_run, m.run, m.provider, m.model, '', v.usage::json, v.price::json,
            0, 0, 0, m.scopes, v.saved, v.source
        FROM made m JOIN unnest(v_key, v_attempt, v_source, v_usage, v_price, v_saved) AS v(key, attempt, source, usage, price, saved)
            ON v.key = m.key AND v.attempt = m.attempt;
END $$;
-- +goose StatementEnd

-- give_back settles and gives up the calls of a batch, items from p_first on.
-- Keys and accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION give_back(p_first integer, s_key text[], s_attempt integer[], s_amount bigint[], s_usage text[], s_price text[],
    s_provider text[], s_model text[], s_response_id text[], s_outcome bytea[], s_by text[], s_reason text[],
    g_key text[], g_attempt integer[], g_charge boolean[]) RETURNS SETOF answer LANGUAGE plpgsql AS $$
DECLARE
    settles CONSTANT integer := cardinality(s_key);
    done integer[] := '{}';
    a answer;
    i integer;
BEGIN
    IF settles > 0 THEN
        done := settle_all(s_key, s_attempt, s_amount, s_usage, s_price, s_provider, s_model, s_response_id, s_outcome, s_by, s_reason);
    END IF;
    FOR i IN 1..settles LOOP
        a := NULL;
        a.item := p_first + i;
        a.verdict := 'done';
        IF i <> ALL (done) THEN
            a := settle_one(p_first + i, s_key[i], s_attempt[i], s_amount[i], s_usage[i], s_price[i], s_provider[i], s_model[i],
                s_response_id[i], s_outcome[i], s_by[i], s_reason[i]);
        END IF;
        RETURN NEXT a;
    END LOOP;
    FOR i IN 1..cardinality(g_key) LOOP
        PERFORM give_up_one(g_key[i], g_attempt[i], g_charge[i]);
        a := NULL;
        a.item := p_first + settles + i;
        a.verdict := 'done';
        RETURN NEXT a;
    END LOOP;
END $$;
-- +goose StatementEnd

-- batch makes many calls at once: reservations r with the lines and scopes w
-- that they want to be held on, settlements s, holds g to give up, and savings
-- v. No key is in it twice. Items are counted through, from 1. What gives money
-- back comes first.
-- +goose StatementBegin
CREATE FUNCTION batch(r_key text[], r_attempt integer[], r_amount bigint[], r_least bigint[], r_budgets text[], r_scopes text[],
    r_root_run text[], r_run text[], r_provider text[], r_model text[], r_within bigint[],
    w_item integer[], w_id text[], w_limit bigint[], w_thresholds text[], w_exceeded text[],
    s_key text[], s_attempt integer[], s_amount bigint[], s_usage text[], s_price text[],
    s_provider text[], s_model text[], s_response_id text[], s_outcome bytea[], s_by text[], s_reason text[],
    g_key text[], g_attempt integer[], g_charge boolean[],
    v_key text[], v_attempt integer[], v_root_run text[], v_run text[], v_scopes text[], v_source text[],
    v_usage text[], v_price text[], v_provider text[], v_model text[], v_saved bigint[], v_outcome bytea[])
RETURNS SETOF answer LANGUAGE plpgsql SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    reserves CONSTANT integer := cardinality(r_key);
    others CONSTANT integer := cardinality(s_key) + cardinality(g_key); -- that give money back
    fresh integer[];
    plain integer[];
    seats seat[] := '{}';
    ids text[] := '{}';
    done integer[] := '{}';
    missing boolean := false;
    joins boolean := false;
    opened CONSTANT text := 'open';
    uncertain CONSTANT text := 'unknown';
    a answer;
    i integer;
BEGIN
    IF reserves > 0 THEN
        PERFORM lock_rules(false);
    END IF;
    PERFORM pg_advisory_xact_lock(k.lock)
        FROM (SELECT DISTINCT hashtextextended(key, 0) AS lock FROM unnest(r_key || s_key || g_key || v_key) AS key ORDER BY 1) AS k;
    IF reserves > 0 THEN
        SELECT coalesce(array_agg(r.item) FILTER (WHERE NOT h.known), '{}'),
                coalesce(array_agg(r.item) FILTER (WHERE NOT h.known AND NOT h.opened), '{}')
            INTO fresh, plain
            FROM unnest(r_key, r_attempt) WITH ORDINALITY AS r(key, attempt, item),
            LATERAL (SELECT coalesce(bool_or(h.attempt = r.attempt OR h.state = 'settled'), false) AS known,
                    coalesce(bool_or(h.state = 'open'), false) AS opened
                FROM holds h WHERE h.key = r.key AND h.attempt <= r.attempt) AS h;
        SELECT * INTO seats, missing, joins FROM seats_of(fresh, w_item, w_id, w_limit, w_thresholds, w_exceeded);
    END IF;
    IF joins THEN
        PERFORM lock_joining(true);
    ELSIF others > 0 OR cardinality(plain) < reserves THEN
        PERFORM lock_joining(false);
    END IF;
    IF missing THEN
        PERFORM make_seats(seats);
    END IF;
    IF others > 0 OR cardinality(plain) < reserves THEN
        ids := ARRAY(SELECT unnest(h.budget_ids) FROM unnest(r_key, r_attempt) AS r(key, attempt)
                JOIN holds h ON h.key = r.key AND h.attempt < r.attempt AND h.state = opened
            UNION ALL SELECT unnest(h.budget_ids) FROM unnest(s_key || g_key, s_attempt || g_attempt) AS s(key, attempt)
                JOIN holds h ON h.key = s.key AND h.attempt = s.attempt AND (h.state = opened OR h.state = uncertain));
    END IF;
    PERFORM lock_accounts(ids || ARRAY(SELECT account FROM unnest(seats)));

    IF others > 0 THEN
        RETURN QUERY SELECT * FROM give_back(reserves, s_key, s_attempt, s_amount, s_usage, s_price, s_provider, s_model, s_response_id,
            s_outcome, s_by, s_reason, g_key, g_attempt, g_charge);
    END IF;
    IF cardinality(v_key) > 0 THEN
        PERFORM save_all(v_key, v_attempt, v_root_run, v_run, v_scopes, v_source, v_usage, v_price, v_provider, v_model, v_saved, v_outcome);
        FOR i IN 1..cardinality(v_key) LOOP
            a := NULL;
            a.item := reserves + others + i;
            a.verdict := 'done';
            RETURN NEXT a;
        END LOOP;
    END IF;
    IF plain <> '{}' THEN
        FOR a IN SELECT * FROM hold_all(plain, seats, r_key, r_attempt, r_amount, r_least, r_budgets, r_scopes, r_root_run, r_run,
                r_provider, r_model, r_within) LOOP
            done := done || a.item;
            RETURN NEXT a;
        END LOOP;
    END IF;
    IF cardinality(done) < reserves THEN
        FOR i IN SELECT n FROM generate_series(1, reserves) AS n WHERE n <> ALL (done) LOOP
            RETURN NEXT reserve_one(ROW(i, r_key[i], r_attempt[i], r_amount[i], r_least[i], r_budgets[i], r_scopes[i],
                r_root_run[i], r_run[i], r_provider[i], r_model[i], r_within[i])::asked, seats);
        END LOOP;
    END IF;
END $$;
-- +goose StatementEnd

-- lock_accounts locks accounts in the order of their ids, and expires what their
-- periods have left behind.
-- +goose StatementBegin
CREATE FUNCTION lock_accounts(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    sliding text[];
BEGIN
    SELECT array_agg(id) FILTER (WHERE slides IS NOT NULL) INTO sliding
        FROM (SELECT id, slides FROM accounts WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE) AS a;
    IF sliding IS NOT NULL THEN
        PERFORM expire(sliding);
    END IF;
END $$;
-- +goose StatementEnd
