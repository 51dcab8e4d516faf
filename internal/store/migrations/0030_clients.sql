-- +goose Up
-- Registered callers of the API. The key is public.
CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,              -- separated by spaces
    requestor  TEXT    NOT NULL,              -- token requestor id, '' for none
    terminal   TEXT    NOT NULL,              -- terminal group, '' for all
    jwk        BYTEA   NOT NULL,
    disabled   INTEGER NOT NULL,              -- 1: not believed
    created_at BIGINT  NOT NULL               -- Unix milliseconds
);

-- Assertions that were used, until they would have expired anyway.
CREATE TABLE assertions (
    client      TEXT   NOT NULL,
    jti         TEXT   NOT NULL,
    valid_until BIGINT NOT NULL,              -- Unix milliseconds
    PRIMARY KEY (client, jti)
);
CREATE INDEX assertions_valid_until ON assertions (valid_until);
