-- +goose Up
-- 1: the client's access tokens are bound to its TLS certificate, always.
ALTER TABLE clients ADD COLUMN bound INTEGER NOT NULL DEFAULT 0;
