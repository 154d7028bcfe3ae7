-- A message that failed owes its sender a report; a report owes nobody anything.

-- +goose Up
ALTER TABLE messages ADD COLUMN about TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the message this reports on
ALTER TABLE messages ADD COLUMN bounce TEXT COLLATE "C" NOT NULL DEFAULT ''; -- due, sent or none
CREATE INDEX messages_bounce ON messages (id) WHERE bounce = 'due';
