-- +goose Up
-- Accounts of wallets. Every change of a balance is in ledger_entries too: the
-- row is there so that a balance is read at once and never falls below nothing.
CREATE TABLE wallet_balances (
    wallet    TEXT   NOT NULL PRIMARY KEY,
    available BIGINT NOT NULL,                -- all amounts are fen
    reserve   BIGINT NOT NULL,
    due       BIGINT NOT NULL,                -- owed by the holder
    card_load BIGINT NOT NULL,
    CHECK (available >= 0),
    CHECK (reserve >= 0),
    CHECK (due >= 0),
    CHECK (card_load >= 0)
);

-- Transfers: written once, never changed. Shared accounts have no row of their
-- own, which all would have to wait for; their balances are sums over these.
CREATE TABLE ledger_entries (
    id           TEXT    NOT NULL PRIMARY KEY, -- follows from purpose, about, ctr and n
    purpose      TEXT    NOT NULL,
    about        TEXT    NOT NULL,             -- token reference, or id of an event
    ctr          INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    wallet       TEXT    NOT NULL REFERENCES wallet_balances (wallet),
    from_account TEXT    NOT NULL,
    to_account   TEXT    NOT NULL,
    amount       BIGINT  NOT NULL,
    party        TEXT    NOT NULL,             -- to whom OPERATOR_PAYABLE is owed
    posted_at    BIGINT  NOT NULL,             -- Unix milliseconds
    UNIQUE (purpose, about, ctr, n),
    CHECK (amount > 0),
    CHECK (from_account <> to_account),
    CHECK (from_account IN ('AVAILABLE', 'OFFLINE_RESERVE', 'OVERDRAFT_DUE', 'CARD_LOAD', 'OPERATOR_PAYABLE', 'FRAUD_LOSS', 'SUSPENSE', 'EXTERNAL_CASH')),
    CHECK (to_account IN ('AVAILABLE', 'OFFLINE_RESERVE', 'OVERDRAFT_DUE', 'CARD_LOAD', 'OPERATOR_PAYABLE', 'FRAUD_LOSS', 'SUSPENSE', 'EXTERNAL_CASH'))
);
CREATE INDEX ledger_entries_wallet ON ledger_entries (wallet, posted_at);
CREATE INDEX ledger_entries_posted ON ledger_entries (posted_at);
