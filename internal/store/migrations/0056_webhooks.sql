-- +goose Up
-- How far the events of an endpoint's requestor were put into its queue.
CREATE TABLE webhook_marks (
    endpoint TEXT   NOT NULL PRIMARY KEY,     -- its name in the configuration
    position BIGINT NOT NULL
);

-- Events that an endpoint has not taken yet. Of each token, the first goes
-- before the others.
CREATE TABLE webhook_queue (
    endpoint TEXT    NOT NULL,
    position BIGINT  NOT NULL,                -- of the event
    event_id TEXT    NOT NULL,
    ref      TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    next_at  BIGINT  NOT NULL,                -- no sooner is it tried; Unix milliseconds
    PRIMARY KEY (endpoint, position)
);
CREATE INDEX webhook_queue_due ON webhook_queue (endpoint, next_at);
CREATE INDEX webhook_queue_ref ON webhook_queue (endpoint, ref, position);
