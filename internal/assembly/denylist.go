package assembly

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/denylist/denydb"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// DenyList says how readers are told whom not to take, and what else terminals
// are told.
type DenyList struct {
	// Every is how often the list is brought in line with the state of tokens,
	// up to 1m; every answer is in line with it anyway. 0: 1s.
	Every time.Duration `yaml:"every"`
	// Refresh is how long one signature serves, 1s to 15m: so much older than it
	// is a list may look. 0: 5m.
	Refresh time.Duration `yaml:"refresh"`
	// Valid is how long readers may rely on a list, 31m or more. 0: 24h.
	Valid time.Duration `yaml:"valid"`
	// Deltas is how long a delta leads on from a version, up to 960h. 0: 48h.
	Deltas time.Duration `yaml:"deltas"`
	// Proof lists classes of terminals that demand a device proof of every phone,
	// G or M. Class V always does.
	Proof []string `yaml:"proof"`
}

func (c Config) validateDenyList(v *checker) {
	d := c.DenyList
	if d.Every < 0 || d.Every > time.Minute {
		v.add("denylist.every: up to 1m")
	}
	if d.Refresh != 0 && (d.Refresh < time.Second || d.Refresh > 15*time.Minute) {
		v.add("denylist.refresh: 1s to 15m")
	}
	if d.Valid != 0 && d.Valid < 31*time.Minute {
		v.add("denylist.valid: 31m or more")
	}
	if d.Deltas < 0 || d.Deltas > 960*time.Hour {
		v.add("denylist.deltas: up to 960h")
	}
	for _, p := range d.Proof {
		if p != string(deny.Gate) && p != string(deny.Merchant) && p != string(deny.Vehicle) {
			v.add("denylist.proof: %q is none of G, M and V", p)
		}
	}
}

// denyKey signs deny lists and terminal policies; its version is its key id.
var denyKey = keyref.Ref{Usage: keyref.DenySign, Version: 1}

// denyList makes what tells readers whom not to take.
func (p *parts) denyList(ctx context.Context) (*denylist.Service, error) {
	policy, err := p.terminalPolicy(ctx)
	if err != nil {
		return nil, err
	}
	db, c := denydb.New(p.db), p.cfg.DenyList
	s, err := denylist.New(denylist.Config{
		Clock:  p.cfg.clock(p.db),
		Tokens: p.vault.Reader(), Store: db, Orders: db, History: db, Gate: p.gate,
		Sign:  func(ctx context.Context, digest [32]byte) ([64]byte, error) { return p.hsm.Sign(ctx, denyKey, digest) },
		KeyID: uint16(denyKey.Version), Policy: policy, Ranges: p.policyRanges,
		Refresh: c.Refresh, Valid: c.Valid, Deltas: c.Deltas, Log: p.opt.Log, Now: p.opt.Now,
	})
	if err != nil {
		return nil, err
	}
	p.gauges = append(p.gauges, obs.Gauge{Name: "deny_entries_unreadable_total", Counts: true, Help: "How often this process left an entry out of the deny list because it cannot be read.",
		Value: func() float64 { return float64(s.Unprinted()) }})
	return s, nil
}

// clock is the database's, which decides in place of a machine's that is wrong; nil
// where there is none, and in rehearsals, whose time may be another day's.
func (c Config) clock(db *store.DB) func(context.Context) (time.Time, error) {
	if c.Environment == Rehearsal || !store.IsPostgres(c.Store.DSN) {
		return nil
	}
	return func(ctx context.Context) (time.Time, error) {
		at, _, err := db.Clock(ctx)
		return at, err
	}
}

// sure is the moment that has come by this process's clock and by the database's; nil
// where there is only one. See docs/decisions/131.
func (c Config) sure(db *store.DB, now func() time.Time) func(context.Context) (time.Time, error) {
	if c.clock(db) == nil {
		return nil
	}
	return func(ctx context.Context) (time.Time, error) { return db.Earlier(ctx, now()) }
}

