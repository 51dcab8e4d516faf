-- +goose Up
-- How far terminals have uploaded, by their own word. It never goes back.
CREATE TABLE terminal_progress (
    terminal  BYTEA  NOT NULL PRIMARY KEY,    -- its number
    uploaded  BIGINT NOT NULL,                -- all taps before then are here; Unix milliseconds
    stated_at BIGINT NOT NULL
);
