-- +goose Up
-- Records of phones' taps whose MAC did not hold, by caller: what is uploaded
-- again is not counted again.
CREATE TABLE tap_misses (
    client TEXT   NOT NULL,
    id     BYTEA  NOT NULL,                   -- a hash over all that the MAC depends on
    day    BIGINT NOT NULL,                   -- days since 1970, on which it was counted
    PRIMARY KEY (client, id)
);
