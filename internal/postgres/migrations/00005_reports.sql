-- +goose Up
-- keys_of is what an entry or a hold counts for in a report: a name of each of
-- its scopes of that kind, its provider, or the local start of a unit of time.
-- +goose StatementBegin
CREATE FUNCTION keys_of(p_by text, p_zone text, p_scopes text[], p_provider text, p_at timestamptz) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    here CONSTANT timestamp := p_at AT TIME ZONE p_zone;
    ahead CONSTANT interval := here - (p_at AT TIME ZONE 'UTC'); -- of UTC
BEGIN
    CASE p_by
    WHEN '' THEN RETURN NEXT '';
    WHEN 'provider' THEN RETURN NEXT coalesce(nullif(p_provider, ''), '(none)');
    WHEN 'month' THEN RETURN NEXT to_char(here, 'YYYY-MM');
    WHEN 'week', 'day' THEN RETURN NEXT to_char(date_trunc(p_by, here), 'YYYY-MM-DD');
    WHEN 'hour' THEN
        RETURN NEXT to_char(date_trunc('hour', here), 'YYYY-MM-DD"T"HH24:MI:SS') || CASE WHEN ahead = interval '0' THEN 'Z'
            WHEN ahead < interval '0' THEN to_char(-ahead, '"-"HH24:MI') ELSE to_char(ahead, '"+"HH24:MI') END;
    ELSE
        RETURN QUERY SELECT substr(s, length(p_by) + 2) FROM unnest(p_scopes) AS s WHERE starts_with(s, p_by || ':');
        IF NOT FOUND THEN
            RETURN NEXT '(none)';
        END IF;
    END CASE;
END $$;
-- +goose StatementEnd

-- costs adds up. Rows come dearest first, units of time latest first, and at the
-- end what did not fit. Tokens are those of calls, not those of answers that
-- were used again.
-- +goose StatementBegin
CREATE FUNCTION costs(p_by text, p_zone text, p_from timestamptz, p_to timestamptz, p_scopes text[], p_rows bigint)
RETURNS TABLE (key text, calls bigint, hits bigint, spent bigint, unknown bigint, overdraft bigint, reserved bigint, saved bigint,
    usage bigint[]) LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH lines AS (
        SELECT k.key, e.at, (e.state <> 'cached' AND NOT e.adjusts)::integer AS calls, (e.state = 'cached')::integer AS hits,
                e.amount_nano AS spent, CASE WHEN h.key IS NULL THEN 0 ELSE e.amount_nano END AS unknown,
                e.overdraft_nano AS overdraft, 0::bigint AS reserved, e.saved_nano AS saved,
                CASE WHEN e.state <> 'cached' THEN e.usage END AS usage
            FROM entries e
            LEFT JOIN holds h ON e.state = 'unknown' AND h.key = e.key AND h.attempt = e.attempt AND h.state = 'unknown',
            keys_of(p_by, p_zone, e.scopes, e.provider, e.at) AS k(key)
            WHERE (p_from IS NULL OR e.at >= p_from) AND (p_to IS NULL OR e.at < p_to) AND e.scopes @> p_scopes
        UNION ALL
        SELECT k.key, h.created_at, 0, 0, 0, 0, 0, h.granted_nano, 0, NULL
            FROM holds h, keys_of(p_by, p_zone, h.scopes, h.provider, h.created_at) AS k(key)
            WHERE h.state = 'open' AND h.scopes @> p_scopes
        UNION ALL
        SELECT '', NULL, 0, 0, 0, 0, 0, 0, 0, NULL WHERE p_by = '' -- the total of nothing
    ), sums AS (
        SELECT key, max(at) AS at, sum(calls) AS calls, sum(hits) AS hits, sum(spent) AS spent, sum(unknown) AS unknown,
            sum(overdraft) AS overdraft, sum(reserved) AS reserved, sum(saved) AS saved,
            sum((usage->>'input')::bigint) AS u1, sum((usage->>'cache_read')::bigint) AS u2,
            sum((usage->>'cache_write_5m')::bigint) AS u3, sum((usage->>'cache_write_1h')::bigint) AS u4,
            sum((usage->>'output')::bigint) AS u5, sum((usage->>'reasoning')::bigint) AS u6,
            sum((usage->>'millis')::bigint) AS u7
        FROM lines GROUP BY key
    ), ranked AS (
        SELECT *, row_number() OVER (ORDER BY CASE WHEN p_by IN ('hour', 'day', 'week', 'month') THEN at END DESC NULLS LAST,
            spent DESC, reserved DESC, key COLLATE "C") AS place FROM sums
    )
    SELECT CASE WHEN place <= p_rows THEN key ELSE '(others)' END, sum(calls)::bigint, sum(hits)::bigint, sum(spent)::bigint,
            sum(unknown)::bigint, sum(overdraft)::bigint, sum(reserved)::bigint, sum(saved)::bigint,
            ARRAY[coalesce(sum(u1), 0), coalesce(sum(u2), 0), coalesce(sum(u3), 0), coalesce(sum(u4), 0),
                coalesce(sum(u5), 0), coalesce(sum(u6), 0), coalesce(sum(u7), 0)]::bigint[]
        FROM ranked GROUP BY least(place, p_rows + 1), CASE WHEN place <= p_rows THEN key ELSE '(others)' END
        ORDER BY least(place, p_rows + 1)
$$;
-- +goose StatementEnd

-- claim_alerts leases the oldest alerts that wait.
-- +goose StatementBegin
CREATE FUNCTION claim_alerts(p_n bigint, p_lease interval) RETURNS SETOF alerts
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH claimed AS (
        UPDATE alerts SET leased_until = clock() + p_lease WHERE seq IN (
            SELECT seq FROM alerts WHERE done_at IS NULL AND (leased_until IS NULL OR leased_until <= clock())
            ORDER BY seq LIMIT p_n FOR UPDATE SKIP LOCKED)
        RETURNING *
    )
    SELECT * FROM claimed ORDER BY seq
$$;
-- +goose StatementEnd
