-- +goose Up
-- Token cryptograms that were made, each for one use.
CREATE TABLE emv_token_uses (
    name       BYTEA   NOT NULL,              -- as of emv_counters
    atc        INTEGER NOT NULL,
    expires_at BIGINT  NOT NULL,              -- Unix milliseconds
    used_at    BIGINT  NOT NULL,              -- 0: not yet
    PRIMARY KEY (name, atc)
);
-- Tries of PINs that mask single-use keys, since the last right one.
CREATE TABLE emv_pin_tries (
    name       BYTEA   NOT NULL PRIMARY KEY,
    tries      INTEGER NOT NULL,
    changed_at BIGINT  NOT NULL
);
