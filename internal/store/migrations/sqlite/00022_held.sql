-- Accounts that somebody paused by hand, and what accounts were called before: messages
-- that name one by it are moved, and nobody else gets the name.

-- +goose Up
ALTER TABLE accounts ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE former_names (
    name    TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX former_names_account ON former_names (account);
