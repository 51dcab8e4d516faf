-- +goose Up
-- What happened to tokens, put here by the transaction in which it happened.
-- seq counts the events of a token; position orders all of them, and is given
-- after the commit, in the order in which events became visible: a reader that
-- stands at a position has missed nothing before it.
CREATE TABLE events (
    id        TEXT   NOT NULL PRIMARY KEY,
    ref       TEXT   NOT NULL,
    seq       BIGINT NOT NULL,
    type      TEXT   NOT NULL,
    requestor TEXT   NOT NULL,
    at        BIGINT NOT NULL,            -- all times are Unix milliseconds
    data      TEXT   NOT NULL,            -- a JSON object of strings, '' when there is none
    position  BIGINT NOT NULL,            -- 0: not given yet
    UNIQUE (ref, seq)
);
CREATE INDEX events_position ON events (position);
CREATE INDEX events_requestor ON events (requestor, position);

-- The last position given. Whoever gives positions holds this row.
CREATE TABLE event_head (
    id       INTEGER NOT NULL PRIMARY KEY,
    position BIGINT  NOT NULL
);
INSERT INTO event_head (id, position) VALUES (1, 0);
