-- +goose Up
-- What paid calls go through. The client sends the calls of many callers as one
-- batch: one statement, one transaction, one commit. All locks are taken up
-- front and in one order, so that no two batches can wait for each other: the
-- rules, the effects' keys by hash, the right to join accounts, then accounts by
-- id.
--
-- Most of a batch is done by set: new holds whose budgets have room for all of
-- them, and settlements that alert nobody. What is left is done call by call.
-- Both ways have the same result, because what was done by set would have been
-- done so in any order.

-- asked is a reservation of the batch, a row of reserve's arguments.
CREATE TYPE asked AS (
    item integer, key text, attempt integer, amount_nano bigint, least_nano bigint, budgets text, scopes text,
    root_run text, run text, provider text, model text, within_nano bigint
);

-- seat is an account that a reservation is to be held on. ord says which budget
-- is named when several have no room.
CREATE TYPE seat AS (item integer, ord integer, account text, budget text, rule_id text, line_nano bigint,
    thresholds integer[], on_exceeded text);

-- answer is what a call of the batch is told. h is NULL for a new hold, which
-- the caller knows. The verdicts: 'held'; 'conflict' with the hold that has
-- another amount; 'refused' with the account that has no room; 'done';
-- 'missing'; 'released'.
CREATE TYPE answer AS (item integer, verdict text, h holds, fresh boolean, granted_nano bigint, at timestamptz, room bigint,
    refused accounts);

-- expire takes what is older than the period out of rolling accounts.
-- +goose StatementBegin
CREATE FUNCTION expire(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now CONSTANT timestamptz := clock();
    moved text[];
BEGIN
    WITH gone AS (
        DELETE FROM spendings s USING accounts a
            WHERE a.id = ANY (p_ids) AND a.slides IS NOT NULL AND s.account = a.id AND s.at < within(now, a.slides)
            RETURNING s.account, s.spent_nano, s.unknown_nano
    ), less AS (
        UPDATE accounts a SET spent_nano = a.spent_nano - g.spent, unknown_nano = a.unknown_nano - g.unknown
            FROM (SELECT account, sum(spent_nano) AS spent, sum(unknown_nano) AS unknown FROM gone GROUP BY account) AS g
            WHERE a.id = g.account RETURNING a.id
    )
    SELECT array_agg(id) INTO moved FROM less;
    IF moved IS NOT NULL THEN
        PERFORM rearm(moved);
    END IF;
END $$;
-- +goose StatementEnd

-- give_alert adds an alert of an account.
-- +goose StatementBegin
CREATE FUNCTION give_alert(a accounts, p_kind text, p_percent integer, p_run json) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO alerts (kind, budget, percent, limit_nano, spent_nano, reserved_nano, on_exceeded, starts, ends, at, run)
        VALUES (p_kind, a.budget, p_percent, a.limit_nano, a.spent_nano, a.reserved_nano, a.on_exceeded,
            coalesce(a.starts, clock() - a.slides), coalesce(a.ends, CASE WHEN a.slides IS NOT NULL THEN clock() END), clock(), p_run)
$$;
-- +goose StatementEnd

-- charge moves money on the accounts of a hold, which are locked, and alerts.
-- p_at is the time of the spending.
-- +goose StatementBegin
CREATE FUNCTION charge(p_ids text[], p_spent bigint, p_reserved bigint, p_unknown bigint, p_at timestamptz, p_run json)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a accounts;
    t integer;
BEGIN
    UPDATE accounts SET reserved_nano = reserved_nano + p_reserved, spent_nano = spent_nano + p_spent,
            unknown_nano = unknown_nano + p_unknown
        WHERE id = ANY (p_ids) AND (slides IS NULL OR p_at >= within(clock(), slides));
    -- What is older than the window has left it already.
    UPDATE accounts SET reserved_nano = reserved_nano + p_reserved
        WHERE id = ANY (p_ids) AND p_at < within(clock(), slides) AND p_reserved <> 0;
    INSERT INTO spendings (account, at, spent_nano, unknown_nano)
        SELECT id, p_at, p_spent, p_unknown FROM accounts
        WHERE id = ANY (p_ids) AND p_at >= within(clock(), slides) AND (p_spent <> 0 OR p_unknown <> 0);
    IF p_spent < 0 THEN
        PERFORM rearm(array_agg(id)) FROM accounts WHERE id = ANY (p_ids) AND slides IS NOT NULL;
    END IF;
    FOR a IN SELECT * FROM accounts WHERE id = ANY (p_ids) AND spent_nano >= next_alert_nano ORDER BY id LOOP
        FOR t IN SELECT x FROM unnest(a.thresholds) AS x
                WHERE x > a.alerted AND a.spent_nano::numeric * 100 >= x::numeric * a.limit_nano ORDER BY x LOOP
            PERFORM give_alert(a, 'threshold', t, p_run);
            a.alerted := t;
        END LOOP;
        UPDATE accounts SET alerted = a.alerted, next_alert_nano = next_alert(thresholds, a.alerted, limit_nano) WHERE id = a.id;
    END LOOP;
END $$;
-- +goose StatementEnd

-- charge_unknown charges an open hold in full; its accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION charge_unknown(h holds) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now CONSTANT timestamptz := clock();
BEGIN
    UPDATE holds SET state = 'unknown', closed_at = now WHERE key = h.key AND attempt = h.attempt;
    INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
            reserved_nano, amount_nano, overdraft_nano, scopes)
        VALUES (h.key, h.attempt, now, 'unknown', false, h.root_run, h.run, h.provider, h.model, '', '{}', '{}',
            h.granted_nano, h.granted_nano, 0, h.scopes);
    PERFORM charge(h.budget_ids, h.granted_nano, -h.granted_nano, h.granted_nano, now, h.run);
