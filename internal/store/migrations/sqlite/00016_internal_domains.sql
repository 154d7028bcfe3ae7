-- Domains that an account for High Volume Email reaches beside its mailbox's own.

-- +goose Up
ALTER TABLE accounts ADD COLUMN internal_domains TEXT NOT NULL DEFAULT 'null'; -- JSON
