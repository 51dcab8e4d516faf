-- +goose Up
-- A device is looked for by its keys too: one that was copied serves no more wallets
-- than a copied attestation.
CREATE INDEX devices_wrap ON devices (wrap_key);
CREATE INDEX devices_sign ON devices (sign_key);

-- What a phone surely said of a slot, whatever its clock showed: as unused_at.
ALTER TABLE slots ADD COLUMN surely_at BIGINT NOT NULL DEFAULT 0;
