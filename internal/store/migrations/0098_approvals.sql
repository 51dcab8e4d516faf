-- +goose Up
-- Requests that wait for the approval of others. What was asked stands here as
-- its digest; its text only where it holds nothing secret.
CREATE TABLE approvals (
    id         TEXT    NOT NULL PRIMARY KEY,
    verb       TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    digest     BYTEA   NOT NULL,              -- of verb, method, path and canonical body
    summary    TEXT    NOT NULL,              -- what approvers are shown
    reason     TEXT    NOT NULL,
    requester  TEXT    NOT NULL,              -- client id
    needed     INTEGER NOT NULL,
    state      TEXT    NOT NULL,              -- PENDING, APPROVED, USED, CANCELLED
    revision   BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,              -- Unix milliseconds
    expires_at BIGINT  NOT NULL,
    ended_at   BIGINT  NOT NULL               -- used or cancelled; 0: neither
);
CREATE INDEX approvals_digest ON approvals (digest, state);
CREATE INDEX approvals_created ON approvals (created_at, id);

-- One approver, one approval.
CREATE TABLE approval_votes (
    approval TEXT   NOT NULL,
    approver TEXT   NOT NULL,                 -- client id
    at       BIGINT NOT NULL,
    PRIMARY KEY (approval, approver)
);

-- Settings that only change with approval: their digest as it was last allowed.
CREATE TABLE approved_settings (
    name       TEXT   NOT NULL PRIMARY KEY,
    digest     BYTEA  NOT NULL,
    changed_at BIGINT NOT NULL
);
