-- What the last connection check of each account found, and whose turn it is.

-- +goose Up
CREATE TABLE health (
    account  TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    purpose  TEXT NOT NULL,
    at       BIGINT NOT NULL,
    good     BOOLEAN NOT NULL,
    failures BIGINT NOT NULL, -- in a row
    headline TEXT NOT NULL,
    report   TEXT NOT NULL,  -- JSON
    PRIMARY KEY (account, purpose)
) WITHOUT ROWID;

CREATE TABLE health_turns (
    account TEXT PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    turn    BIGINT NOT NULL, -- when the last turn was
    holder  TEXT NOT NULL DEFAULT '',
    until   BIGINT NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX health_due ON health_turns (turn);
