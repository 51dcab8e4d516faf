-- +goose Up
-- Wallets. A wallet's account bears its id. All times are Unix milliseconds, all
-- amounts fen.
CREATE TABLE wallets (
    id         TEXT    NOT NULL PRIMARY KEY,
    requestor  TEXT    NOT NULL,
    client     TEXT    NOT NULL,              -- who opened it
    state      TEXT    NOT NULL,
    holds      TEXT    NOT NULL,              -- why it is held back, separated by spaces
    real_name  INTEGER NOT NULL,
    card_bound INTEGER NOT NULL,
    allowance  BIGINT  NOT NULL,
    quota      BIGINT  NOT NULL,
    tier_limit BIGINT  NOT NULL,              -- what the last sync's device was allowed
    ceiling    BIGINT  NOT NULL,
    opened_at  BIGINT  NOT NULL,
    changed_at BIGINT  NOT NULL,
    revision   BIGINT  NOT NULL,
    CHECK (state IN ('ACTIVE', 'RESTRICTED', 'SUSPENDED', 'CLOSED')),
    CHECK (allowance >= 0),
    CHECK (quota >= 0)
);

-- Which tokens belong to a wallet. Tokens that are not here have none.
CREATE TABLE wallet_tokens (
    ref       TEXT   NOT NULL PRIMARY KEY,
    wallet    TEXT   NOT NULL REFERENCES wallets (id),
    device    TEXT   NOT NULL,
    not_after BIGINT NOT NULL,
    bound_at  BIGINT NOT NULL
);
CREATE INDEX wallet_tokens_wallet ON wallet_tokens (wallet);

-- Slots that were handed out to wallets. What the phone pays with them is in
-- taps; here is what was reserved, what the phone says, and what of all that is
-- in the ledger.
CREATE TABLE slots (
    token_ref    TEXT    NOT NULL,
    ctr          INTEGER NOT NULL,
    ud           BYTEA   NOT NULL,
    wallet       TEXT    NOT NULL REFERENCES wallets (id),
    bundle       TEXT    NOT NULL,
    held         BIGINT  NOT NULL,
    not_after    BIGINT  NOT NULL,
    issued_at    BIGINT  NOT NULL,
    state        TEXT    NOT NULL,
    unused_at    BIGINT  NOT NULL,            -- what the phone says; 0: nothing
    discarded_at BIGINT  NOT NULL,
    gap_at       BIGINT  NOT NULL,
    released     INTEGER NOT NULL,
    refunded     INTEGER NOT NULL,
    free         INTEGER NOT NULL,            -- from here on: what is posted
    charged      BIGINT  NOT NULL,
    charged_part BIGINT  NOT NULL,
    party        TEXT    NOT NULL,
    suspended    BIGINT  NOT NULL,
    fraud        BIGINT  NOT NULL,
    fraud_party  TEXT    NOT NULL,
    transfers    INTEGER NOT NULL,
    PRIMARY KEY (token_ref, ctr),             -- a counter is handed out once
    CHECK (state IN ('ISSUED', 'USED_PHONE', 'USED_TERM', 'SETTLED', 'FORKED', 'BURNED', 'DISCARDED', 'EXPIRED')),
    CHECK (held >= 0),
    CHECK (charged_part <= charged)
);
CREATE INDEX slots_wallet ON slots (wallet, free, not_after);
CREATE INDEX slots_bundle ON slots (bundle);
CREATE INDEX slots_due ON slots (released, refunded, not_after);

ALTER TABLE taps ADD COLUMN sources INTEGER NOT NULL DEFAULT 1;
ALTER TABLE taps ADD COLUMN fresh INTEGER NOT NULL DEFAULT 1;
ALTER TABLE taps ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
CREATE INDEX taps_terminal ON taps (moment, terminal);

-- Syncs, each answered once.
CREATE TABLE syncs (
    wallet      TEXT   NOT NULL,
    sync_id     TEXT   NOT NULL,
    digest      BYTEA  NOT NULL,
    token_ref   TEXT   NOT NULL,
    received_at BIGINT NOT NULL,
    answer      TEXT   NOT NULL,              -- '' until it is settled
    bundle      TEXT   NOT NULL,              -- '' for no new slots
    PRIMARY KEY (wallet, sync_id)
);

-- What happened to accounts from outside, each once.
CREATE TABLE account_events (
    wallet   TEXT   NOT NULL,
    event_id TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    amount   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (wallet, event_id)
);

-- Signs of fraud, each once, and the cases that follow.
CREATE TABLE signals (
    id        TEXT    NOT NULL PRIMARY KEY,
    kind      TEXT    NOT NULL,
    severity  INTEGER NOT NULL,
    wallet    TEXT    NOT NULL,
    token_ref TEXT    NOT NULL,
    ctr       INTEGER NOT NULL,
    terminal  BYTEA   NOT NULL,
    found_at  BIGINT  NOT NULL,
    handled   INTEGER NOT NULL                -- 1: what it leads to is done
);
CREATE INDEX signals_open ON signals (handled, found_at);
CREATE INDEX signals_wallet ON signals (wallet, found_at);
CREATE TABLE cases (
    id        TEXT    NOT NULL PRIMARY KEY,   -- of the signal that opened it
    kind      TEXT    NOT NULL,
    severity  INTEGER NOT NULL,
    wallet    TEXT    NOT NULL,               -- '' when it is against a terminal
    token_ref TEXT    NOT NULL,
    ctr       INTEGER NOT NULL,
    terminal  BYTEA   NOT NULL,
    opened_at BIGINT  NOT NULL
);
CREATE INDEX cases_opened ON cases (opened_at, id);
CREATE INDEX cases_wallet ON cases (wallet);
