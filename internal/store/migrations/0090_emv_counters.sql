-- +goose Up
-- Transaction counters of EMV cards and tokens. A row is named by a keyed hash of
-- the digits that the card's key is made from; no number is kept.
CREATE TABLE emv_counters (
    name       BYTEA   NOT NULL PRIMARY KEY,
    high       INTEGER NOT NULL,              -- the highest value taken
    seen       BIGINT  NOT NULL,              -- bit n: high - n was taken
    revision   BIGINT  NOT NULL,
    changed_at BIGINT  NOT NULL,              -- Unix milliseconds
    CHECK (high BETWEEN 0 AND 65535)
);
-- Cryptograms of one card that were refused to one caller, by the day (UTC).
CREATE TABLE emv_misses (
    client TEXT    NOT NULL,
    name   BYTEA   NOT NULL,
    day    INTEGER NOT NULL,                  -- since 1970-01-01
    misses INTEGER NOT NULL,
    PRIMARY KEY (client, name, day)
);
