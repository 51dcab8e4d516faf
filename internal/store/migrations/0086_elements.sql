-- +goose Up
-- Secure elements, the scripts that were made for them, and the receipt that is
-- being settled. What scripts hold in secret is enciphered to the element.
CREATE TABLE elements (
    id          TEXT    NOT NULL PRIMARY KEY,
    serial      BYTEA   NOT NULL UNIQUE,
    wallet      TEXT    NOT NULL,
    client      TEXT    NOT NULL,
    modulus     BYTEA   NOT NULL,             -- of its RSA key; the exponent is 65537
    leaf        TEXT    NOT NULL,             -- SHA-256 of the attestation's leaf
    key_version INTEGER NOT NULL,             -- of the slot masters it is served from
    token_ref   TEXT    NOT NULL,             -- that it was issued last; empty: none
    seq         BIGINT  NOT NULL,             -- of the last script made
    acked       BIGINT  NOT NULL,             -- of the last script that it said it obeyed
    receipt_no  BIGINT  NOT NULL,             -- of the newest receipt taken
    receipt     BYTEA   NOT NULL,             -- while it is being settled; else empty
    state       TEXT    NOT NULL,
    tries       INTEGER NOT NULL,             -- its word on its PIN
    balance     BIGINT  NOT NULL,             -- its word on its slots, fen
    enrolled_at BIGINT  NOT NULL,             -- all times are Unix milliseconds
    CHECK (state IN ('NEW', 'ISSUED', 'ERASED')),
    CHECK (acked >= 0 AND acked <= seq)
);

CREATE TABLE element_scripts (
    element TEXT    NOT NULL,
    seq     BIGINT  NOT NULL,
    cause   TEXT    NOT NULL,                 -- what it was made for: one script for each
    verb    INTEGER NOT NULL,
    script  BYTEA   NOT NULL,
    made_at BIGINT  NOT NULL,
    PRIMARY KEY (element, seq),
    UNIQUE (element, cause)
);