END $$;
-- +goose StatementEnd

-- room_of is what an account has left: of the largest amount where there is no
-- limit, or one that keeps no call from being made.
-- +goose StatementBegin
CREATE FUNCTION room_of(a accounts) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN a.limit_nano > 0 AND a.on_exceeded IN ('halt', 'ask') THEN a.limit_nano ELSE 9223372036854775807 END::numeric
        - a.spent_nano - a.reserved_nano
$$;
-- +goose StatementEnd

-- tightest is what is left of the tightest limit.
-- +goose StatementBegin
CREATE FUNCTION tightest(p_ids text[]) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(min(limit_nano - spent_nano - reserved_nano), 9223372036854775807) FROM accounts
        WHERE id = ANY (p_ids) AND limit_nano > 0 AND on_exceeded IN ('halt', 'ask')
$$;
-- +goose StatementEnd

-- seats_of finds the accounts of new reservations: each line's own, and that of
-- the rule of each line and scope, which is the same where the rule has no
-- period. Scopes are wanted without a limit. Only with the lock on rules.
-- +goose StatementBegin
CREATE FUNCTION seats_of(p_items integer[], w_item integer[], w_id text[], w_limit bigint[], w_thresholds text[], w_exceeded text[],
    OUT seats seat[], OUT missing boolean, OUT joins boolean) LANGUAGE plpgsql SET enable_seqscan = on AS $$
DECLARE
    now CONSTANT timestamptz := clock();
