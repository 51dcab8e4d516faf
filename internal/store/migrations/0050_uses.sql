-- +goose Up
-- What each token has paid so far: kept by the transaction that posts a tap or
-- counts a use, so that a bound on the sum or the count of uses holds to the
-- last one, whoever posts.
CREATE TABLE token_totals (
    token_ref  TEXT   NOT NULL PRIMARY KEY,
    total      BIGINT NOT NULL,               -- fen
    uses       BIGINT NOT NULL,
    changed_at BIGINT NOT NULL                -- all times are Unix milliseconds
);
INSERT INTO token_totals (token_ref, total, uses, changed_at)
    SELECT token_ref, SUM(amount), COUNT(*), MAX(changed_at) FROM taps WHERE outcome = 'POSTED' GROUP BY token_ref;

-- Uses without a tap: the card number was given to authorise a purchase. The
-- caller names each, so that asking again counts nothing twice.
CREATE TABLE direct_uses (
    token_ref TEXT   NOT NULL,
    use_id    TEXT   NOT NULL,
    amount    BIGINT NOT NULL,
    used_at   BIGINT NOT NULL,
    PRIMARY KEY (token_ref, use_id)
);
