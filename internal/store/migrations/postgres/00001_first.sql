-- Times are unix milliseconds, 0 when there is none; durations are nanoseconds.
-- Secrets are sealed before they come here. Text sorts by its octets, as it does
-- in SQLite.

-- +goose Up
CREATE TABLE apps (
    name           TEXT COLLATE "C" PRIMARY KEY,
    tenant         TEXT COLLATE "C" NOT NULL,
    client_id      TEXT COLLATE "C" NOT NULL,
    cloud          TEXT COLLATE "C" NOT NULL, -- JSON
    secret         BYTEA NOT NULL,
    secret_expires BIGINT NOT NULL
);

CREATE TABLE accounts (
    name     TEXT COLLATE "C" PRIMARY KEY,
    app      TEXT COLLATE "C" NOT NULL REFERENCES apps (name) ON UPDATE CASCADE,
    mailbox  TEXT COLLATE "C" NOT NULL, -- JSON
    method   TEXT COLLATE "C" NOT NULL,
    purposes TEXT COLLATE "C" NOT NULL, -- JSON
    shared   BOOLEAN NOT NULL,
    state    TEXT COLLATE "C" NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    since    BIGINT NOT NULL,
    probe_at BIGINT NOT NULL
);
CREATE INDEX accounts_app ON accounts (app);

CREATE TABLE grants (
    account      TEXT COLLATE "C" PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    refresh      BYTEA NOT NULL DEFAULT '',
    access       TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON
    signed_in_as TEXT COLLATE "C" NOT NULL DEFAULT '',
    object_id    TEXT COLLATE "C" NOT NULL DEFAULT '',
    tenant_id    TEXT COLLATE "C" NOT NULL DEFAULT '',
    scopes       TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON
    signed_in_at BIGINT NOT NULL DEFAULT 0,
    rotated_at   BIGINT NOT NULL DEFAULT 0,
    generation   BIGINT NOT NULL DEFAULT 0, -- 0: claimed, but never committed
    claim_holder TEXT COLLATE "C" NOT NULL DEFAULT '',
    claim_until  BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE sign_ins (
    state_hash TEXT COLLATE "C" PRIMARY KEY,
    account    TEXT COLLATE "C" NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    browser    TEXT COLLATE "C" NOT NULL,
    verifier   BYTEA NOT NULL,
    nonce      TEXT COLLATE "C" NOT NULL,
    redirect   TEXT COLLATE "C" NOT NULL,
    expires    BIGINT NOT NULL
);
CREATE INDEX sign_ins_account ON sign_ins (account);

CREATE TABLE links (
    token_hash TEXT COLLATE "C" PRIMARY KEY,
    account    TEXT COLLATE "C" NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    expires    BIGINT NOT NULL
);
CREATE INDEX links_account ON links (account);

CREATE TABLE settings (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE devices (
    name          TEXT COLLATE "C" PRIMARY KEY,
    account       TEXT COLLATE "C" NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE,
    password_hash TEXT COLLATE "C" NOT NULL,
    senders       TEXT COLLATE "C" NOT NULL, -- JSON
    disabled      BOOLEAN NOT NULL,
    created       BIGINT NOT NULL
);
CREATE INDEX devices_account ON devices (account);

CREATE TABLE tasks (
    name        TEXT COLLATE "C" PRIMARY KEY,
    account     TEXT COLLATE "C" NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE,
    folder      TEXT COLLATE "C" NOT NULL,
    directory   TEXT COLLATE "C" NOT NULL,
    every       BIGINT NOT NULL,
    start_with  TEXT COLLATE "C" NOT NULL,
    unread      BOOLEAN NOT NULL,
    inline      BOOLEAN NOT NULL,
    afterwards  TEXT COLLATE "C" NOT NULL,
    move_to     TEXT COLLATE "C" NOT NULL,
    disabled    BOOLEAN NOT NULL,
    created     BIGINT NOT NULL,
    lock_holder TEXT COLLATE "C" NOT NULL DEFAULT '',
    lock_until  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tasks_account ON tasks (account);

CREATE TABLE entries (
    task         TEXT COLLATE "C" NOT NULL REFERENCES tasks (name) ON UPDATE CASCADE ON DELETE CASCADE,
    folder       TEXT COLLATE "C" NOT NULL,
    uid_validity BIGINT NOT NULL,
    uid          BIGINT NOT NULL,
    message_id   TEXT COLLATE "C" NOT NULL,
    digest       TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    files        TEXT COLLATE "C" NOT NULL, -- JSON
    attempts     BIGINT NOT NULL,
    reason       TEXT COLLATE "C" NOT NULL,
    run          TEXT COLLATE "C" NOT NULL,
    updated      BIGINT NOT NULL,
    PRIMARY KEY (task, folder, uid_validity, uid)
);
CREATE INDEX entries_unfinished ON entries (task) WHERE state IN ('staged', 'saved', 'failed');
CREATE INDEX entries_twin ON entries (task, folder, digest);
CREATE INDEX entries_updated ON entries (task, updated);

CREATE TABLE runs (
    id      TEXT COLLATE "C" PRIMARY KEY,
    task    TEXT COLLATE "C" NOT NULL REFERENCES tasks (name) ON UPDATE CASCADE ON DELETE CASCADE,
    started BIGINT NOT NULL,
    ended   BIGINT NOT NULL,
    looked  BIGINT NOT NULL,
    saved   BIGINT NOT NULL,
    files   BIGINT NOT NULL,
    failed  BIGINT NOT NULL,
    error   TEXT COLLATE "C" NOT NULL
);
CREATE INDEX runs_started ON runs (task, started);

-- A message's account and device are words, not references: its history
-- outlives both.
CREATE TABLE messages (
    id          TEXT COLLATE "C" PRIMARY KEY,
    account     TEXT COLLATE "C" NOT NULL,
    device      TEXT COLLATE "C" NOT NULL,
    sender      TEXT COLLATE "C" NOT NULL, -- JSON
    recipients  TEXT COLLATE "C" NOT NULL, -- JSON
    eight_bit   BOOLEAN NOT NULL,
    utf8        BOOLEAN NOT NULL,
    message_id  TEXT COLLATE "C" NOT NULL,
    subject     TEXT COLLATE "C" NOT NULL,
    size        BIGINT NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    attempts    BIGINT NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    accepted    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    holder      TEXT COLLATE "C" NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    body        TEXT COLLATE "C" NOT NULL, -- names the body; '' once it is dropped
    in_file     BOOLEAN NOT NULL -- always false here: bodies are chunks
);
CREATE INDEX messages_lane ON messages (state, account, not_before, id);
CREATE INDEX messages_body ON messages (body) WHERE body <> '';

-- A body up to 64 KiB is one chunk, committed with its message. A larger one comes
-- first, in chunks of 256 KiB, each its own commit; the message follows.
CREATE TABLE chunks (
    body   TEXT COLLATE "C" NOT NULL,
    part   BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    data   BYTEA NOT NULL,
    PRIMARY KEY (body, part)
);
