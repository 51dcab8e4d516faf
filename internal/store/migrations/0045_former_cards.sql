-- +goose Up
-- Numbers that a card bore before it was replaced. They still lead to the card
-- and its payment account reference; no token is made for them any more.
CREATE TABLE former_cards (
    id            TEXT    NOT NULL PRIMARY KEY,
    card_id       TEXT    NOT NULL REFERENCES cards (id),
    pan_index     BYTEA   NOT NULL UNIQUE,
    index_version INTEGER NOT NULL,
    sealed        BYTEA   NOT NULL,
    seal_version  INTEGER NOT NULL,
    replaced_at   BIGINT  NOT NULL
);
CREATE INDEX former_cards_card ON former_cards (card_id);
CREATE INDEX former_cards_seal ON former_cards (seal_version, id);
CREATE INDEX former_cards_index ON former_cards (index_version, id);

-- What is still sealed or indexed under an old key is found without reading
-- the rest.
CREATE INDEX cards_seal ON cards (seal_version, id);
CREATE INDEX cards_index ON cards (index_version, id);
