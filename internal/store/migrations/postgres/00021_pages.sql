-- The ledger is listed by state within a task (entries_state), and by time over all
-- tasks.

-- +goose Up
DROP INDEX entries_updated;
CREATE INDEX entries_time ON entries (updated);
