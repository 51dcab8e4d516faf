-- +goose Up
-- Each time that the database was put back to an earlier day, so that what happened
-- since is not in it.
CREATE TABLE restores (
    at   BIGINT NOT NULL PRIMARY KEY,         -- Unix milliseconds
    lost BIGINT NOT NULL                      -- how many tokens were issued since, at most
);

-- 1: values above high may have been taken by what was lost.
ALTER TABLE emv_counters ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;

-- Counters from lost_from to lost_end - 1 may have been handed out by what was lost.
ALTER TABLE wallet_tokens ADD COLUMN lost_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE wallet_tokens ADD COLUMN lost_end INTEGER NOT NULL DEFAULT 0;
