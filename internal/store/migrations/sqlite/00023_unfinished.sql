-- The index entries_state finds a task's unfinished messages as fast, and SQLite never
-- took the other; each change of a message's state had to write both.

-- +goose Up
DROP INDEX entries_unfinished;
