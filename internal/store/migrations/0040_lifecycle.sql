-- +goose Up
-- What a token's whole life needs. Rows of before were approved by nobody and
-- need nobody's approval; nothing holds them back.
ALTER TABLE tokens ADD COLUMN assurance_method TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN assurance_data TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN form_factor TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN device TEXT NOT NULL DEFAULT '';      -- the requestor's name for it
ALTER TABLE tokens ADD COLUMN suspenders INTEGER NOT NULL DEFAULT 0; -- one bit for each who holds it back
ALTER TABLE tokens ADD COLUMN decision TEXT NOT NULL DEFAULT 'APPROVED';
ALTER TABLE tokens ADD COLUMN controls TEXT NOT NULL DEFAULT '';    -- JSON, '' for none
ALTER TABLE tokens ADD COLUMN renews TEXT NOT NULL DEFAULT '';      -- reference of the token it follows
ALTER TABLE tokens ADD COLUMN renewed_by TEXT NOT NULL DEFAULT '';  -- and of the one that follows it
ALTER TABLE tokens ADD COLUMN notice TEXT NOT NULL DEFAULT '';      -- how provisioning went, '' when nobody said
ALTER TABLE tokens ADD COLUMN notice_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN noticed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;   -- grows with every change
-- What there may be one living token of; NULL for tokens that may have twins. A
-- dead token keeps it until somebody asks for a new one.
ALTER TABLE tokens ADD COLUMN living TEXT;
-- Tokens that were suspended before: see 0100.
CREATE UNIQUE INDEX tokens_living ON tokens (living);
CREATE INDEX tokens_listed ON tokens (requestor, created_at, ref);
CREATE INDEX tokens_due ON tokens (state, not_after);
CREATE INDEX cards_last4 ON cards (last4);
