-- Which process has the upstream connections of an account whose server limits their
-- number. Nobody else delivers for it before then.

-- +goose Up
CREATE TABLE held_lanes (
    account TEXT COLLATE "C" PRIMARY KEY,
    holder  TEXT COLLATE "C" NOT NULL,
    until   BIGINT NOT NULL
);
