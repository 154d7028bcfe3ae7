-- POP3 names messages by words, IMAP by numbers.

-- +goose Up
ALTER TABLE entries ALTER COLUMN uid TYPE TEXT USING uid::text; -- IMAP: the UID in decimal; POP3: the UIDL
