-- +goose Up
-- What going back is written down in. JSON is kept as the bytes that were written,
-- and what a compensation is given apart from it, as the bytes that it is.

CREATE TABLE snapshots (
    id           text COLLATE "C" PRIMARY KEY,
    at_nano      bigint NOT NULL, -- since 1970: timestamptz has no nanoseconds, and a restore to this moment must find it
    org          text COLLATE "C" NOT NULL,
    workflow_id  text COLLATE "C" NOT NULL,
    first_run_id text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    pinned       boolean NOT NULL,
    digest       text NOT NULL,
    manifest     bytea NOT NULL -- the canonical JSON that was sealed
);

CREATE INDEX snapshots_listed ON snapshots (at_nano DESC, id DESC);
CREATE INDEX snapshots_of_workflow ON snapshots (workflow_id, at_nano DESC, id DESC);
CREATE INDEX snapshots_of_org ON snapshots (org, at_nano DESC, id DESC);

CREATE TABLE restores (
    n             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL UNIQUE,
    from_run      text COLLATE "C" NOT NULL,
    from_workflow text COLLATE "C" NOT NULL,
    into_run      text COLLATE "C" NOT NULL,
    into_workflow text COLLATE "C" NOT NULL,
    fork          boolean NOT NULL,
    open          boolean NOT NULL,
    doc           bytea NOT NULL
);

CREATE INDEX restores_open ON restores (from_run) WHERE open;
CREATE INDEX restores_from ON restores (from_run);
CREATE INDEX restores_from_workflow ON restores (from_workflow);
CREATE INDEX restores_into ON restores (into_run);
CREATE INDEX restores_into_workflow ON restores (into_workflow);

CREATE TABLE compensations (
    id          text COLLATE "C" PRIMARY KEY,
    org         text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    run         text COLLATE "C" NOT NULL, -- workflow id/first run id
    owner       bytea NOT NULL, -- the run, as JSON
    height      bigint NOT NULL,
    state       text COLLATE "C" NOT NULL,
    begun       boolean NOT NULL,
    cause       text NOT NULL,
    error       text NOT NULL,
    ended_by    text NOT NULL,
    reason      text NOT NULL,
    at          timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    doc         bytea NOT NULL, -- JSON, without what has a column
    input       bytea,
    probe_input bytea
) WITH (fillfactor = 80); -- room for the change of begun in place

CREATE INDEX compensations_of_run ON compensations (run, height DESC, id DESC);
CREATE INDEX compensations_listed ON compensations (changed_at DESC, id DESC);
CREATE INDEX compensations_of_workflow ON compensations (workflow_id, changed_at DESC, id DESC);
CREATE INDEX compensations_of_org ON compensations (org, changed_at DESC, id DESC);
CREATE INDEX compensations_in_state ON compensations (state, changed_at DESC, id DESC);

-- begin_effect marks compensations, unless one is not there or in a state that is too
-- late, and says what it found. It is given ids in their order, in which rows are
-- locked, and writes the first time only. One row at a time, it is planned once for
-- each session, and uses the primary key however small the table was then.
-- +goose StatementBegin
CREATE FUNCTION begin_effect(p_id text[], p_late text[]) RETURNS TABLE (found_id text, found_state text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    one text;
    c record;
    fresh text[] := '{}';
    may boolean := true;
BEGIN
    FOREACH one IN ARRAY p_id LOOP
        SELECT id, state, begun INTO c FROM compensations WHERE id = one FOR UPDATE;
        IF NOT FOUND THEN
            may := false;
            CONTINUE;
        END IF;
        found_id := c.id;
        found_state := c.state;
        RETURN NEXT;
        IF c.state = ANY (p_late) THEN
            may := false;
        ELSIF NOT c.begun THEN
            fresh := fresh || one;
        END IF;
    END LOOP;
    IF may THEN
        FOREACH one IN ARRAY fresh LOOP
            UPDATE compensations SET begun = true WHERE id = one;
        END LOOP;
    END IF;
END $$;
-- +goose StatementEnd
