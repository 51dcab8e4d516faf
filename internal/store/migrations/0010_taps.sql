-- +goose Up
-- Evidence of taps: every record whose MAC2 was good, under the token that held
-- the number at the time of the tap. The number itself is not kept.
CREATE TABLE taps (
    id           TEXT    NOT NULL PRIMARY KEY, -- follows from token and digest
    token_ref    TEXT    NOT NULL,
    ctr          INTEGER NOT NULL,
    outcome      TEXT    NOT NULL,
    tac_good     INTEGER NOT NULL,
    moment       BIGINT  NOT NULL,             -- of the tap; all times are Unix milliseconds
    reporter     TEXT    NOT NULL,
    received_at  BIGINT  NOT NULL,
    changed_at   BIGINT  NOT NULL,             -- when outcome last changed
    terminal     BYTEA   NOT NULL,
    issuer       BYTEA   NOT NULL,
    ud           BYTEA   NOT NULL,
    card_random  BYTEA   NOT NULL,
    amount       BIGINT  NOT NULL,             -- fen
    txn_type     INTEGER NOT NULL,
    term_seq     BIGINT  NOT NULL,
    at           BYTEA   NOT NULL,             -- 7 bytes of BCD, as the terminal wrote it
    key_version  INTEGER NOT NULL,
    algorithm_id INTEGER NOT NULL,
    balance      BIGINT  NOT NULL,
    mac1         BYTEA   NOT NULL,
    mac2         BYTEA   NOT NULL,
    tac          BYTEA   NOT NULL,
    list_version BIGINT  NOT NULL,
    CHECK (ctr BETWEEN 0 AND 65535),
    CHECK (outcome IN ('POSTED', 'REPLAY', 'FORKED'))
);
CREATE INDEX taps_slot ON taps (token_ref, ctr);
-- A slot pays once, whoever writes.
CREATE UNIQUE INDEX taps_posted ON taps (token_ref, ctr) WHERE outcome = 'POSTED';

-- Records that were rejected under a known token, once each.
CREATE TABLE tap_refusals (
    id          TEXT    NOT NULL PRIMARY KEY,  -- follows from token, record and reason
    token_ref   TEXT    NOT NULL,
    ctr         INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    reporter    TEXT    NOT NULL,
    received_at BIGINT  NOT NULL,
    terminal    BYTEA   NOT NULL,
    term_seq    BIGINT  NOT NULL,
    at          BYTEA   NOT NULL,
    amount      BIGINT  NOT NULL
);
CREATE INDEX tap_refusals_token ON tap_refusals (token_ref, ctr);
