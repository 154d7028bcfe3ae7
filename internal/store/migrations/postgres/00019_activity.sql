-- What happened each minute, on all nodes together, for the overview's charts.

-- +goose Up
CREATE TABLE activity (
    at   BIGINT NOT NULL, -- the minute's begin
    kind TEXT COLLATE "C" NOT NULL,
    n    BIGINT NOT NULL, -- how often; of a level: the highest
    PRIMARY KEY (at, kind)
);
