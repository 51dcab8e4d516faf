-- +goose Up
-- MACs and TACs of physical cards that did not hold, by caller, card and day.
CREATE TABLE mac_misses (
    client TEXT    NOT NULL,
    day    BIGINT  NOT NULL,                  -- days since 1970
    name   BYTEA   NOT NULL,                  -- of the card, by an HMAC in the HSM
    misses INTEGER NOT NULL,
    PRIMARY KEY (client, day, name)
);
