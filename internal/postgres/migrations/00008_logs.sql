-- +goose Up
-- Log lines of runs, for as long as workers are told to keep them. Times are
-- microseconds since 1970.
CREATE TABLE log_runs (
    run  text COLLATE "C" PRIMARY KEY, -- workflow id/first run id
    last bigint  NOT NULL,
    kept bigint  NOT NULL,
    "full" boolean NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE logs (
    run   text COLLATE "C" NOT NULL,
    seq   bigint  NOT NULL,
    at    bigint  NOT NULL,
    level integer NOT NULL,
    step  text    NOT NULL,
    line  bytea   NOT NULL, -- JSON
    PRIMARY KEY (run, seq)
);

CREATE INDEX logs_at ON logs (at);
