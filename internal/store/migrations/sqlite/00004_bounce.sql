-- A message that failed owes its sender a report; a report owes nobody anything.

-- +goose Up
ALTER TABLE messages ADD COLUMN about TEXT NOT NULL DEFAULT ''; -- the message this reports on
ALTER TABLE messages ADD COLUMN bounce TEXT NOT NULL DEFAULT ''; -- due, sent or none
CREATE INDEX messages_bounce ON messages (id) WHERE bounce = 'due';
