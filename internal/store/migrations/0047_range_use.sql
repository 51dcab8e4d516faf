-- +goose Up
-- How fast a range is used up is read off its tokens of the last days.
CREATE INDEX tokens_issued ON tokens (range_id, created_at);
