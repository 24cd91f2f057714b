-- +goose Up
-- settle_all settles what of a batch is open and alerts nobody, by set, and says
-- which items that were. Keys and accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION settle_all(p_first integer, s_key text[], s_attempt integer[], s_amount bigint[], s_usage text[], s_price text[],
    s_provider text[], s_model text[], s_response_id text[], s_outcome bytea[]) RETURNS integer[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    now CONSTANT timestamptz := clock();
    items integer[];
    loud text[];
BEGIN
    WITH moves AS (
        SELECT b.account, sum(s.amount) AS spent FROM unnest(s_key, s_attempt, s_amount) AS s(key, attempt, amount)
            JOIN holds h ON h.key = s.key AND h.attempt = s.attempt AND h.state = 'open', unnest(h.budget_ids) AS b(account)
            GROUP BY b.account
    )
    SELECT array_agg(a.id) INTO loud FROM moves m JOIN accounts a ON a.id = m.account
        WHERE a.spent_nano + m.spent >= a.next_alert_nano;
    WITH quiet AS (
        UPDATE holds h SET state = 'settled', settled_nano = s.amount, outcome = s.outcome, closed_at = now
            FROM unnest(s_key, s_attempt, s_amount, s_outcome) WITH ORDINALITY AS s(key, attempt, amount, outcome, n)
            WHERE h.key = s.key AND h.attempt = s.attempt AND h.state = 'open' AND (loud IS NULL OR NOT h.budget_ids && loud)
            RETURNING s.n, h.granted_nano, h.budget_ids, h.root_run, h.run, h.scopes
    ), added AS (
        INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
                reserved_nano, amount_nano, overdraft_nano, scopes)
            SELECT s_key[q.n], s_attempt[q.n], now, 'settled', false, q.root_run, q.run, s_provider[q.n], s_model[q.n],
                s_response_id[q.n], s_usage[q.n]::json, s_price[q.n]::json, q.granted_nano, s_amount[q.n],
                greatest(0, s_amount[q.n] - q.granted_nano), q.scopes
            FROM quiet q
    ), moved AS (
        UPDATE accounts a SET spent_nano = (a.spent_nano + m.spent)::bigint, reserved_nano = (a.reserved_nano - m.granted)::bigint
            FROM (SELECT b.account, sum(s_amount[q.n]) AS spent, sum(q.granted_nano) AS granted
                FROM quiet q, unnest(q.budget_ids) AS b(account) GROUP BY b.account) AS m
            WHERE a.id = m.account RETURNING a.id, a.slides
    ), slid AS (
        INSERT INTO spendings (account, at, spent_nano, unknown_nano)
            SELECT m.id, now, s_amount[q.n], 0 FROM moved m JOIN quiet q ON m.id = ANY (q.budget_ids) WHERE m.slides IS NOT NULL
    )
    SELECT array_agg(p_first + n::integer) INTO items FROM quiet;
    RETURN coalesce(items, '{}');
END $$;
-- +goose StatementEnd

-- hold_all holds those of the given items whose accounts have room for all of
-- them together, by set. Keys and accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION hold_all(p_items integer[], p_seats seat[], r_key text[], r_attempt integer[], r_amount bigint[], r_least bigint[],
    r_budgets text[], r_scopes text[], r_root_run text[], r_run text[], r_provider text[], r_model text[], r_within bigint[])
RETURNS SETOF answer LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    now CONSTANT timestamptz := clock();
    tight integer[];
    items integer[];
BEGIN
    WITH moves AS (
        SELECT account, sum(r_amount[item]) AS amount FROM unnest(p_seats) WHERE item = ANY (p_items) GROUP BY account
    ), over AS (
        SELECT m.account FROM moves m JOIN accounts a ON a.id = m.account
            WHERE CASE WHEN a.limit_nano = 0 OR a.on_exceeded = 'ignore' OR a.on_exceeded = 'alert' AND a.exceeded_nano IS NOT NULL
                THEN 9223372036854775807 ELSE a.limit_nano END::numeric - a.spent_nano - a.reserved_nano < m.amount
    )
    SELECT array_agg(DISTINCT item) INTO tight FROM unnest(p_seats) WHERE account IN (SELECT account FROM over);
    items := ARRAY(SELECT i FROM unnest(p_items) AS i WHERE tight IS NULL OR i <> ALL (tight));
    IF items = '{}' THEN
        RETURN;
    END IF;
    UPDATE accounts a SET reserved_nano = (a.reserved_nano + m.amount)::bigint
        FROM (SELECT account, sum(r_amount[item]) AS amount FROM unnest(p_seats) WHERE item = ANY (items) GROUP BY account) AS m
        WHERE a.id = m.account;
    RETURN QUERY
        WITH sat AS (
            SELECT s.item, array_agg(s.account ORDER BY s.ord) AS ids,
                    min(a.limit_nano - a.spent_nano - a.reserved_nano)
                        FILTER (WHERE a.limit_nano > 0 AND a.on_exceeded IN ('halt', 'ask')) AS room
                FROM unnest(p_seats) s JOIN accounts a ON a.id = s.account WHERE s.item = ANY (items) GROUP BY s.item
        ), made AS (
            INSERT INTO holds (key, attempt, amount_nano, least_nano, granted_nano, budget_ids, budgets, scopes, run, root_run,
                    provider, model, within_nano, created_at)
                SELECT r_key[i], r_attempt[i], r_amount[i], r_least[i], r_amount[i], coalesce(s.ids, '{}'), r_budgets[i]::json,
                    r_scopes[i]::text[], r_run[i]::json, r_root_run[i], r_provider[i], r_model[i], r_within[i], now
                FROM unnest(items) AS i LEFT JOIN sat s ON s.item = i
        )
        SELECT i, 'held'::text, NULL::holds, true, r_amount[i], now, coalesce(s.room, 9223372036854775807), NULL::accounts
            FROM unnest(items) AS i LEFT JOIN sat s ON s.item = i;
