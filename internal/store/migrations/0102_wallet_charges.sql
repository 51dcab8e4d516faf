-- +goose Up
-- Of the debts that a wallet ever had, how much its requestor was asked to charge
-- to the holder's card: none is asked for twice.
CREATE TABLE wallet_charges (
    wallet TEXT   NOT NULL PRIMARY KEY REFERENCES wallets (id),
    asked  BIGINT NOT NULL
);