func (p *parts) sure() func(context.Context) (time.Time, error) { return p.cfg.sure(p.db, p.opt.Now) }

// terminalPolicy is what terminals are told: token ranges lead to slots, card
// ranges to cards.
func (p *parts) terminalPolicy(ctx context.Context) (deny.Policy, error) {
	public, err := p.hsm.PublicKey(ctx, keyref.Ref{Usage: keyref.CredSign, Version: 1})
	if err != nil {
		return deny.Policy{}, err
	}
	aid, err := hex.DecodeString(p.cfg.Slots.AID)
	if err != nil {
		return deny.Policy{}, fmt.Errorf("reading slots.aid: %w", err)
	}
	out := deny.Policy{AID: aid, Tolerance: tolerance, Proof: []deny.Class{deny.Vehicle}, Issuers: map[uint16]*ecdsa.PublicKey{1: public}}
	for _, class := range p.cfg.DenyList.Proof {
		if c := deny.Class(class[0]); !slices.Contains(out.Proof, c) {
			out.Proof = append(out.Proof, c)
		}
	}
	return out, nil
}

// policyRanges are the ranges that terminals are told, in the same order by every
// process that knows them.
func (p *parts) policyRanges() (all []deny.Range) {
	for _, r := range p.vault.Ranges() {
		all = append(all, deny.Range{Prefix: r.Prefix, Length: r.Length, Levels: 3})
	}
	slices.SortFunc(all, func(a, b deny.Range) int { return cmp.Compare(a.Prefix, b.Prefix) })
	for _, r := range p.cfg.Vault.CardRanges {
		all = append(all, deny.Range{Prefix: r.Prefix, Length: r.Length, Levels: 2})
	}
	return all
}

// tolerance is how far the clocks of terminals may disagree.
const tolerance = 120 * time.Second

// standings says how tokens and their wallets stand, for terminals that ask.
type standings struct {
	tokens *vault.Reader
	book   *tapdb.DB
}

// Standing implements [api.Wallets].
func (s standings) Standing(ctx context.Context, n token.Number, at time.Time) (out api.Standing, err error) {
	t, err := s.tokens.ByNumber(ctx, n, at)
	if errors.Is(err, vault.ErrNotFound) {
		return out, nil // judged as the unknown number that it is
	}
	if err != nil {
		return out, err
	}
	out.Barred = t.State == token.Suspended || t.State == token.Deleted || len(t.Suspenders) > 0
	bound, err := s.book.Bound(ctx, t.Ref)
	if err != nil || bound[t.Ref] == "" {
		return out, err
	}
	w, err := s.book.Wallet(ctx, bound[t.Ref])
	if err != nil {
		return out, err
	}
	out.State = w.State
	out.Barred = out.Barred || w.State == account.WalletSuspended || w.State == account.WalletClosed
	return out, nil
}

// publishing keeps the list in line with the state of tokens until stop is
// called.
func (c *chores) publishing(ctx context.Context, s *denylist.Service, every time.Duration) (stop func() error) {
	if every == 0 {
		every = time.Second
	}
	return c.run(ctx, "deny-list", func(ctx context.Context) { s.Run(ctx, every) })
}

// publicKeys prints a public key for those who pin it.
func publicKeys(t *group.Group, ref keyref.Ref) func() ([]byte, error) {
	return func() ([]byte, error) {
		public, err := t.PublicKey(context.Background(), ref)
		if err != nil {
			return nil, err
		}
		k, err := jwk(public)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string][]wire.PublicKey{"keys": {k}})
	}
}

// jwk prints a signing key of version 1.
func jwk(public *ecdsa.PublicKey) (wire.PublicKey, error) {
	point, err := public.Bytes()
	if err != nil {
		return wire.PublicKey{}, fmt.Errorf("printing a public key: %w", err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return wire.PublicKey{KeyType: "EC", Curve: "P-256", X: enc(point[1:33]), Y: enc(point[33:]), KeyID: "1", Use: "sig", Alg: "ES256"}, nil
}
