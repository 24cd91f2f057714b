-- +goose Up
-- Where the workspaces of runs are, for installations with several hosts for sandboxes.
CREATE TABLE places (
    box     text COLLATE "C" PRIMARY KEY, -- workflow id/first run id
    version bigint NOT NULL,
    place   bytea  NOT NULL -- JSON
);

-- What a program must know to work with this schema: its own version or a later one. A
-- migration that only adds leaves it; one that takes away sets it to a version whose
-- programs no longer use what goes.
CREATE TABLE schema_terms (
    oldest bigint NOT NULL
);
INSERT INTO schema_terms VALUES (9);
