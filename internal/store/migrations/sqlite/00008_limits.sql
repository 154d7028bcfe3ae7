-- Limits of an account's mailbox that differ from Microsoft's.

-- +goose Up
ALTER TABLE accounts ADD COLUMN limits TEXT NOT NULL DEFAULT 'null'; -- JSON
