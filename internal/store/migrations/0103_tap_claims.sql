-- +goose Up
-- Who else says that it gave service for a record, and whether whom its terminal is
-- registered for says so.
ALTER TABLE taps ADD COLUMN owned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE taps ADD COLUMN rival TEXT NOT NULL DEFAULT '';
