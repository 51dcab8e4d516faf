-- +goose Up
-- Token ranges. A range's key permutes serials into token numbers; it is kept
-- sealed under the HSM's range-kek.
CREATE TABLE token_ranges (
    id          TEXT    NOT NULL PRIMARY KEY, -- the range's name in the configuration
    prefix      TEXT    NOT NULL,
    length      INTEGER NOT NULL,             -- digits of a number, prefix and check digit included
    luhn        INTEGER NOT NULL,             -- 1: numbers end in a Luhn digit
    sealed_key  BYTEA   NOT NULL,
    kek_version INTEGER NOT NULL,
    next_serial BIGINT  NOT NULL,             -- serials from here on were never leased
    created_at  BIGINT  NOT NULL,             -- all times are Unix milliseconds
    CHECK (next_serial >= 0)
);

-- Blocks of serials that one running process may use. The epoch grows whenever
-- a block changes hands: whoever holds an older one is fenced off.
CREATE TABLE range_leases (
    range_id     TEXT   NOT NULL REFERENCES token_ranges (id),
    first_serial BIGINT NOT NULL,
    end_serial   BIGINT NOT NULL,             -- one past the last
    holder       TEXT   NOT NULL,             -- '' when handed back
    epoch        BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,             -- then anyone may take it over
    PRIMARY KEY (range_id, first_serial),
    CHECK (first_serial < end_serial)
);

-- Cards. The number and the expiry date are sealed by the HSM; pan_index finds
-- a card by its number.
CREATE TABLE cards (
    id            TEXT    NOT NULL PRIMARY KEY,
    pan_index     BYTEA   NOT NULL UNIQUE,
    index_version INTEGER NOT NULL,
    expiry_tag    BYTEA   NOT NULL,           -- tells whether the sealed expiry is still the card's
    sealed        BYTEA   NOT NULL,
    seal_version  INTEGER NOT NULL,
    par           TEXT    NOT NULL UNIQUE,
    last4         TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    CHECK (length(par) = 29),
    CHECK (length(last4) = 4)
);

-- Numbers that were ever given out, as serials of their range. The counters
-- used under a number go on when it comes back.
CREATE TABLE numbers (
    range_id   TEXT    NOT NULL REFERENCES token_ranges (id),
    serial     BIGINT  NOT NULL,
    holder     TEXT    NOT NULL,              -- reference of the last token that bears it
    next_ctr   INTEGER NOT NULL,
    free_after BIGINT  NOT NULL,              -- end of quarantine: no sooner does it come back
    PRIMARY KEY (range_id, serial),
    CHECK (serial >= 0),
    CHECK (next_ctr BETWEEN 1 AND 65535)
);
CREATE INDEX numbers_free ON numbers (range_id, free_after);

CREATE TABLE tokens (
    ref        TEXT    NOT NULL PRIMARY KEY,
    card_id    TEXT    NOT NULL REFERENCES cards (id),
    range_id   TEXT    NOT NULL,
    serial     BIGINT  NOT NULL,
    requestor  TEXT    NOT NULL,
    psn        TEXT    NOT NULL,              -- card sequence number, '' when the request gave none
    expiry     TEXT    NOT NULL,              -- token expiry date, YYMM
    location   TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    not_before BIGINT  NOT NULL,
    not_after  BIGINT  NOT NULL,
    ctr_first  INTEGER NOT NULL,
    ctr_next   INTEGER NOT NULL,
    created_at BIGINT  NOT NULL,
    changed_at BIGINT  NOT NULL,
    FOREIGN KEY (range_id, serial) REFERENCES numbers (range_id, serial),
    CHECK (not_before < not_after),
    CHECK (ctr_first <= ctr_next),
    CHECK (state IN ('REQUESTED', 'DELIVERED', 'ACTIVE', 'SUSPENDED', 'EXPIRED', 'DELETED'))
);
CREATE INDEX tokens_number ON tokens (range_id, serial);
CREATE INDEX tokens_card ON tokens (card_id);
