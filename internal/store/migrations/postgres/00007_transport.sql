-- By which transport an account sends.

-- +goose Up
ALTER TABLE accounts ADD COLUMN transport TEXT COLLATE "C" NOT NULL DEFAULT ''; -- '': automatic

CREATE TABLE detours (
    account    TEXT COLLATE "C" PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    via        TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    until_time BIGINT NOT NULL
);

-- Messages that Graph was given and may have sent.
CREATE TABLE doubts (
    message TEXT COLLATE "C" PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL
);
