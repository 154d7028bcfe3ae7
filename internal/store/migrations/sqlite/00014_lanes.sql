-- Which process has the upstream connections of an account whose server limits their
-- number. Nobody else delivers for it before then.

-- +goose Up
CREATE TABLE held_lanes (
    account TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    until   BIGINT NOT NULL
);

-- One account's or device's page of a long queue.
CREATE INDEX messages_account ON messages (account, id);
CREATE INDEX messages_device ON messages (device, id);
