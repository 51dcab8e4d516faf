-- +goose Up
-- What operators decided of orders that no card explains, one decision for each
-- state that an order waited in. Rows are written once.
CREATE TABLE card_load_decisions (
    load_id    TEXT   NOT NULL REFERENCES card_loads (id),
    state      TEXT   NOT NULL,              -- in which the order waited
    verdict    TEXT   NOT NULL,              -- SETTLE or REVERSE
    reason     TEXT   NOT NULL,
    evidence   TEXT   NOT NULL,              -- a reference: where it is kept
    client     TEXT   NOT NULL,              -- who decided
    decided_at BIGINT NOT NULL,              -- Unix milliseconds
    PRIMARY KEY (load_id, state)
);
-- A dispute that was decided waits for nobody.
ALTER TABLE card_loads ADD COLUMN decided INTEGER NOT NULL DEFAULT 0;