BEGIN
    WITH wanted AS MATERIALIZED (
        SELECT w.item, w.ord, w.id, w.line, w.thresholds, w.exceeded, coalesce(own.id, every.id) AS rule_id,
                CASE WHEN own.id IS NULL THEN every.period ELSE own.period END AS period,
                CASE WHEN own.id IS NULL THEN every.zone ELSE own.zone END AS zone
            FROM unnest(w_item, w_id, w_limit, w_thresholds, w_exceeded) WITH ORDINALITY AS w(item, id, line, thresholds, exceeded, ord)
            LEFT JOIN rules own ON own.id = w.id COLLATE "C"
            LEFT JOIN rules every ON every.id = each_of(w.id) COLLATE "C"
            WHERE w.item = ANY (p_items)
    ), spans AS MATERIALIZED (
        SELECT period, zone, account_id('', period, (window_of(period, zone, now)).starts) AS suffix
            FROM (SELECT DISTINCT period, zone FROM wanted WHERE period <> '') AS p
    ), merged AS (
        SELECT item, ord, id AS account, id AS budget, NULL::text AS rule_id, line, thresholds, exceeded FROM wanted WHERE line IS NOT NULL
        UNION ALL
        SELECT w.item, w.ord, w.id || coalesce(s.suffix, ''), w.id, w.rule_id, w.line, w.thresholds, w.exceeded
            FROM wanted w LEFT JOIN spans s ON s.period = w.period AND s.zone = w.zone WHERE w.rule_id IS NOT NULL
    )
    SELECT coalesce(array_agg(ROW(m.item, m.ord, m.account, m.budget, m.rule_id, coalesce(m.line, 0),
                CASE WHEN a.id IS NULL THEN m.thresholds::integer[] END, m.exceeded)::seat), '{}'),
            coalesce(bool_or(a.id IS NULL), false), coalesce(bool_or(a.id IS NULL AND m.rule_id IS NOT NULL), false)
        INTO seats, missing, joins
        FROM (SELECT item, min(ord) AS ord, account, min(budget) AS budget, max(rule_id) AS rule_id,
                max(line) AS line, max(thresholds) AS thresholds, max(exceeded) AS exceeded
            FROM merged GROUP BY item, account) AS m
        LEFT JOIN accounts a ON a.id = m.account COLLATE "C";
END $$;
-- +goose StatementEnd

