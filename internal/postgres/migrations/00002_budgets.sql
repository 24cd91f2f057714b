-- +goose Up
-- A rule is a budget that was declared or set. An account is one window of one
-- budget: what a reservation is held on and a settlement is charged to.
CREATE TABLE rules (
    id          text COLLATE "C" PRIMARY KEY, -- SCOPE:NAME or SCOPE:*
    limit_nano  bigint NOT NULL DEFAULT 0 CHECK (limit_nano >= 0), -- 0: no limit
    period      text NOT NULL DEFAULT '',
    zone        text NOT NULL DEFAULT 'UTC',
    slides      interval, -- the length of a rolling period
    thresholds  integer[] NOT NULL DEFAULT '{}',
    on_exceeded text NOT NULL DEFAULT 'halt',
    rule        json NOT NULL, -- as it was set
    since       timestamptz NOT NULL, -- when it began with this period
    updated_by  text NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- What workers declared last. It outlives rules: one that operators removed does
-- not come back with the next worker.
CREATE TABLE declarations (
    id   text COLLATE "C" PRIMARY KEY,
    rule text NOT NULL
);

ALTER TABLE budgets RENAME TO accounts;
ALTER TABLE accounts
    ADD COLUMN budget          text COLLATE "C",
    ADD COLUMN line_nano       bigint NOT NULL DEFAULT 0 CHECK (line_nano >= 0), -- the limit of the line that made it
    ADD COLUMN topped_nano     bigint NOT NULL DEFAULT 0 CHECK (topped_nano >= 0), -- part of limit_nano where there is one
    ADD COLUMN thresholds      integer[] NOT NULL DEFAULT '{50,75,90}',
    ADD COLUMN on_exceeded     text NOT NULL DEFAULT 'halt',
    ADD COLUMN line_exceeded   text,
    ADD COLUMN line_thresholds integer[],
    ADD COLUMN rule_id         text COLLATE "C", -- the rule that limits it now
    ADD COLUMN rule            json,
    ADD COLUMN period          text NOT NULL DEFAULT '',
    ADD COLUMN starts          timestamptz,
    ADD COLUMN ends            timestamptz,
    ADD COLUMN slides          interval,
    ADD COLUMN alerted         integer NOT NULL DEFAULT 0, -- the highest threshold that alerted
    ADD COLUMN next_alert_nano bigint, -- spending so much alerts; NULL: nothing does
    ADD COLUMN exceeded_nano   bigint; -- what did not fit when it alerted; NULL: it is armed
UPDATE accounts SET budget = id, line_nano = limit_nano, line_exceeded = 'halt', line_thresholds = '{50,75,90}',
    next_alert_nano = CASE WHEN limit_nano > 0 THEN (limit_nano::numeric / 2)::bigint END;
ALTER TABLE accounts ALTER COLUMN budget SET NOT NULL;
CREATE INDEX accounts_rule ON accounts (rule_id) WHERE rule_id IS NOT NULL;
CREATE INDEX accounts_budget ON accounts (budget) WHERE budget <> id; -- windows

-- The spending of accounts with a rolling period. Corrections have the time of
-- what they correct, so that both expire together.
CREATE TABLE spendings (
    account      text COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    spent_nano   bigint NOT NULL,
    unknown_nano bigint NOT NULL
);
CREATE INDEX spendings_at ON spendings (account, at);

CREATE TABLE topups (
    key         text COLLATE "C" PRIMARY KEY,
    budget      text NOT NULL,
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    made_by     text NOT NULL,
    reason      text NOT NULL,
    at          timestamptz NOT NULL
);

CREATE TABLE alerts (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL UNIQUE DEFAULT gen_random_uuid()::text,
    kind          text NOT NULL CHECK (kind IN ('threshold', 'exceeded')),
    budget        text COLLATE "C" NOT NULL,
    percent       integer NOT NULL,
    limit_nano    bigint NOT NULL,
    spent_nano    bigint NOT NULL,
    reserved_nano bigint NOT NULL,
    on_exceeded   text NOT NULL,
    starts        timestamptz,
    ends          timestamptz,
    at            timestamptz NOT NULL,
    run           json NOT NULL,
    leased_until  timestamptz,
    done_at       timestamptz
);
CREATE INDEX alerts_waiting ON alerts (seq) WHERE done_at IS NULL;
CREATE INDEX alerts_budget ON alerts (budget, seq);

ALTER TABLE holds
    ADD COLUMN granted_nano bigint CHECK (granted_nano BETWEEN 0 AND amount_nano),
    ADD COLUMN least_nano   bigint NOT NULL DEFAULT 0,
    ADD COLUMN scopes       text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN within_nano  bigint NOT NULL DEFAULT 0;
UPDATE holds SET granted_nano = amount_nano;
ALTER TABLE holds ALTER COLUMN granted_nano SET NOT NULL;
CREATE INDEX holds_unknown ON holds (closed_at) WHERE state = 'unknown';

-- The foreign key costs a query per entry, in a place that only the functions
-- below write to.
ALTER TABLE entries
    DROP CONSTRAINT entries_key_attempt_fkey,
    DROP CONSTRAINT entries_state_check,
    ADD CONSTRAINT entries_state_check CHECK (state IN ('settled', 'unknown', 'cached')),
    ADD COLUMN scopes     text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN saved_nano bigint NOT NULL DEFAULT 0 CHECK (saved_nano >= 0),
    ADD COLUMN source_key text NOT NULL DEFAULT '',
    ADD COLUMN made_by    text NOT NULL DEFAULT '', -- who settled it by hand
    ADD COLUMN reason     text NOT NULL DEFAULT '';

-- What earlier calls are attributed to, as far as their run tells. Text with
-- \u0000 cannot be read from json and has no scopes of its own.
-- +goose StatementBegin
CREATE FUNCTION scopes_of(p_root text, p_run json, p_provider text, p_model text) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_remove(ARRAY['run:' || p_root,
            'agent:' || (p_run->>'agent'), 'workflow:' || (p_run->>'workflow'), 'user:' || (p_run->>'user'),
            'team:' || (p_run->>'team'), 'org:' || (p_run->>'org'),
            'model:' || p_provider || '/' || nullif(p_model, '')]
        || ARRAY(SELECT 'tag:' || key || '=' || value FROM json_each_text(coalesce(p_run->'tags', '{}'))
            ORDER BY key), NULL)
    WHERE strpos(p_run::text, '\u0000') = 0
$$;
-- +goose StatementEnd
UPDATE holds SET scopes = coalesce(scopes_of(root_run, run, provider, model), ARRAY['run:' || root_run]);
ALTER TABLE entries DISABLE TRIGGER entries_append_only;
UPDATE entries SET scopes = coalesce(scopes_of(root_run, run, provider, model), ARRAY['run:' || root_run]);
ALTER TABLE entries ENABLE TRIGGER entries_append_only;
DROP FUNCTION scopes_of;

CREATE INDEX entries_scopes ON entries USING gin (scopes) WITH (gin_pending_list_limit = 512);
CREATE INDEX entries_at ON entries USING brin (at);

-- The functions of the first version are replaced by those of the next files.
DROP FUNCTION give_up, settle, reserve, charge_unknown, lock_budgets;

-- clock is the time that decides about windows. Tests replace it.
CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

-- from_local is the first instant with that local time. Where the clock is set
-- back it is the earlier of both; where it is set forward, the first after.
-- +goose StatementBegin
CREATE FUNCTION from_local(p_local timestamp, p_zone text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN (at - interval '1 hour') AT TIME ZONE p_zone = p_local THEN at - interval '1 hour' ELSE at END
    FROM (SELECT p_local AT TIME ZONE p_zone AS at) AS t
$$;
-- +goose StatementEnd

-- window_of is the calendar window of p_at, or NULLs for a period without one.
-- It computes in local time, where a day is a day on 23 and 25 hours too.
-- +goose StatementBegin
CREATE FUNCTION window_of(p_period text, p_zone text, p_at timestamptz, OUT starts timestamptz, OUT ends timestamptz)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    unit text := CASE p_period WHEN 'daily' THEN 'day' WHEN 'weekly' THEN 'week' WHEN 'monthly' THEN 'month' END;
    first timestamp;
BEGIN
    IF unit IS NOT NULL THEN
        first := date_trunc(unit, p_at AT TIME ZONE p_zone);
        starts := from_local(first, p_zone);
        ends := from_local(first + ('1 ' || unit)::interval, p_zone);
    END IF;
END $$;
-- +goose StatementEnd

-- The period is part of the id, because a day, a week and a month may begin at
-- the same time.
-- +goose StatementBegin
CREATE FUNCTION account_id(p_budget text, p_period text, p_starts timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT p_budget || CASE WHEN p_period = '' THEN '' ELSE '@' || p_period END
        || coalesce('@' || to_char(p_starts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
$$;
-- +goose StatementEnd

-- each_of names the rule for each in the scope of a budget.
CREATE FUNCTION each_of(p_budget text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT split_part(p_budget, ':', 1) || ':*'$$;

-- rule_for is the id of the rule that a budget has: its own, or that for each.
-- +goose StatementBegin
CREATE FUNCTION rule_for(p_budget text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT id FROM rules WHERE id IN (p_budget, each_of(p_budget)) ORDER BY id = p_budget DESC LIMIT 1
$$;
-- +goose StatementEnd

-- lower is the lower of two limits, of which zero is none.
CREATE FUNCTION lower_limit(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT coalesce(least(nullif(a, 0), nullif(b, 0)), 0)';

-- stricter is what happens where two limits share an account.
CREATE FUNCTION stricter(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT x FROM unnest(ARRAY['halt', 'ask', 'alert', 'ignore']) AS t(x) WHERE x IN (a, b) LIMIT 1$$;

-- next_alert is the least spending that alerts next.
-- +goose StatementBegin
CREATE FUNCTION next_alert(p_thresholds integer[], p_alerted integer, p_limit bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ceil(min(t)::numeric * p_limit / 100)::bigint FROM unnest(p_thresholds) AS t WHERE t > p_alerted AND p_limit > 0
$$;
-- +goose StatementEnd

-- rearm follows a change of limits or of what is spent: thresholds above what
-- is spent alert again, and so does what does not fit once it would fit.
-- +goose StatementBegin
CREATE FUNCTION rearm(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts a SET alerted = n.alerted, next_alert_nano = next_alert(a.thresholds, n.alerted, a.limit_nano),
            exceeded_nano = CASE WHEN a.limit_nano > 0 AND a.limit_nano::numeric - a.spent_nano < a.exceeded_nano
                THEN a.exceeded_nano END
        FROM accounts b, LATERAL (SELECT coalesce(max(t), 0) AS alerted FROM unnest(b.thresholds) AS t
            WHERE t <= b.alerted AND b.spent_nano::numeric * 100 >= t::numeric * b.limit_nano) AS n
        WHERE b.id = a.id AND a.id = ANY (p_ids);
END $$;
-- +goose StatementEnd

-- within is the first moment that a rolling period still counts at a time.
CREATE FUNCTION within(p_at timestamptz, p_slides interval) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$SELECT p_at - p_slides + interval '1 microsecond'$$;

-- spent_before is what the entries of a scope have spent since a time, each at
-- the time of what it corrects, and what of it may still be corrected.
-- +goose StatementBegin
CREATE FUNCTION spent_before(p_scope text, p_from timestamptz)
RETURNS TABLE (at timestamptz, spent_nano bigint, unknown_nano bigint) LANGUAGE sql STABLE AS $$
    SELECT t.at, e.amount_nano, CASE WHEN h.key IS NULL THEN 0 ELSE e.amount_nano END
        FROM entries e
        LEFT JOIN entries u ON e.adjusts AND u.key = e.key AND u.attempt = e.attempt AND u.state = 'unknown'
        LEFT JOIN holds h ON e.state = 'unknown' AND h.key = e.key AND h.attempt = e.attempt AND h.state = 'unknown',
        LATERAL (SELECT coalesce(u.at, e.at) AS at) AS t
        WHERE e.scopes @> ARRAY[p_scope] AND e.state <> 'cached'
            AND (p_from IS NULL OR e.at >= p_from AND t.at >= p_from)
$$;
-- +goose StatementEnd

-- refill counts what was spent before an account was under its rule. Calls that
-- are under way join the account, and those of unknown outcome, so that settling
-- them is counted there. What is counted already is never lowered: lines without
-- scopes have no entries here. Only while nobody closes a hold.
-- +goose StatementBegin
CREATE FUNCTION refill(p_id text, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a accounts;
    begins timestamptz;
    joined numeric;
    running numeric;
    spent numeric;
    unknown numeric;
BEGIN
    SELECT * INTO STRICT a FROM accounts WHERE id = p_id;
    begins := coalesce(a.starts, within(p_at, a.slides));
    WITH joining AS (
        UPDATE holds SET budget_ids = budget_ids || a.id
            WHERE scopes @> ARRAY[a.budget] AND a.id <> ALL (budget_ids) AND (
                state = 'unknown' AND (begins IS NULL OR closed_at >= begins)
                OR state = 'open' AND (begins IS NULL OR a.slides IS NOT NULL OR created_at >= begins))
            RETURNING granted_nano, state
    )
    SELECT coalesce(sum(granted_nano) FILTER (WHERE state = 'unknown'), 0), coalesce(sum(granted_nano) FILTER (WHERE state = 'open'), 0)
        INTO joined, running FROM joining;
    SELECT coalesce(sum(s.spent_nano), 0), coalesce(sum(s.unknown_nano), 0) INTO spent, unknown
        FROM spent_before(a.budget, begins) s;
    IF spent < a.spent_nano THEN
        spent := a.spent_nano + joined;
        unknown := a.unknown_nano + joined;
        INSERT INTO spendings (account, at, spent_nano, unknown_nano)
            SELECT a.id, p_at, joined, joined WHERE a.slides IS NOT NULL AND joined > 0;
    ELSIF a.slides IS NOT NULL THEN
        DELETE FROM spendings WHERE account = a.id;
        INSERT INTO spendings (account, at, spent_nano, unknown_nano)
            SELECT a.id, s.at, s.spent_nano, s.unknown_nano FROM spent_before(a.budget, begins) s;
    END IF;
    UPDATE accounts SET spent_nano = spent, unknown_nano = unknown, reserved_nano = reserved_nano + running WHERE id = a.id;
END $$;
-- +goose StatementEnd

-- make_account makes the account of a line, of a rule or of both, unless it is
-- there. Callers make several in the order of their ids.
-- +goose StatementBegin
CREATE FUNCTION make_account(p_id text, p_budget text, p_rule text, p_line bigint, p_thresholds integer[], p_exceeded text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r rules;
    now CONSTANT timestamptz := clock();
    begins timestamptz;
    ended timestamptz;
BEGIN
    SELECT * INTO r FROM rules WHERE id = p_rule;
    SELECT w.starts, w.ends INTO begins, ended FROM window_of(coalesce(r.period, ''), coalesce(r.zone, 'UTC'), now) w;
    INSERT INTO accounts (id, budget, limit_nano, line_nano, line_thresholds, line_exceeded, thresholds, on_exceeded,
            rule_id, rule, period, starts, ends, slides)
        SELECT p_id, p_budget, l.lim, p_line, p_thresholds, p_exceeded,
            CASE WHEN r.id IS NULL OR p_line > 0 AND p_line = l.lim AND p_line <> r.limit_nano THEN p_thresholds ELSE r.thresholds END,
            coalesce(stricter(r.on_exceeded, CASE WHEN p_line > 0 OR r.id IS NULL THEN p_exceeded END), 'halt'),
            r.id, r.rule, coalesce(r.period, ''), begins, ended, r.slides
        FROM (SELECT lower_limit(p_line, coalesce(r.limit_nano, 0)) AS lim) AS l
        ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF r.since > coalesce(begins, within(now, r.slides), '-infinity') THEN
        PERFORM refill(p_id, now);
    END IF;
    PERFORM rearm(ARRAY[p_id]);
END $$;
-- +goose StatementEnd

-- apply_rule makes an account that exists follow a rule, or none. What was set
-- for one budget by its name stands above the line that made it. Callers have
-- locked the account.
-- +goose StatementBegin
CREATE FUNCTION apply_rule(p_id text, p_rule text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    r rules;
BEGIN
    SELECT * INTO r FROM rules WHERE id = p_rule;
    UPDATE accounts a SET limit_nano = CASE WHEN l.lim > 0 THEN l.lim + a.topped_nano ELSE 0 END,
            thresholds = CASE WHEN r.id IS NULL OR r.id <> a.budget AND a.line_nano > 0 AND a.line_nano = l.lim AND a.line_nano <> r.limit_nano
                THEN coalesce(a.line_thresholds, '{}') ELSE r.thresholds END,
            on_exceeded = coalesce(stricter(r.on_exceeded, CASE WHEN r.id IS NULL OR r.id <> a.budget AND a.line_nano > 0 THEN a.line_exceeded END), 'halt'),
            rule_id = r.id, rule = r.rule,
            ends = coalesce((SELECT w.ends FROM window_of(r.period, r.zone, a.starts) w), a.ends)
        FROM accounts b, LATERAL (SELECT CASE WHEN r.id = b.budget THEN r.limit_nano
                ELSE lower_limit(b.line_nano, coalesce(r.limit_nano, 0)) END AS lim) AS l
        WHERE b.id = a.id AND a.id = p_id;
    PERFORM rearm(ARRAY[p_id]);
END $$;
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
CREATE FUNCTION lock_rules(p_change boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_change THEN
        PERFORM pg_advisory_xact_lock(x'77666c6f'::int, hashtext(current_schema()));
        PERFORM lock_joining(true);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(x'77666c6f'::int, hashtext(current_schema()));
    END IF;
END $$;
-- +goose StatementEnd

-- set_rule makes or replaces a rule. p_declared is given by declarations, which
-- change nothing when it is what was declared last.
-- +goose StatementBegin
CREATE FUNCTION set_rule(p_id text, p_limit bigint, p_period text, p_zone text, p_slides bigint, p_thresholds integer[],
    p_exceeded text, p_rule json, p_declared text, p_by text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    was rules;
    now timestamptz;
    begins timestamptz;
    again boolean;
BEGIN
    PERFORM lock_rules(true);
    now := clock();
    IF p_declared IS NOT NULL THEN
        INSERT INTO declarations AS d (id, rule) VALUES (p_id, p_declared)
            ON CONFLICT (id) DO UPDATE SET rule = p_declared WHERE d.rule <> p_declared;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    SELECT * INTO was FROM rules WHERE id = p_id;
    again := was.period = p_period AND was.zone = p_zone;
    INSERT INTO rules (id, limit_nano, period, zone, slides, thresholds, on_exceeded, rule, since, updated_by, updated_at)
        VALUES (p_id, p_limit, p_period, p_zone, make_interval(secs => p_slides), p_thresholds, p_exceeded, p_rule, now,
            p_by, now)
        ON CONFLICT (id) DO UPDATE SET limit_nano = p_limit, period = p_period, zone = p_zone,
            slides = make_interval(secs => p_slides), thresholds = p_thresholds, on_exceeded = p_exceeded, rule = p_rule,
            since = CASE WHEN again THEN was.since ELSE now END,
            updated_by = p_by, updated_at = now;
    begins := (window_of(p_period, p_zone, now)).starts;
    PERFORM reapply(p_id, p_period, begins, now, again IS NOT TRUE);
END $$;
-- +goose StatementEnd

-- reapply lets every account of a rule follow it: its windows that are current,
-- and no others. p_refill counts anew what was spent.
-- +goose StatementBegin
CREATE FUNCTION reapply(p_id text, p_period text, p_begins timestamptz, p_at timestamptz, p_refill boolean) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    a accounts;
    mine boolean;
BEGIN
    FOR a IN SELECT * FROM accounts c WHERE (c.rule_id = p_id OR c.budget = p_id
                OR p_id = each_of(c.budget) AND c.id = account_id(c.budget, p_period, p_begins))
            AND (c.ends IS NULL OR c.ends > p_at)
            ORDER BY c.id FOR UPDATE LOOP
        mine := a.id = account_id(a.budget, p_period, p_begins) AND rule_for(a.budget) = p_id;
        IF mine THEN
            IF p_refill OR a.rule_id IS NULL THEN
                PERFORM refill(a.id, p_at);
            END IF;
            PERFORM apply_rule(a.id, p_id);
        ELSIF a.rule_id = p_id THEN
            PERFORM apply_rule(a.id, NULL);
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- remove_rule says whether there was one. Accounts of a named rule follow the
-- rule for each again, if there is one.
-- +goose StatementBegin
CREATE FUNCTION remove_rule(p_id text) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    a accounts;
    heir rules;
BEGIN
    PERFORM lock_rules(true);
    DELETE FROM rules WHERE id = p_id;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR a IN SELECT * FROM accounts WHERE rule_id = p_id AND (ends IS NULL OR ends > clock()) ORDER BY id FOR UPDATE LOOP
        SELECT * INTO heir FROM rules WHERE id = rule_for(a.budget);
        PERFORM apply_rule(a.id, CASE WHEN a.id = account_id(a.budget, heir.period, (window_of(heir.period, heir.zone, clock())).starts)
            THEN heir.id END);
    END LOOP;
    RETURN true;
END $$;
-- +goose StatementEnd

-- spend_of reads a budget in its current window. One that nobody has used yet is
-- read as its account would be made.
-- +goose StatementBegin
CREATE FUNCTION spend_of(p_budget text) RETURNS TABLE (budget text, limit_nano bigint, spent_nano bigint, reserved_nano bigint,
    unknown_nano bigint, topped_nano bigint, rule json, starts timestamptz, ends timestamptz)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    now CONSTANT timestamptz := clock();
    r rules;
    a accounts;
    gone record;
    begins timestamptz; -- of what counts
BEGIN
    SELECT t.* INTO r FROM rules t WHERE t.id = rule_for(p_budget);
    SELECT w.starts, w.ends INTO starts, ends FROM window_of(coalesce(r.period, ''), coalesce(r.zone, 'UTC'), now) w;
    SELECT t.* INTO a FROM accounts t WHERE t.id = account_id(p_budget, coalesce(r.period, ''), starts);
    begins := coalesce(starts, within(now, r.slides));
    IF r.slides IS NOT NULL THEN
        starts := now - r.slides;
        ends := now;
    END IF;
    budget := p_budget;
    rule := r.rule;
    IF a.id IS NULL THEN
        SELECT coalesce(r.limit_nano, 0), coalesce(sum(s.spent_nano), 0), 0, coalesce(sum(s.unknown_nano), 0), 0
            INTO limit_nano, spent_nano, reserved_nano, unknown_nano, topped_nano
            FROM spent_before(p_budget, begins) s WHERE r.since > coalesce(begins, '-infinity');
    ELSE
        SELECT coalesce(sum(s.spent_nano), 0) AS spent, coalesce(sum(s.unknown_nano), 0) AS unknown INTO gone
            FROM spendings s WHERE s.account = a.id AND s.at < begins;
        limit_nano := a.limit_nano;
        spent_nano := a.spent_nano - gone.spent;
        reserved_nano := a.reserved_nano;
        unknown_nano := a.unknown_nano - gone.unknown;
        topped_nano := a.topped_nano;
        rule := a.rule;
    END IF;
    RETURN NEXT;
END $$;
-- +goose StatementEnd

-- list_budgets names what ListBudgets reads: every rule, and the windows that a
-- rule for each has made.
-- +goose StatementBegin
CREATE FUNCTION list_budgets() RETURNS TABLE (id text) LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT r.id FROM rules r
    UNION
    SELECT a.budget FROM rules r, window_of(r.period, r.zone, clock()) w, accounts a
        WHERE a.rule_id = r.id AND a.id = account_id(a.budget, r.period, w.starts)
$$;
-- +goose StatementEnd

-- top_up raises the current window of a budget once per key, and the budget's
-- own line too where a rule with a period has windows beside it. It answers
-- 'done', 'conflict' when the key was used for something else, or 'missing'.
-- +goose StatementBegin
CREATE FUNCTION top_up(p_key text, p_budget text, p_amount bigint, p_by text, p_reason text) RETURNS text
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

-- topped_up tops up and reads the budget then.
-- +goose StatementBegin
CREATE FUNCTION topped_up(p_key text, p_budget text, p_amount bigint, p_by text, p_reason text)
RETURNS TABLE (verdict text, budget text, limit_nano bigint, spent_nano bigint, reserved_nano bigint,
    unknown_nano bigint, topped_nano bigint, rule json, starts timestamptz, ends timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    answer CONSTANT text := top_up(p_key, p_budget, p_amount, p_by, p_reason);
BEGIN
    RETURN QUERY SELECT answer, s.* FROM spend_of(p_budget) s;
END $$;
-- +goose StatementEnd
