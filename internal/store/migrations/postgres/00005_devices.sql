-- What a device may do, beside whose account it uses.

-- +goose Up
ALTER TABLE devices ADD COLUMN policy TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON
