package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/keyceremony"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault"
)

// Tokenize measures requests for tokens, each for a card that was never seen,
// of 32 callers at once: the caller's right recorded on the disk, the card
// indexed and sealed by the HSM, and the token, its card, number, attempt and
// event committed to the disk before the answer. The limit is the same rows
// written by prepared statements with nothing around them, each row in a commit
// of its own, by as many callers.
func Tokenize(ctx context.Context, o Options) (Result, error) {
	o = crowded(o)
	r, err := onServers(ctx, func(ctx context.Context, s *server) (Result, error) {
		return tokenizeOn(ctx, o, s)
	})
	r.Name, r.Callers = "tokenize", crowd
	return r, err
}

// crowded makes slices long enough for all callers to be busy in them.
func crowded(o Options) Options {
	o.slices, o.least = 4, 8*crowd
	return o.withDefaults()
}

func tokenizeOn(ctx context.Context, o Options, s *server) (res Result, err error) {
	d, err := newDesk(ctx, o, s)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	first, err := d.request(ctx, 0)
	if err != nil {
		return res, err
	}
	w, err := newScribes(ctx, s, d.dsn, string(first.Ref))
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	res, err = paired(ctx, o, func(n int) (time.Duration, error) {
		return atOnce(n, func(_, _ int) error { _, err := d.request(ctx, int(d.cards.Add(1))); return err })
	}, func(n int) (time.Duration, error) { return w.write(ctx, n, (*pen).single, 1) })
	if err != nil {
		return res, err
	}
	res.Unit = "a token for a new card: permission recorded, card sealed by the HSM, five rows in one durable commit"
	res.Limit = "the same five rows by prepared statements, each in a durable commit of its own"
	if res.TogetherPerS, err = w.rate(ctx, (*pen).together, 1); err == nil {
		res.GroupedPerS, err = w.rate(ctx, (*pen).grouped, crowd)
	}
	return res, err
}

// desk is the service that issues tokens, without its network.
type desk struct {
	tokens  *tokenize.Service
	vault   *vault.Vault
	hsm     *hsm.Token
	db      *store.DB
	gate    audit.Gate
	caller  access.Caller
	dsn     string
	cards   atomic.Int64
	closers []func() error
}

func (d *desk) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(errs...)
}

func newDesk(ctx context.Context, o Options, s *server) (_ *desk, err error) {
	d := &desk{caller: access.Caller{ID: "bench", Role: access.Issuer, Requestor: "50110000001", Scopes: access.ForRole(access.Issuer)}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	tok, err := d.token(ctx, o)
	if err != nil {
		return nil, err
	}
	db, dsn, err := s.migrated(ctx)
	if err != nil {
		return nil, err
	}
	d.db, d.dsn = db, dsn
	d.closers = append(d.closers, db.Close)
	if err := d.record(); err != nil {
		return nil, err
	}
	return d, d.serve(ctx, db, tok)
}

// token opens a token with the vault's keys.
func (d *desk) token(ctx context.Context, o Options) (*hsm.Token, error) {
	cfg, done, err := scratch(ctx, o)
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, done)
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d.hsm = tok
	d.closers = append(d.closers, tok.Close)
	keys := vault.Keys{}.Refs()
	_, err = keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{{Name: "bench", Token: tok, Keys: keys}}})
	if err != nil {
		return nil, err
	}
	return tok, tok.Require(ctx, keys...)
}

// record opens the record of who asked for what.
func (d *desk) record() error {
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	d.closers = append(d.closers, func() error { return os.RemoveAll(dir) })
	t, err := trail.Open(trail.Config{Path: filepath.Join(dir, "audit.log")})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, t.Close)
	d.gate = audit.Gate{Recorder: t}
	return nil
}

func (d *desk) serve(ctx context.Context, db *store.DB, tok *hsm.Token) error {
	events, err := outbox.New(outbox.Config{DB: db})
	if err != nil {
		return err
	}
	d.vault, err = vault.Open(ctx, vault.Config{DB: db, HSM: tok, BINController: "TAPV", Events: events,
		Ranges:     []vault.Range{{Name: "bench", Prefix: "6299", Length: 16, Luhn: true}},
		CardRanges: []vault.CardRange{{Prefix: "6212", Length: 16}}})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, func() error { return d.vault.Close(context.WithoutCancel(ctx)) })
	d.tokens, err = tokenize.New(tokenize.Config{Vault: d.vault.Writer(), Gate: d.gate,
		Calendar: token.Calendar{Zone: time.UTC, CutOver: 3 * time.Hour}})
	return err
}

// request asks for a token for the nth card.
func (d *desk) request(ctx context.Context, n int) (token.Token, error) {
	digits := fmt.Sprintf("6212%011d", n)
	pan, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
	if err != nil {
		return token.Token{}, err
	}
	return d.tokens.Request(ctx, d.caller, tokenize.Request{PAN: pan, PANExpiry: "4912", Location: token.LocationDevice,
		Attempt: access.Attempt{Key: "bench-" + digits}})
}

// scribes write rows into a database of their own, as many at once as the
// database can use.
type scribes struct {
	db      *sql.DB
	service *store.DB
	free    chan *pen
	next    atomic.Int64
	pens    []*pen
}

// newScribes makes scribes of rows like those that the service wrote for the
// token ref in the database from.
func newScribes(ctx context.Context, s *server, from, ref string) (_ *scribes, err error) {
	fixed, err := sample(ctx, s, from, ref, standing)
	if err != nil {
		return nil, err
	}
	rows, err := sample(ctx, s, from, ref, issued)
	if err != nil {
		return nil, err
	}
	w := &scribes{free: make(chan *pen, s.writers)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	dsn := ""
	if w.service, dsn, err = s.migrated(ctx); err != nil {
		return nil, err
	}
	if w.db, err = s.open(dsn); err != nil {
		return nil, err
	}
	for _, r := range fixed {
		if _, err = w.db.ExecContext(ctx, r.insert(s, 1), r.values...); err != nil {
			return nil, err
		}
	}
	for range s.writers {
		p, err := newPen(ctx, s, w.db, rows)
		if err != nil {
			return nil, err
		}
		w.pens = append(w.pens, p)
		w.free <- p
	}
	return w, nil
}

func (w *scribes) close() error {
	var errs []error
	for _, p := range w.pens {
		errs = append(errs, p.conn.Close())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	if w.service != nil {
		errs = append(errs, w.service.Close())
	}
	return errors.Join(errs...)
}

// write has the callers write the rows of n operations, so many at a time.
func (w *scribes) write(ctx context.Context, n int, how func(*pen, context.Context, int) error, many int) (time.Duration, error) {
	return atOnce(max(1, n/many), func(_, _ int) error {
		p := <-w.free
		defer func() { w.free <- p }()
		return how(p, ctx, int(w.next.Add(int64(many)))-many)
	})
}

// rate is how many operations a second are written in a way, in half a second.
func (w *scribes) rate(ctx context.Context, how func(*pen, context.Context, int) error, many int) (float64, error) {
	const n = 3200
	took, err := w.write(ctx, n, how, many)
	return n / took.Seconds(), err
}
