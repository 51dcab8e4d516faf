-- +goose Up
-- Orders to cards of which nothing was heard for long, once each.
ALTER TABLE card_loads ADD COLUMN escalated INTEGER NOT NULL DEFAULT 0;
CREATE INDEX card_loads_open ON card_loads (state, escalated, created_at);
