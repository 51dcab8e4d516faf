-- +goose Up
-- Orders to physical cards: loads, unloads, overdraft limits. A card is named by
-- a keyed hash of what stands in its file 0015; its serial number is not kept.
CREATE TABLE card_loads (
    id         TEXT    NOT NULL PRIMARY KEY,
    card       BYTEA   NOT NULL,
    purse      INTEGER NOT NULL,              -- 1 deposit, 2 purse: each has its own counter
    seq        INTEGER NOT NULL,              -- the card's online counter before the order
    kind       TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    requestor  TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    rand       BYTEA   NOT NULL,              -- of the last initialisation, as what follows
    balance    BIGINT  NOT NULL,              -- all amounts are fen
    amount     BIGINT  NOT NULL,
    old_limit  BIGINT  NOT NULL,
    new_limit  BIGINT  NOT NULL,
    txn_type   INTEGER NOT NULL,
    terminal   BYTEA   NOT NULL,
    at         BYTEA   NOT NULL,              -- 7 bytes of BCD, the host's
    probe      BYTEA   NOT NULL,
    misses     INTEGER NOT NULL,
    revision   BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,              -- Unix milliseconds
    changed_at BIGINT  NOT NULL,
    CHECK (kind IN ('LOAD', 'UNLOAD', 'OVERDRAFT')),
    CHECK (state IN ('STARTED', 'SETTLED', 'REVERSED', 'SUSPENSE', 'DISPUTED')),
    CHECK (purse IN (1, 2)),
    CHECK (seq BETWEEN 0 AND 65535),
    CHECK (amount >= 0)
);
CREATE INDEX card_loads_card ON card_loads (card, purse, seq);
-- A value of a card's counter serves one order, unless the card showed that it
-- will never obey it.
CREATE UNIQUE INDEX card_loads_standing ON card_loads (card, purse, seq) WHERE state NOT IN ('REVERSED', 'DISPUTED');
CREATE INDEX card_loads_account ON card_loads (account, created_at);
