-- By which transport an account sends.

-- +goose Up
ALTER TABLE accounts ADD COLUMN transport TEXT NOT NULL DEFAULT ''; -- '': automatic

CREATE TABLE detours (
    account    TEXT PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    via        TEXT NOT NULL,
    reason     TEXT NOT NULL,
    until_time BIGINT NOT NULL
);

-- Messages that Graph was given and may have sent.
CREATE TABLE doubts (
    message TEXT PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL
);
