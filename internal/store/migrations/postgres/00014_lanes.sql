-- Which process has the upstream connections of an account whose server limits their
-- number. Nobody else delivers for it before then.

-- +goose Up
CREATE TABLE held_lanes (
    account TEXT COLLATE "C" PRIMARY KEY,
    holder  TEXT COLLATE "C" NOT NULL,
    until   BIGINT NOT NULL
);

-- One account's or device's page of a long queue.
CREATE INDEX messages_account ON messages (account, id);
CREATE INDEX messages_device ON messages (device, id);

-- The bodies that are stored before their message is, and may be orphans.
CREATE INDEX chunks_large ON chunks (stored) WHERE part > 0 OR octet_length(data) > 65536;