-- make_seats makes the accounts that are not there yet, in the order of ids.
-- +goose StatementBegin
CREATE FUNCTION make_seats(p_seats seat[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT DISTINCT ON (t.account) t.* FROM unnest(p_seats) AS t
            WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = t.account)
            ORDER BY t.account, t.item LOOP
        PERFORM make_account(s.account, s.budget, s.rule_id, s.line_nano, s.thresholds, s.on_exceeded);
    END LOOP;
END $$;
-- +goose StatementEnd

-- exceed gives the alert of a call that needs more than what is not spent, once
-- until it would fit. What other calls hold comes back for the most part, and
-- alerts nobody.
-- +goose StatementBegin
CREATE FUNCTION exceed(p_ids text[], p_amount bigint, p_run json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a accounts;
BEGIN
    FOR a IN SELECT * FROM accounts WHERE id = ANY (p_ids) AND limit_nano > 0 AND on_exceeded <> 'ignore'
            AND exceeded_nano IS NULL AND limit_nano::numeric - spent_nano < p_amount ORDER BY id LOOP
        PERFORM give_alert(a, 'exceeded', 100, p_run);
        UPDATE accounts SET exceeded_nano = p_amount WHERE id = a.id;
    END LOOP;
END $$;
-- +goose StatementEnd

-- reserve_one decides about one reservation. Its key and its accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION reserve_one(r asked, p_seats seat[]) RETURNS answer LANGUAGE plpgsql AS $$
DECLARE
    a answer;
    h holds;
    prior holds;
    full_one accounts;
    ids text[];
    grant_nano numeric;
    need CONSTANT bigint := coalesce(nullif(r.least_nano, 0), r.amount_nano);
BEGIN
    a.item := r.item;
    a.verdict := 'held';
    SELECT * INTO h FROM holds WHERE key = r.key AND attempt = r.attempt;
    IF h.key IS NULL THEN
        FOR prior IN SELECT * FROM holds WHERE key = r.key AND attempt < r.attempt AND state = 'open' ORDER BY attempt LOOP
            PERFORM charge_unknown(prior);
        END LOOP;
        SELECT * INTO h FROM holds WHERE key = r.key AND attempt < r.attempt AND state = 'settled' ORDER BY attempt DESC LIMIT 1;
    ELSIF h.amount_nano <> r.amount_nano THEN
        a.verdict := 'conflict';
    END IF;
    IF h.key IS NOT NULL THEN
        a.h := h;
        a.room := tightest(h.budget_ids);
        RETURN a;
    END IF;

    ids := ARRAY(SELECT account FROM unnest(p_seats) WHERE item = r.item ORDER BY ord);
    SELECT c.* INTO full_one FROM accounts c JOIN unnest(ids) WITH ORDINALITY AS s(id, ord) ON s.id = c.id
        WHERE room_of(c) < need ORDER BY s.ord LIMIT 1;
    IF FOUND THEN
        a.verdict := 'refused';
        a.refused := full_one;
        PERFORM exceed(ids, need, r.run::json);
        RETURN a;
    END IF;
    SELECT least(r.amount_nano, min(room_of(c))) INTO grant_nano FROM accounts c WHERE c.id = ANY (ids);
    PERFORM exceed(ids, grant_nano::bigint, r.run::json);
    UPDATE accounts SET reserved_nano = reserved_nano + grant_nano::bigint WHERE id = ANY (ids);
    a.fresh := true;
    a.granted_nano := grant_nano;
    a.at := clock();
    a.room := tightest(ids);
    INSERT INTO holds (key, attempt, amount_nano, least_nano, granted_nano, budget_ids, budgets, scopes, run, root_run,
            provider, model, within_nano, created_at)
        VALUES (r.key, r.attempt, r.amount_nano, r.least_nano, a.granted_nano, ids, r.budgets::json, r.scopes::text[], r.run::json,
            r.root_run, r.provider, r.model, r.within_nano, a.at);
    RETURN a;
END $$;
-- +goose StatementEnd

-- settle_one settles one hold. Its key and its accounts are locked.
-- +goose StatementBegin
CREATE FUNCTION settle_one(p_item integer, p_key text, p_attempt integer, p_amount bigint, p_usage text, p_price text,
    p_provider text, p_model text, p_response_id text, p_outcome bytea, p_by text,
    p_reason text) RETURNS answer LANGUAGE plpgsql AS $$
DECLARE
    a answer;
    h holds;
    late boolean;
    charged bigint := 0; -- before
    now CONSTANT timestamptz := clock();
BEGIN
    SELECT * INTO h FROM holds WHERE key = p_key AND attempt = p_attempt;
    a.item := p_item;
    a.verdict := CASE
        WHEN h.key IS NULL THEN 'missing'
        WHEN h.state = 'released' THEN 'released'
        WHEN h.settled_nano <> p_amount THEN 'conflict'
        ELSE 'done' END;
    IF a.verdict <> 'done' OR h.state = 'settled' THEN
        a.h := h;
        a.h.outcome := NULL; -- it may be large, and nobody asked
        RETURN a;
    END IF;

    late := h.state = 'unknown';
    IF late THEN
        charged := h.granted_nano;
    END IF;
    UPDATE holds SET state = 'settled', settled_nano = p_amount, outcome = p_outcome, closed_at = now
        WHERE key = p_key AND attempt = p_attempt;
    INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
            reserved_nano, amount_nano, overdraft_nano, scopes, made_by, reason)
        VALUES (p_key, p_attempt, now, 'settled', late, h.root_run, h.run, p_provider, p_model, p_response_id,
            p_usage::json, p_price::json, h.granted_nano, p_amount - charged, greatest(0, p_amount - h.granted_nano), h.scopes,
            p_by, p_reason);
    PERFORM charge(h.budget_ids, p_amount - charged, charged - h.granted_nano, -charged, CASE WHEN late THEN h.closed_at ELSE now END, h.run);
    RETURN a;
END $$;
-- +goose StatementEnd

-- give_up_one ends an open hold without knowing a cost: p_charge charges it in
-- full as unknown, otherwise it is released. Another hold stays as it is.
-- +goose StatementBegin
CREATE FUNCTION give_up_one(p_key text, p_attempt integer, p_charge boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    h holds;
BEGIN
    SELECT * INTO h FROM holds WHERE key = p_key AND attempt = p_attempt AND state = 'open';
    IF NOT FOUND THEN
        RETURN;
    ELSIF p_charge THEN
        PERFORM charge_unknown(h);
    ELSE
        UPDATE accounts SET reserved_nano = reserved_nano - h.granted_nano WHERE id = ANY (h.budget_ids);
        UPDATE holds SET state = 'released', closed_at = clock() WHERE key = p_key AND attempt = p_attempt;
    END IF;
END $$;
-- +goose StatementEnd
