-- POP3 names messages by words, IMAP by numbers.

-- +goose Up
CREATE TABLE entries_by_word (
    task         TEXT NOT NULL REFERENCES tasks (name) ON UPDATE CASCADE ON DELETE CASCADE,
    folder       TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    uid          TEXT NOT NULL, -- IMAP: the UID in decimal; POP3: the UIDL
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
INSERT INTO entries_by_word
SELECT task, folder, uid_validity, CAST(uid AS TEXT), message_id, digest, state, files, attempts, reason, run, updated FROM entries;
DROP TABLE entries;
ALTER TABLE entries_by_word RENAME TO entries;
CREATE INDEX entries_unfinished ON entries (task) WHERE state IN ('staged', 'saved', 'failed');
CREATE INDEX entries_twin ON entries (task, folder, digest);
CREATE INDEX entries_updated ON entries (task, updated);
