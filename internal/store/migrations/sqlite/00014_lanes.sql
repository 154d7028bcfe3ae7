-- Which process has the upstream connections of an account whose server limits their
-- number. Nobody else delivers for it before then.

-- +goose Up
CREATE TABLE held_lanes (
    account TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    until   BIGINT NOT NULL
);
