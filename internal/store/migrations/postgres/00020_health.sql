-- What the last connection check of each account found, and whose turn it is.

-- +goose Up
CREATE TABLE health (
    account  TEXT COLLATE "C" NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    purpose  TEXT COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    good     BOOLEAN NOT NULL,
    failures BIGINT NOT NULL, -- in a row
    headline TEXT COLLATE "C" NOT NULL,
    report   TEXT COLLATE "C" NOT NULL, -- JSON
    PRIMARY KEY (account, purpose)
);

CREATE TABLE health_turns (
    account TEXT COLLATE "C" PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    turn    BIGINT NOT NULL, -- when the last turn was
    holder  TEXT COLLATE "C" NOT NULL DEFAULT '',
    until   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX health_due ON health_turns (turn);
