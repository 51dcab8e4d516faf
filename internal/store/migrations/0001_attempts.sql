-- +goose Up
-- One row per write that asked to happen once: kept in the same transaction as
-- its effect.
CREATE TABLE attempts (
    caller      TEXT   NOT NULL,
    attempt_key TEXT   NOT NULL,
    operation   TEXT   NOT NULL,
    digest      BYTEA  NOT NULL,
    result      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL, -- Unix milliseconds
    PRIMARY KEY (caller, attempt_key)
);
CREATE INDEX attempts_created ON attempts (created_at);