END $$;
-- +goose StatementEnd

-- batch makes many calls at once: reservations r with their lines l, settlements
-- s, and holds g to give up. No key is in it twice. Items are counted through,
-- from 1. What gives money back comes first.
-- +goose StatementBegin
CREATE FUNCTION batch(r_key text[], r_attempt integer[], r_amount bigint[], r_least bigint[], r_budgets text[], r_scopes text[],
    r_root_run text[], r_run text[], r_provider text[], r_model text[], r_within bigint[],
    l_item integer[], l_id text[], l_limit bigint[], l_thresholds text[], l_exceeded text[],
    s_key text[], s_attempt integer[], s_amount bigint[], s_usage text[], s_price text[],
    s_provider text[], s_model text[], s_response_id text[], s_outcome bytea[],
    g_key text[], g_attempt integer[], g_charge boolean[])
RETURNS SETOF answer LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reserves CONSTANT integer := cardinality(r_key);
    settles CONSTANT integer := cardinality(s_key);
    fresh integer[];
    plain integer[];
    seats seat[] := '{}';
    done integer[];
    a answer;
    i integer;
BEGIN
    IF reserves > 0 THEN
        PERFORM lock_rules(false);
    END IF;
    PERFORM pg_advisory_xact_lock(k.lock)
        FROM (SELECT DISTINCT hashtextextended(key, 0) AS lock FROM unnest(r_key || s_key || g_key) AS key ORDER BY 1) AS k;
    IF reserves > 0 THEN
        SELECT coalesce(array_agg(r.item) FILTER (WHERE NOT h.known), '{}'),
                coalesce(array_agg(r.item) FILTER (WHERE NOT h.known AND NOT h.opened), '{}')
            INTO fresh, plain
            FROM unnest(r_key, r_attempt) WITH ORDINALITY AS r(key, attempt, item),
            LATERAL (SELECT coalesce(bool_or(h.attempt = r.attempt OR h.state = 'settled'), false) AS known,
                    coalesce(bool_or(h.state = 'open'), false) AS opened
                FROM holds h WHERE h.key = r.key AND h.attempt <= r.attempt) AS h;
        seats := seats_of(fresh, r_scopes, l_item, l_id, l_limit, l_thresholds, l_exceeded);
        PERFORM make_seats(seats);
    END IF;
    PERFORM lock_accounts(ARRAY(
        SELECT account FROM unnest(seats)
        UNION SELECT unnest(h.budget_ids) FROM unnest(r_key, r_attempt) AS r(key, attempt)
            JOIN holds h ON h.key = r.key AND h.attempt < r.attempt AND h.state = 'open'
        UNION SELECT unnest(h.budget_ids) FROM unnest(s_key || g_key, s_attempt || g_attempt) AS s(key, attempt)
            JOIN holds h ON h.key = s.key AND h.attempt = s.attempt AND h.state IN ('open', 'unknown')));

    done := settle_all(reserves, s_key, s_attempt, s_amount, s_usage, s_price, s_provider, s_model, s_response_id, s_outcome);
    FOR i IN 1..settles LOOP
        IF reserves + i = ANY (done) THEN
            a := NULL;
            a.item := reserves + i;
            a.verdict := 'done';
        ELSE
            a := settle_one(reserves + i, s_key[i], s_attempt[i], s_amount[i], s_usage[i], s_price[i], s_provider[i], s_model[i],
                s_response_id[i], s_outcome[i]);
        END IF;
        RETURN NEXT a;
    END LOOP;
    FOR i IN 1..cardinality(g_key) LOOP
        PERFORM give_up_one(g_key[i], g_attempt[i], g_charge[i]);
        a := NULL;
        a.item := reserves + settles + i;
        a.verdict := 'done';
        RETURN NEXT a;
    END LOOP;

    done := '{}';
    FOR a IN SELECT * FROM hold_all(plain, seats, r_key, r_attempt, r_amount, r_least, r_budgets, r_scopes, r_root_run, r_run,
            r_provider, r_model, r_within) LOOP
        done := done || a.item;
        RETURN NEXT a;
    END LOOP;
    FOR i IN SELECT n FROM generate_series(1, reserves) AS n WHERE n <> ALL (done) LOOP
        RETURN NEXT reserve_one(ROW(i, r_key[i], r_attempt[i], r_amount[i], r_least[i], r_budgets[i], r_scopes[i],
            r_root_run[i], r_run[i], r_provider[i], r_model[i], r_within[i])::asked, seats);
    END LOOP;
END $$;
-- +goose StatementEnd

-- lock_accounts locks accounts in the order of their ids, and expires what their
-- periods have left behind.
-- +goose StatementBegin
CREATE FUNCTION lock_accounts(p_ids text[]) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
