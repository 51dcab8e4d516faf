-- +goose Up
-- A device is looked for by its keys too: one that was copied serves no more wallets
-- than a copied attestation.
CREATE INDEX devices_wrap ON devices (wrap_key);
CREATE INDEX devices_sign ON devices (sign_key);
