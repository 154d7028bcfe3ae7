-- Who is told what, what was told already, and what must still be told. And accounts
-- that only pretend to send.

-- +goose Up
CREATE TABLE alert_routes (
    name     TEXT PRIMARY KEY,
    settings TEXT NOT NULL -- JSON; the secret of a webhook is among the sealed settings
) WITHOUT ROWID;

-- What is not well, and which of its states was last told. What is well has no row.
CREATE TABLE alert_states (
    key   TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    since BIGINT NOT NULL
) WITHOUT ROWID;

-- The outbox, and afterwards the history: one row for each piece of news and route.
-- A route is a word, not a reference: the history outlives it.
CREATE TABLE alerts (
    id         TEXT PRIMARY KEY, -- sorts by time
    route      TEXT NOT NULL,
    occasion   TEXT NOT NULL, -- what happened, so that nothing is put here twice
    news       TEXT NOT NULL, -- JSON
    state      TEXT NOT NULL, -- waiting, told, failed
    batch      TEXT NOT NULL DEFAULT '', -- those with one batch are told together
    tries      BIGINT NOT NULL DEFAULT 0,
    not_before BIGINT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    message    TEXT NOT NULL DEFAULT '', -- the one in the queue that tells it
    done       BIGINT NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX alerts_once ON alerts (route, occasion);
CREATE INDEX alerts_state ON alerts (state, id);
CREATE INDEX alerts_done ON alerts (route, done) WHERE done > 0;

CREATE INDEX messages_failed ON messages (done, id) WHERE state = 'failed';

ALTER TABLE accounts ADD COLUMN simulate BOOLEAN NOT NULL DEFAULT FALSE;
