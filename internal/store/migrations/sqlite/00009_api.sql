-- Programs that speak HTTP: what lets them in, and what has been answered to them.

-- +goose Up
CREATE TABLE api_tokens (
    id        TEXT PRIMARY KEY, -- stands in the token
    name      TEXT NOT NULL UNIQUE,
    device    TEXT REFERENCES devices (name) ON UPDATE CASCADE ON DELETE CASCADE, -- NULL: it acts for none
    scopes    TEXT NOT NULL, -- JSON
    hash      BLOB NOT NULL, -- SHA-256 of the secret
    created   BIGINT NOT NULL,
    last_used BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX api_tokens_device ON api_tokens (device);

-- A message that was handed in under a key, put here in the message's own commit.
CREATE TABLE handed_in (
    owner   TEXT NOT NULL,
    key     TEXT NOT NULL,
    sum     BLOB NOT NULL,
    message TEXT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX handed_in_expires ON handed_in (expires);
