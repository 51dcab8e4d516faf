-- +goose Up
-- An endpoint that takes nothing rests: how often in a row it took nothing, and
-- until when it is sent nothing (Unix milliseconds; 0: it does not rest).
ALTER TABLE webhook_marks ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook_marks ADD COLUMN rest_until BIGINT NOT NULL DEFAULT 0;
