-- +goose Up
-- Who may go on with this schema: programs that know this version or a later
-- one. A migration that takes something away raises it; one that only adds
-- leaves it. The row is the only one.
CREATE TABLE schema_floor (
    id      INTEGER NOT NULL PRIMARY KEY,
    version BIGINT  NOT NULL
);
INSERT INTO schema_floor (id, version) VALUES (1, 100);

-- Tokens that were suspended before 0040 wrote down by whom: by RISK. It stands
-- here because CockroachDB writes no column in the transaction that adds it.
UPDATE tokens SET suspenders = 16 WHERE state = 'SUSPENDED' AND suspenders = 0;
