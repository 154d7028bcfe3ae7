-- +goose Up
CREATE TABLE setting (
  key TEXT PRIMARY KEY,
  value BYTEA NOT NULL
);
CREATE TABLE app (
  name TEXT PRIMARY KEY,
  doc TEXT NOT NULL
);
CREATE TABLE account (
  name TEXT PRIMARY KEY,
  app TEXT NOT NULL REFERENCES app (name) ON UPDATE CASCADE,
  doc TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  since BIGINT NOT NULL,
  probe_at BIGINT NOT NULL
);
-- One row per account that ever had a grant or a claim on one; generation 0: no grant yet.
CREATE TABLE account_grant (
  account TEXT PRIMARY KEY REFERENCES account (name) ON UPDATE CASCADE ON DELETE CASCADE,
  doc TEXT NOT NULL,
  generation BIGINT NOT NULL,
  holder TEXT NOT NULL,
  claimed_until BIGINT NOT NULL
);
CREATE TABLE sign_in (
  state_hash TEXT PRIMARY KEY,
  doc TEXT NOT NULL,
  expires BIGINT NOT NULL
);
CREATE TABLE link (
  token_hash TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  expires BIGINT NOT NULL
);
CREATE TABLE device (
  name TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account (name) ON UPDATE CASCADE,
  doc TEXT NOT NULL,
  created BIGINT NOT NULL
);
-- No reference to account: mail outlives it, visibly.
CREATE TABLE message (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  device TEXT NOT NULL,
  state TEXT NOT NULL,
  not_before BIGINT NOT NULL,
  holder TEXT NOT NULL,
  lease_until BIGINT NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX message_due ON message (account, state, not_before, id);
CREATE INDEX message_state ON message (state, id);
CREATE INDEX message_leased ON message (holder) WHERE holder <> '';
-- Small bodies, beside their message so that a listing does not read them.
CREATE TABLE message_body (
  id TEXT PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
  data BYTEA NOT NULL
);
-- Large bodies, in pieces that are never held together in memory.
CREATE TABLE message_chunk (
  id TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
  seq BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (id, seq)
);
CREATE TABLE task (
  name TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account (name) ON UPDATE CASCADE,
  doc TEXT NOT NULL,
  created BIGINT NOT NULL,
  holder TEXT NOT NULL,
  locked_until BIGINT NOT NULL
);
-- No reference to task: a task made again under its name must not fetch twice.
CREATE TABLE entry (
  task TEXT NOT NULL,
  folder TEXT NOT NULL,
  uid_validity BIGINT NOT NULL,
  uid BIGINT NOT NULL,
  state TEXT NOT NULL,
  message_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  updated BIGINT NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (task, folder, uid_validity, uid)
);
CREATE INDEX entry_unfinished ON entry (task) WHERE state IN ('staged', 'saved', 'failed');
CREATE INDEX entry_twin ON entry (task, folder, digest) WHERE digest <> '';
CREATE INDEX entry_recent ON entry (task, updated);
CREATE TABLE run (
  id TEXT PRIMARY KEY,
  task TEXT NOT NULL,
  started BIGINT NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX run_recent ON run (task, started);
