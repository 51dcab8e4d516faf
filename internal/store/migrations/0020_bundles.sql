-- +goose Up
-- Bundles of slot keys, sealed to a device. The sealed bytes are kept so that
-- asking again gives the same ones; nothing here opens them. The token is named
-- by reference only: the vault's tables belong to the vault.
CREATE TABLE bundles (
    id         TEXT    NOT NULL PRIMARY KEY,
    token_ref  TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    jwe        TEXT    NOT NULL,
    slots      INTEGER NOT NULL,
    ctr_first  INTEGER NOT NULL,
    not_after  BIGINT  NOT NULL,              -- all times are Unix milliseconds
    created_at BIGINT  NOT NULL,
    acked_at   BIGINT  NOT NULL,              -- 0: the device has not answered
    UNIQUE (token_ref, ctr_first),            -- no counter is in two bundles
    CHECK (slots > 0),
    CHECK (ctr_first BETWEEN 0 AND 65535)
);
