package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// benchRange has ten million numbers.
var benchRange = vault.Range{Name: "bench", Prefix: "62990000", Length: 16, Luhn: true}

const benchRangeSize = 10_000_000

// Range measures what fullness costs: issuing from a range of ten million
// numbers of which 99 % were given out against one of which 1 % were, and
// finding tokens among ten million against a hundred thousand. One caller, on
// SQLite; the rows that are there already were put in past the vault.
func Range(ctx context.Context, o Options) (Result, error) {
	return rangeOf(ctx, o, benchRangeSize/100, benchRangeSize)
}

// rangeOf measures with given numbers of rows: few are 1 %, and many are 99 %
// of the range and some in another one.
func rangeOf(ctx context.Context, o Options, few, many int) (res Result, err error) {
	o.slices, o.least = 10, 20
	o = o.withDefaults()
	s, err := sqliteServer()
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	d := new(desk)
	defer func() { err = errors.Join(err, d.close()) }()
	tok, err := d.token(ctx, o)
	if err != nil {
		return res, err
	}
	sparse, err := newShelf(ctx, s, tok, few, benchRangeSize/100)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, sparse.close(ctx)) }()
	full, err := newShelf(ctx, s, tok, many, benchRangeSize/100*99)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, full.close(ctx)) }()
	return measureShelves(ctx, o, full, sparse)
}

func measureShelves(ctx context.Context, o Options, full, sparse *shelf) (Result, error) {
	res, err := paired(ctx, o, full.each(ctx, (*shelf).issue), sparse.each(ctx, (*shelf).issue))
	if err != nil {
		return res, err
	}
	res.Name, res.Store = "range", "SQLite"
	res.Unit = "a token for a known card in a durable commit, from a range that is 99 % given out"
	res.Limit = "the same from a range that is 1 % given out"
	res.CostRatio = 1 / res.Ratio
	found, err := paired(ctx, o, full.each(ctx, (*shelf).find), sparse.each(ctx, (*shelf).find))
	if err != nil {
		return res, err
	}
	found.Name, found.Store = "range-lookup", "SQLite"
	found.Unit = fmt.Sprintf("a token found by its reference and again by its number, among %d", full.rows)
	found.Limit = fmt.Sprintf("the same among %d", sparse.rows)
	found.CostRatio = 1 / found.Ratio
	res.Lookup = &found
	return res, nil
}

// shelf is a vault with many rows.
type shelf struct {
	db     *store.DB
	vault  *vault.Vault
	rows   int
	random *rand.Rand
}

func (s *shelf) close(ctx context.Context) error {
	return errors.Join(s.vault.Close(context.WithoutCancel(ctx)), s.db.Close())
}

// newShelf makes a vault of which serials below next of the range count as
// given out, with rows tokens.
func newShelf(ctx context.Context, s *server, tok *hsm.Token, rows, next int) (*shelf, error) {
	db, dsn, err := s.migrated(ctx)
	if err != nil {
		return nil, err
	}
	sh := &shelf{db: db, rows: rows, random: rand.New(rand.NewPCG(1, 2))}
	cfg := vault.Config{DB: db, HSM: tok, BINController: "TAPV", LeaseBlock: 256, CardRanges: []vault.CardRange{{Prefix: "6212", Length: 16}},
		// The second range holds the rows that are too many for the first.
		Ranges: []vault.Range{benchRange, {Name: "more", Prefix: "62990001", Length: 16, Luhn: true}}}
	if sh.vault, err = vault.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for n := range shelfCards {
		if err == nil {
			err = sh.issueFor(ctx, n)
		}
	}
	if err == nil { // hands its serials back, which the filling then takes
		err = sh.vault.Close(ctx)
	}
	if err == nil {
		err = fill(ctx, s, dsn, rows, next)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if sh.vault, err = vault.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return sh, nil
}

// shelfCards is how many cards take turns.
const shelfCards = 64

// fillAtOnce is how many rows are filled in by one statement, so that the
// filling can be ended.
const fillAtOnce = 500_000

// fill puts rows in past the vault: numbers and tokens of serials from
// shelfCards on, the first next of them in the first range.
func fill(ctx context.Context, s *server, dsn string, rows, next int) (err error) {
	db, err := sql.Open(s.driver, dsn+"?_foreign_keys=off")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if err := run(ctx, db, "PRAGMA synchronous = OFF", "DELETE FROM range_leases"); err != nil {
		return err
	}
	if err := fillRange(ctx, db, "bench", shelfCards, min(rows, next), 0); err != nil {
		return err
	}
	if err := fillRange(ctx, db, "more", 0, rows-next, next); err != nil {
		return err
	}
	return run(ctx, db, fmt.Sprintf("UPDATE token_ranges SET next_serial = %d WHERE id = 'bench'", next),
		"ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA synchronous = FULL")
}

func run(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("filling a database: %w", err)
		}
	}
	return nil
}

