-- +goose Up
-- Versions of keys that nothing may be written under any more. A version is
-- listed here before it is counted and destroyed, so that no process that was
-- not told in time writes a row that nobody could open again.
CREATE TABLE retired_keys (
    key_usage  TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    retired_at BIGINT  NOT NULL,
    PRIMARY KEY (key_usage, version)
);
