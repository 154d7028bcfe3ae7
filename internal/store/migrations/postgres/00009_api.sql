-- Programs that speak HTTP: what lets them in, and what has been answered to them.

-- +goose Up
CREATE TABLE api_tokens (
    id        TEXT COLLATE "C" PRIMARY KEY, -- stands in the token
    name      TEXT COLLATE "C" NOT NULL UNIQUE,
    device    TEXT COLLATE "C" REFERENCES devices (name) ON UPDATE CASCADE ON DELETE CASCADE, -- NULL: it acts for none
    scopes    TEXT COLLATE "C" NOT NULL, -- JSON
    hash      BYTEA NOT NULL, -- SHA-256 of the secret
    created   BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);
CREATE INDEX api_tokens_device ON api_tokens (device);

-- A message that was handed in under a key, put here in the message's own commit.
CREATE TABLE handed_in (
    owner   TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    sum     BYTEA NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX handed_in_expires ON handed_in (expires);
