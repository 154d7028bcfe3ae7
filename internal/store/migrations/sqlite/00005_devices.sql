-- What a device may do, beside whose account it uses.

-- +goose Up
ALTER TABLE devices ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'; -- JSON
