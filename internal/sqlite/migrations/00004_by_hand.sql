-- +goose Up
-- Who settled a call by hand, and why; empty where its own worker did.
ALTER TABLE entries ADD COLUMN settled_by TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN reason TEXT NOT NULL DEFAULT '';