// fillRange gives out the serials [first, end) of a range, all at one time. The
// references count on from base.
func fillRange(ctx context.Context, db *sql.DB, name string, first, end, base int) error {
	now := time.Now().Add(-24 * time.Hour).UnixMilli()
	for from := first; from < end; from += fillAtOnce {
		serials := fmt.Sprintf("WITH RECURSIVE s (n) AS (SELECT %d UNION ALL SELECT n + 1 FROM s WHERE n + 1 < %d)", from, min(end, from+fillAtOnce))
		err := run(ctx, db,
			fmt.Sprintf(`INSERT INTO numbers (range_id, serial, holder, next_ctr, free_after) %s
				SELECT '%s', n, printf('tr%%026d', n + %d), 1, %d FROM s`, serials, name, base, now+40*24*3600*1000),
			fmt.Sprintf(`INSERT INTO tokens (ref, card_id, range_id, serial, requestor, psn, expiry, location, state, not_before,
				not_after, ctr_first, ctr_next, created_at, changed_at) %s
				SELECT printf('tr%%026d', n + %d), (SELECT min(id) FROM cards), '%s', n, '50110000001', '', '4912', '03', 'EXPIRED', %d,
				%d, 1, 1, %d, %d FROM s`, serials, base, name, now, now+1000, now, now))
		if err != nil {
			return err
		}
	}
	return nil
}

// each makes a side of a measurement of one operation.
func (s *shelf) each(ctx context.Context, do func(*shelf, context.Context) error) func(n int) (time.Duration, error) {
	return func(n int) (time.Duration, error) {
		begun := time.Now()
		for range n {
			if err := do(s, ctx); err != nil {
				return 0, err
			}
		}
		return time.Since(begun), nil
	}
}

// issue makes a token for one of the cards.
func (s *shelf) issue(ctx context.Context) error { return s.issueFor(ctx, s.random.IntN(shelfCards)) }

func (s *shelf) issueFor(ctx context.Context, card int) error {
	digits := fmt.Sprintf("6212%011d", card)
	pan, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
	if err != nil {
		return err
	}
	ref, err := token.DrawRef(randomBytes{s.random})
	if err != nil {
		return err
	}
	now := time.Now().Truncate(time.Second)
	_, err = s.vault.Writer().Issue(ctx, token.Order{Ref: ref, Requestor: "50110000001", PAN: pan, CardExpiry: "4912",
		Location: token.LocationDevice, Expiry: "4911", NotBefore: now, NotAfter: now.Add(24 * time.Hour)}, "bench", access.Attempt{})
	return err
}

// find finds one of the filled tokens both ways.
func (s *shelf) find(ctx context.Context) error {
	ref := token.Ref(fmt.Sprintf("tr%026d", shelfCards+s.random.IntN(s.rows-shelfCards)))
	t, err := s.vault.Reader().Token(ctx, ref)
	if err != nil {
		return err
	}
	by, err := s.vault.Reader().ByNumber(ctx, t.Number, t.NotBefore)
	if err == nil && by.Ref != ref {
		err = fmt.Errorf("token %s was found as %s by its number", ref, by.Ref)
	}
	return err
}

// randomBytes draws what needs to be unlike, not secret.
type randomBytes struct{ *rand.Rand }

func (r randomBytes) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}
