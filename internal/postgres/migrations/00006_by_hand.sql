-- +goose Up
-- Who settled a call of unknown outcome by hand, and why.
ALTER TABLE entries
    ADD COLUMN made_by text NOT NULL DEFAULT '',
    ADD COLUMN reason  text NOT NULL DEFAULT '';

-- list_budgets names what ListBudgets reads: every rule, and the windows that a
-- rule for each has made.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_budgets() RETURNS TABLE (id text) LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT r.id FROM rules r
    UNION
    SELECT a.budget FROM rules r, window_of(r.period, r.zone, clock()) w, accounts a
        WHERE a.rule_id = r.id AND a.id = account_id(a.budget, r.period, w.starts)
$$;
-- +goose StatementEnd

-- A new account under a rule is joined by calls that are not settled yet. Whoever
-- lets them join locks out whoever closes them, whose accounts would be others
-- than those that it has locked. Taken after effects' keys and before accounts.
-- +goose StatementBegin
CREATE FUNCTION lock_joining(p_join boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_join THEN
        PERFORM pg_advisory_xact_lock(x'77666c70'::int, hashtext(current_schema()));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(x'77666c70'::int, hashtext(current_schema()));
    END IF;
END $$;
-- +goose StatementEnd

-- Whoever changes rules locks out whoever reads them to make accounts, so that
-- no account is made with a limit that was replaced. Taken before all else.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION lock_rules(p_change boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_change THEN
        PERFORM pg_advisory_xact_lock(x'77666c6f'::int, hashtext(current_schema()));
        PERFORM lock_joining(true);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(x'77666c6f'::int, hashtext(current_schema()));
    END IF;
END $$;
-- +goose StatementEnd

-- top_up raises the current window of a budget once per key, and the budget's
-- own line too where a rule with a period has windows beside it. It answers
-- 'done', 'conflict' when the key was used for something else, or 'missing'.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION top_up(p_key text, p_budget text, p_amount bigint, p_by text, p_reason text) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    was topups;
    r rules;
    own text;
    raised text[];
BEGIN
    PERFORM lock_rules(false);
    INSERT INTO topups (key, budget, amount_nano, made_by, reason, at)
        VALUES (p_key, p_budget, p_amount, p_by, p_reason, clock()) ON CONFLICT (key) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO STRICT was FROM topups WHERE key = p_key;
        RETURN CASE WHEN was.budget = p_budget AND was.amount_nano = p_amount THEN 'done' ELSE 'conflict' END;
    END IF;
    SELECT * INTO r FROM rules WHERE id = rule_for(p_budget) AND p_budget <> each_of(p_budget);
    own := account_id(p_budget, coalesce(r.period, ''), (window_of(coalesce(r.period, ''), coalesce(r.zone, 'UTC'), clock())).starts);
    IF r.limit_nano > 0 THEN
        PERFORM lock_joining(true);
        PERFORM make_account(own, p_budget, r.id, 0, NULL, NULL);
    END IF;
    PERFORM lock_accounts(ARRAY[own, p_budget]);
    WITH more AS (
        UPDATE accounts SET limit_nano = limit_nano + p_amount, topped_nano = topped_nano + p_amount
            WHERE id IN (own, p_budget) AND limit_nano > 0 RETURNING id
    )
    SELECT array_agg(id) INTO raised FROM more;
    IF raised IS NULL THEN
        DELETE FROM topups WHERE key = p_key;
        RETURN 'missing';
    END IF;
    PERFORM rearm(raised);
    RETURN 'done';
END $$;
-- +goose StatementEnd
