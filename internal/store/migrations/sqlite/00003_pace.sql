-- What was sent counts against Microsoft's limits for a day.

-- +goose Up
CREATE TABLE sends (
    account    TEXT NOT NULL,
    at         BIGINT NOT NULL, -- when the try ended
    recipients BIGINT NOT NULL
);
CREATE INDEX sends_account ON sends (account, at);
CREATE INDEX sends_at ON sends (at);

-- An account whose limit is used up: nobody claims for it before then.
CREATE TABLE paces (
    account TEXT PRIMARY KEY,
    until   BIGINT NOT NULL,
    reason  TEXT NOT NULL
);
