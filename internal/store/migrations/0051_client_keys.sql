-- +goose Up
-- The public key to which answers for a client are sealed. NULL: it has none.
ALTER TABLE clients ADD COLUMN enc_jwk BYTEA;
