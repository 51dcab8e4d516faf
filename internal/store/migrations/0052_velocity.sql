-- +goose Up
-- How many card numbers each caller may still be given. The level of a bucket
-- rises with time up to a bound; processes take what they give in small blocks.
CREATE TABLE velocity (
    client TEXT   NOT NULL PRIMARY KEY,
    level  BIGINT NOT NULL,                   -- thousandths of a card number, at that time
    at     BIGINT NOT NULL                    -- Unix milliseconds
);
