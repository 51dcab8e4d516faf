-- +goose Up
-- Devices and PINs of wallets. Neither a PIN nor a private key is in here: a
-- PIN is kept as what the HSM sealed and as what it knows it by.
CREATE TABLE devices (
    id          TEXT    NOT NULL PRIMARY KEY,
    wallet      TEXT    NOT NULL,
    client      TEXT    NOT NULL,
    wrap_key    BYTEA   NOT NULL,             -- P-256 points, compressed
    sign_key    BYTEA   NOT NULL,
    leaf        TEXT    NOT NULL,             -- SHA-256 of the attestation's leaf
    attestation TEXT    NOT NULL,             -- JSON
    tier        TEXT    NOT NULL,
    reasons     TEXT    NOT NULL,
    judged      INTEGER NOT NULL,
    enrolled_at BIGINT  NOT NULL,             -- all times are Unix milliseconds
    CHECK (tier IN ('SE', 'A', 'B', 'C'))
);

CREATE INDEX devices_leaf ON devices (leaf, wallet);

CREATE TABLE pins (
    wallet       TEXT    NOT NULL PRIMARY KEY,
    epoch        BIGINT  NOT NULL,
    secret       BYTEA   NOT NULL,
    verifier     BYTEA   NOT NULL,
    tries        INTEGER NOT NULL,            -- wrong ones online since last_success
    last_success BIGINT  NOT NULL,
    revoking     INTEGER NOT NULL,            -- 1: tokens of the epoch before are still to be deleted
    resettable   INTEGER NOT NULL,
    changed_at   BIGINT  NOT NULL,
    CHECK (tries >= 0),
    CHECK (epoch > 0)
);

-- Bundles that a PIN guards name their device, and bring a hardware key.
ALTER TABLE bundles ADD COLUMN device    TEXT   NOT NULL DEFAULT '';
ALTER TABLE bundles ADD COLUMN pin_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bundles ADD COLUMN hw_key    TEXT   NOT NULL DEFAULT '';
ALTER TABLE bundles ADD COLUMN scripts   BIGINT NOT NULL DEFAULT 0; -- how many were made for it
