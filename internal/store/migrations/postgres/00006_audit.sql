-- Who did what by hand. Entries are never changed.

-- +goose Up
CREATE TABLE audit (
    id      TEXT COLLATE "C" PRIMARY KEY, -- sorts by time
    at      BIGINT NOT NULL,
    who     TEXT COLLATE "C" NOT NULL,
    what    TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    detail  TEXT COLLATE "C" NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, id);
