-- Who is told what, what was told already, and what must still be told. And accounts
-- that only pretend to send.

-- +goose Up
CREATE TABLE alert_routes (
    name     TEXT COLLATE "C" PRIMARY KEY,
    settings TEXT COLLATE "C" NOT NULL -- JSON; the secret of a webhook is among the sealed settings
);

-- What is not well, and which of its states was last told. What is well has no row.
CREATE TABLE alert_states (
    key   TEXT COLLATE "C" PRIMARY KEY,
    state TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL
);

-- The outbox, and afterwards the history: one row for each piece of news and route.
-- A route is a word, not a reference: the history outlives it.
CREATE TABLE alerts (
    id         TEXT COLLATE "C" PRIMARY KEY, -- sorts by time
    route      TEXT COLLATE "C" NOT NULL,
    occasion   TEXT COLLATE "C" NOT NULL, -- what happened, so that nothing is put here twice
    news       TEXT COLLATE "C" NOT NULL, -- JSON
    state      TEXT COLLATE "C" NOT NULL, -- waiting, told, failed
    batch      TEXT COLLATE "C" NOT NULL DEFAULT '', -- those with one batch are told together
    tries      BIGINT NOT NULL DEFAULT 0,
    not_before BIGINT NOT NULL,
    outcome    TEXT COLLATE "C" NOT NULL DEFAULT '',
    message    TEXT COLLATE "C" NOT NULL DEFAULT '', -- the one in the queue that tells it
    done       BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX alerts_once ON alerts (route, occasion);
CREATE INDEX alerts_state ON alerts (state, id);
CREATE INDEX alerts_done ON alerts (route, done) WHERE done > 0;

CREATE INDEX messages_failed ON messages (done, id) WHERE state = 'failed';

ALTER TABLE accounts ADD COLUMN simulate BOOLEAN NOT NULL DEFAULT FALSE;
