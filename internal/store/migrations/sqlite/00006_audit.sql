-- Who did what by hand. Entries are never changed.

-- +goose Up
CREATE TABLE audit (
    id      TEXT PRIMARY KEY, -- sorts by time
    at      BIGINT NOT NULL,
    who     TEXT NOT NULL,
    what    TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, id);
