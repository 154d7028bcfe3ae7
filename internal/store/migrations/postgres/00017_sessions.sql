-- Programs that read mailboxes through the bridge now. A row lives as long as its
-- session, or as the process that holds it.

-- +goose Up
CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    protocol   TEXT NOT NULL,
    device     TEXT NOT NULL,
    account    TEXT NOT NULL,
    mailbox    TEXT NOT NULL,
    remote     TEXT NOT NULL,
    since      BIGINT NOT NULL,
    seen       BIGINT NOT NULL,
    octets_in  BIGINT NOT NULL,
    octets_out BIGINT NOT NULL,
    end_wanted TEXT NOT NULL DEFAULT '' -- by whom
);
CREATE INDEX sessions_holder ON sessions (holder);
