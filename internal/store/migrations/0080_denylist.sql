-- +goose Up
-- The longest window that keys were made for, when a token's window became
-- shorter afterwards; 0: it never did. A device may hold keys until then.
ALTER TABLE tokens ADD COLUMN kept_until BIGINT NOT NULL DEFAULT 0;
-- Tokens that may not pay are few, and are looked for every second.
CREATE INDEX tokens_denied ON tokens (not_after) WHERE suspenders <> 0 OR state = 'DELETED';
CREATE INDEX tokens_denied_kept ON tokens (kept_until) WHERE kept_until > 0;

-- Versions of the deny list, one row each. Whoever inserts the next one
-- publishes it; of two processes that try at once, one fails and looks again.
CREATE TABLE deny_versions (
    version  BIGINT NOT NULL PRIMARY KEY,
    at       BIGINT NOT NULL,                -- all times are Unix milliseconds
    switches BYTEA  NOT NULL                 -- the circuit breaker as of then
);

-- What each version changed. A token is named by its reference: its number is
-- in no table.
CREATE TABLE deny_changes (
    version BIGINT  NOT NULL,
    kind    INTEGER NOT NULL,
    name    TEXT    NOT NULL,                -- token reference, key id, or terminal number in hex
    removed INTEGER NOT NULL,                -- 1: the entry is gone
    ctr     INTEGER NOT NULL,
    until   BIGINT  NOT NULL,
    PRIMARY KEY (version, kind, name)
);
CREATE INDEX deny_changes_name ON deny_changes (name, kind, version);

-- The list as it is at the last version, but for entries that have ended.
CREATE TABLE deny_entries (
    kind  INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    ctr   INTEGER NOT NULL,
    until BIGINT  NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX deny_entries_until ON deny_entries (until);

-- What operators ordered, beside what follows from the state of tokens.
CREATE TABLE deny_orders (
    kind       INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    ctr        INTEGER NOT NULL,
    until      BIGINT  NOT NULL,
    reason     TEXT    NOT NULL,
    ordered_by TEXT    NOT NULL,
    ordered_at BIGINT  NOT NULL,
    PRIMARY KEY (kind, name)
);

-- The circuit breaker as operators want it: the last row counts.
CREATE TABLE deny_switches (
    id         BIGINT NOT NULL PRIMARY KEY,
    switches   BYTEA  NOT NULL,
    reason     TEXT   NOT NULL,
    ordered_by TEXT   NOT NULL,
    ordered_at BIGINT NOT NULL
);
