-- What a task does is one JSON document; fetch.Spec is its description.

-- +goose Up
ALTER TABLE tasks ADD COLUMN spec TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON
UPDATE tasks SET spec = json_build_object(
    'source', json_build_object('folders', json_build_array(folder), 'which', CASE WHEN unread THEN 'unread' ELSE 'all' END, 'start', start_with),
    'rules', json_build_array(json_build_object('take', json_build_object('inline', inline))),
    'handover', json_build_object('directory', directory),
    'after', CASE WHEN afterwards = 'move' THEN 'move ' || move_to ELSE afterwards END,
    'schedule', json_build_object('every', (every / 1000000) || 'ms'))::text;
ALTER TABLE tasks DROP COLUMN folder;
ALTER TABLE tasks DROP COLUMN directory;
ALTER TABLE tasks DROP COLUMN every;
ALTER TABLE tasks DROP COLUMN start_with;
ALTER TABLE tasks DROP COLUMN unread;
ALTER TABLE tasks DROP COLUMN inline;
ALTER TABLE tasks DROP COLUMN afterwards;
ALTER TABLE tasks DROP COLUMN move_to;

-- A run that somebody wants to end, told to whatever node it is on.
ALTER TABLE tasks ADD COLUMN stop_wanted TEXT COLLATE "C" NOT NULL DEFAULT ''; -- who

ALTER TABLE runs ADD COLUMN details TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON: more counts
CREATE TABLE run_lines (
    run  TEXT COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    line BIGINT NOT NULL,
    at   BIGINT NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, line)
);

ALTER TABLE entries ADD COLUMN details TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON: what people look for
DROP INDEX entries_unfinished;
CREATE INDEX entries_unfinished ON entries (task) WHERE state IN ('staged', 'saved', 'handed_over', 'action_failed', 'failed');
CREATE INDEX entries_state ON entries (task, state, updated);
