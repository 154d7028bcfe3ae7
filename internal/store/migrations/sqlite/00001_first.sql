-- Times are unix milliseconds, 0 when there is none; durations are nanoseconds.
-- Secrets are sealed before they come here.

-- +goose Up
CREATE TABLE apps (
    name           TEXT PRIMARY KEY,
    tenant         TEXT NOT NULL,
    client_id      TEXT NOT NULL,
    cloud          TEXT NOT NULL, -- JSON
    secret         BLOB NOT NULL,
    secret_expires BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE accounts (
    name     TEXT PRIMARY KEY,
    app      TEXT NOT NULL REFERENCES apps (name) ON UPDATE CASCADE,
    mailbox  TEXT NOT NULL, -- JSON
    method   TEXT NOT NULL,
    purposes TEXT NOT NULL, -- JSON
    shared   BOOLEAN NOT NULL,
    state    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    since    BIGINT NOT NULL,
    probe_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_app ON accounts (app);

CREATE TABLE grants (
    account      TEXT PRIMARY KEY REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    refresh      BLOB NOT NULL DEFAULT x'',
    access       TEXT NOT NULL DEFAULT '[]', -- JSON
    signed_in_as TEXT NOT NULL DEFAULT '',
    object_id    TEXT NOT NULL DEFAULT '',
    tenant_id    TEXT NOT NULL DEFAULT '',
    scopes       TEXT NOT NULL DEFAULT '[]', -- JSON
    signed_in_at BIGINT NOT NULL DEFAULT 0,
    rotated_at   BIGINT NOT NULL DEFAULT 0,
    generation   BIGINT NOT NULL DEFAULT 0, -- 0: claimed, but never committed
    claim_holder TEXT NOT NULL DEFAULT '',
    claim_until  BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE sign_ins (
    state_hash TEXT PRIMARY KEY,
    account    TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    browser    TEXT NOT NULL,
    verifier   BLOB NOT NULL,
    nonce      TEXT NOT NULL,
    redirect   TEXT NOT NULL,
    expires    BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_ins_account ON sign_ins (account);

CREATE TABLE links (
    token_hash TEXT PRIMARY KEY,
    account    TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE ON DELETE CASCADE,
    expires    BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX links_account ON links (account);

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE devices (
    name          TEXT PRIMARY KEY,
    account       TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE,
    password_hash TEXT NOT NULL,
    senders       TEXT NOT NULL, -- JSON
    disabled      BOOLEAN NOT NULL,
    created       BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX devices_account ON devices (account);

CREATE TABLE tasks (
    name        TEXT PRIMARY KEY,
    account     TEXT NOT NULL REFERENCES accounts (name) ON UPDATE CASCADE,
    folder      TEXT NOT NULL,
    directory   TEXT NOT NULL,
    every       BIGINT NOT NULL,
    start_with  TEXT NOT NULL,
    unread      BOOLEAN NOT NULL,
    inline      BOOLEAN NOT NULL,
    afterwards  TEXT NOT NULL,
    move_to     TEXT NOT NULL,
    disabled    BOOLEAN NOT NULL,
    created     BIGINT NOT NULL,
    lock_holder TEXT NOT NULL DEFAULT '',
    lock_until  BIGINT NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX tasks_account ON tasks (account);

CREATE TABLE entries (
    task         TEXT NOT NULL REFERENCES tasks (name) ON UPDATE CASCADE ON DELETE CASCADE,
    folder       TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    uid          BIGINT NOT NULL,
    message_id   TEXT NOT NULL,
    digest       TEXT NOT NULL,
    state        TEXT NOT NULL,
    files        TEXT NOT NULL, -- JSON
    attempts     BIGINT NOT NULL,
    reason       TEXT NOT NULL,
    run          TEXT NOT NULL,
    updated      BIGINT NOT NULL,
    PRIMARY KEY (task, folder, uid_validity, uid)
);
CREATE INDEX entries_unfinished ON entries (task) WHERE state IN ('staged', 'saved', 'failed');
CREATE INDEX entries_twin ON entries (task, folder, digest);
CREATE INDEX entries_updated ON entries (task, updated);

CREATE TABLE runs (
    id      TEXT PRIMARY KEY,
    task    TEXT NOT NULL REFERENCES tasks (name) ON UPDATE CASCADE ON DELETE CASCADE,
    started BIGINT NOT NULL,
    ended   BIGINT NOT NULL,
    looked  BIGINT NOT NULL,
    saved   BIGINT NOT NULL,
    files   BIGINT NOT NULL,
    failed  BIGINT NOT NULL,
    error   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_started ON runs (task, started);

-- A message's account and device are words, not references: its history
-- outlives both.
CREATE TABLE messages (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL,
    device      TEXT NOT NULL,
    sender      TEXT NOT NULL, -- JSON
    recipients  TEXT NOT NULL, -- JSON
    eight_bit   BOOLEAN NOT NULL,
    utf8        BOOLEAN NOT NULL,
    message_id  TEXT NOT NULL,
    subject     TEXT NOT NULL,
    size        BIGINT NOT NULL,
    state       TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    reason      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    accepted    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    holder      TEXT NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    body        TEXT NOT NULL, -- names the body; '' once it is dropped
    in_file     BOOLEAN NOT NULL -- bodies/{body} rather than chunks
) WITHOUT ROWID;
CREATE INDEX messages_lane ON messages (state, account, not_before, id);
CREATE INDEX messages_file ON messages (body) WHERE in_file;

-- A body up to 64 KiB is one chunk, committed with its message. It stands beside
-- the row, not in it, so that a lease does not write the body again.
CREATE TABLE chunks (
    body   TEXT NOT NULL,
    part   BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    data   BLOB NOT NULL,
    PRIMARY KEY (body, part)
);
