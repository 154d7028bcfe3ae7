-- POP3 names messages by words, IMAP by numbers.

-- +goose Up
ALTER TABLE entries ALTER COLUMN uid TYPE TEXT COLLATE "C" USING uid::text; -- IMAP: the UID in decimal; POP3: the UIDL
