-- What senders want to hear of a message (RFC 3461), who carried it, and what was
-- handed in a moment ago.

-- +goose Up
ALTER TABLE messages ADD COLUMN ret TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN envelope_id TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN tell_by BIGINT NOT NULL DEFAULT 0; -- when its sender is to hear that it is late
ALTER TABLE messages ADD COLUMN transport TEXT NOT NULL DEFAULT ''; -- of the last try
ALTER TABLE messages ADD COLUMN hint TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_tell ON messages (tell_by) WHERE tell_by > 0;

-- A message by what was handed in, put here in the message's own commit. No index on
-- expires: it would cost every message more than forgetting costs now and then.
CREATE TABLE twins (
    sum     BLOB PRIMARY KEY,
    message TEXT NOT NULL,
    expires BIGINT NOT NULL
) WITHOUT ROWID;
