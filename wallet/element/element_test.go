package element_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/keyceremony"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/applet"
	"github.com/tapvault/tapvault/wallet/element/elementdb"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

const version = 2 // of the masters that serve elements

var (
	errCut = errors.New("cable cut")
	aid    = []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}
	key    = func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	}()
	server = access.Caller{ID: "w", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}
	issuer = access.Caller{ID: "i", Role: access.Issuer, Scopes: access.ForRole(access.Issuer)}
)

type silent struct {
	told []audit.Entry
	err  error // of what the service does by itself
}

func (s *silent) Record(_ context.Context, e audit.Entry) error {
	if e.Caller.ID != "service:element" {
		return nil
	}
	s.told = append(s.told, e)
	return s.err
}

// plain opens a PIN that was never sealed: sealing is the lab's to show.
type plain struct{}

func (plain) Plain(_ context.Context, s string) ([]byte, error) { return []byte(s), nil }

// accounts is the account service with what it says of holders.
type accounts struct {
	*account.Service
	book *tapdb.DB
}

func (a accounts) Open(ctx context.Context, _ access.Caller, w token.WalletID) error {
	_, err := a.book.Wallet(ctx, w)
	return err
}

func (a accounts) Holder(ctx context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error) {
	bound, err := a.book.Bound(ctx, ref)
	if err != nil {
		return "", "", err
	}
	all, err := a.book.Tokens(ctx, bound[ref])
	if err != nil || len(all) == 0 {
		return "", "", errors.Join(err, wallet.ErrRefused)
	}
	return bound[ref], all[0].Device, nil
}

// cuts is a store, and an account, whose nth call fails, before or after it took
// effect.
type cuts struct {
	element.Store
	element.Accounts
	n         int // calls until then; negative: none
	after     bool
	meanwhile func()        // happens while a sync is answered
	beside    func()        // happens once, before it is asked what was lost
	grant     account.Grant // the last one
}

func (c *cuts) call(f func() error) error {
	c.n--
	switch {
	case c.n == 0 && c.after:
		return errors.Join(f(), errCut)
	case c.n == 0:
		return errCut
	}
	return f()
}

func (c *cuts) Put(ctx context.Context, id token.DeviceID, s element.Script) (ok bool, err error) {
	err = c.call(func() (err error) { ok, err = c.Store.Put(ctx, id, s); return err })
	return ok, err
}

func (c *cuts) Hear(ctx context.Context, e element.Element) error {
	return c.call(func() error { return c.Store.Hear(ctx, e) })
}

func (c *cuts) Lost(ctx context.Context, id token.DeviceID, seq uint32) (bool, error) {
	if do := c.beside; do != nil {
		c.beside = nil
		do()
	}
	return c.Store.Lost(ctx, id, seq)
}

func (c *cuts) Settled(ctx context.Context, id token.DeviceID, n uint32) error {
	return c.call(func() error { return c.Store.Settled(ctx, id, n) })
}

func (c *cuts) Sync(ctx context.Context, a access.Caller, q account.SyncRequest) (out account.Settlement, err error) {
	err = c.call(func() (err error) { out, err = c.Accounts.Sync(ctx, a, q); return err })
	if out.Grant != nil {
		c.grant = *out.Grant
	}
	if c.meanwhile != nil {
		c.meanwhile()
	}
	return out, err
}

// gone is an HSM that can go away.
type gone struct {
	*hsm.Token
	away bool
}

func (g *gone) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error) {
	if g.away {
		return [32]byte{}, fmt.Errorf("computing: %w", hsm.ErrUnavailable)
	}
	return g.Token.HMAC(ctx, ref, msg)
}

// stand is the service over a real HSM, vault, account and database, and an
// element that was issued.
type stand struct {
	*element.Service
	t     *testing.T
	cuts  *cuts
	keys  *gone
	log   *silent
	tok   func() token.Token
	next  func() token.Ref // another token, bound to the element
	move  func(token.Verb) // the first one
	until func(time.Time)  // changes the end of the first one
	money func() account.Balances
	pin   string // sealed
	id    token.DeviceID
	e     *applet.Element
	vault *vaulttest.Fixture
	taps  *account.Service
}

// over is the service over a database.
func over(t *testing.T, h *hsm.Token, db *store.DB) *stand {
	t.Helper()
	v := vaulttest.On(t, db, h)
	log := &silent{}
	book, gate := tapdb.New(db, v.Clock.Now), audit.Gate{Recorder: log}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	taps, err := account.New(account.Config{Tokens: v.Writer(), Keys: h, Journal: book, Book: book, Gate: gate, Realm: hsmtest.Realm,
		KeyVersions: []byte{version}, Zone: time.UTC, Now: v.Clock.Now})
	must(err)
	bundles, err := wallet.New(wallet.Config{Tokens: v.Writer(), Keys: h, Store: walletdb.New(db), Gate: gate, Realm: hsmtest.Realm, KeyVersion: 1,
		Slots: 3, Cap: 1000, Issuer: [8]byte{0x10, 1}, Now: v.Clock.Now})
	must(err)
	s := &stand{t: t, log: log, vault: v, taps: taps, cuts: &cuts{Store: elementdb.New(db), Accounts: accounts{taps, book}, n: -1}, keys: &gone{Token: h}}
	s.Service, err = element.New(element.Config{Store: s.cuts, Accounts: s.cuts, Keys: s.keys, Tokens: v.Writer(), Credentials: bundles, Opener: plain{},
		Gate: gate, Terms: enrol.DefaultTiers()[enrol.TierSE], Realm: hsmtest.Realm, KeyVersion: version, Issuer: [8]byte{0x10, 1}, AID: aid, Now: v.Clock.Now})
	must(err)
	return s
}

func newStand(t *testing.T, h *hsm.Token) *stand {
	t.Helper()
	s, ctx := over(t, h, storetest.New(t)), t.Context()
	v, taps := s.vault, s.taps
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tok, err := v.Writer().Issue(ctx, v.Order(t, 1), "bank", access.Attempt{})
	must(err)
	s.tok = func() token.Token {
		got, err := v.Writer().Token(context.Background(), tok.Ref)
		must(err)
		return got
	}
	by := issuer
	by.Requestor = string(tok.Requestor)
	w, err := taps.Open(ctx, by, account.Opening{Requestor: tok.Requestor})
	must(err)
	_, err = taps.Happen(ctx, by, w.ID, account.Happening{ID: "e1", Kind: account.TopUp, Amount: 30000})
	must(err)
	s.money = func() account.Balances {
		b, err := taps.Balances(context.Background(), by, w.ID)
		must(err)
		return b
	}
	e, err := s.Enrol(ctx, server, element.Request{Wallet: w.ID, Serial: message.Serial{1}, Key: &key.PublicKey, Verdict: enrol.Trusted, Level: enrol.Element,
		At: v.Clock.Now()})
	must(err)
	s.id = e.ID
	must(taps.Bind(ctx, by, w.ID, tok.Ref, e.ID))
	s.next = func() token.Ref {
		next, err := v.Writer().Issue(ctx, v.Order(t, 2), "bank", access.Attempt{})
		must(err)
		must(taps.Bind(ctx, by, w.ID, next.Ref, e.ID))
		return next.Ref
	}
	s.until = func(to time.Time) {
		_, err := v.Writer().Change(ctx, token.Change{Ref: tok.Ref, From: s.tok().State, Verb: token.Update, At: v.Clock.Now(),
			Set: token.Attributes{NotAfter: &to}, Expiry: s.tok().Expiry}, "", access.Attempt{})
		must(err)
	}
	s.move = func(verb token.Verb) {
		_, err := v.Writer().Move(ctx, tok.Ref, s.tok().State, verb, v.Clock.Now())
		must(err)
	}
	p, err := mask.ParsePIN([]byte("482915"))
	must(err)
	s.pin = string(payload.PINText(w.ID, p))
	_, err = s.Order(ctx, server, e.ID, element.Order{Verb: message.Issue, Ref: tok.Ref, PIN: s.pin})
	must(err)
	public, err := h.PublicKey(ctx, keyref.Ref{Usage: keyref.CredSign, Version: 1})
	must(err)
	s.e, err = applet.New(applet.Config{Serial: message.Serial{1}, Key: key, Issuer: public, AID: aid, Memory: &applet.Banks{}})
	must(err)
	return s
}

// round is one way of a courier: it brings a receipt, and a script back.
func (s *stand) round() (more bool, err error) {
	receipt, _ := applet.Fetch(s.t.Context(), s.e, aid) // none before the element was issued
	c, err := s.Carry(s.t.Context(), server, s.id, receipt)
	if err != nil || c.Script == nil {
		return false, err
	}
	return true, applet.Deliver(s.t.Context(), s.e, aid, c.Script)
}

// elementKeys is an HSM with the masters of elements.
func elementKeys(t *testing.T) *hsm.Token {
	t.Helper()
	refs := keyceremony.ServiceKeys(hsmtest.Realm)
	for _, u := range []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster} {
		refs = append(refs, keyref.Ref{Realm: hsmtest.Realm, Usage: u, Version: version})
	}
	return hsmtest.New(t, hsmtest.Options{Refs: refs, Config: func(c *hsm.Config) { c.ElementKeys = version }})
}

// TestTokenIsRecorded: that a receipt makes a token delivered and active is recorded
// under the token, before it is; where it cannot be, the token stays as it was, and
// the next courier makes up for it.
func TestTokenIsRecorded(t *testing.T) {
	s := newStand(t, elementKeys(t))
	if _, err := s.round(); err != nil {
		t.Fatal(err)
	}
	s.log.err = errCut
	if _, err := s.round(); !errors.Is(err, errCut) || s.tok().State != token.Requested {
		t.Fatalf("without a record: %v, the token is %s", err, s.tok().State)
	}
	s.log.err, s.log.told = nil, nil
	for more := true; more; {
		var err error
		if more, err = s.round(); err != nil {
			t.Fatal(err)
		}
	}
	tok := s.tok()
	want := []string{string(token.Deliver), string(token.Activate)}
	if tok.State != token.Active || len(s.log.told) != len(want) {
		t.Fatalf("%s, recorded %+v", tok.State, s.log.told)
	}
	for i, e := range s.log.told {
		if e.Object != string(tok.Ref) || e.Action != access.TokenManage || e.Outcome != audit.Allowed || e.Reason != want[i]+" by the receipt of "+string(s.id) {
			t.Errorf("%+v", e)
		}
	}
}

// TestCutAtEveryCall cuts the service off at each call of a sync, before and after
// it took effect: the next courier heals it, one grant is one script, and the
// element holds what is reserved.
func TestCutAtEveryCall(t *testing.T) {
	h := elementKeys(t)
	t.Run("no HSM", func(t *testing.T) { withoutHSM(t, h) })
	for n := 1; n <= 4; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				s := newStand(t, h)
				if more, err := s.round(); err != nil || !more {
					t.Fatalf("issuing: %v, %v", more, err)
				}
				s.cuts.n, s.cuts.after = n, after
				if _, err := s.round(); !errors.Is(err, errCut) {
					t.Fatalf("call %d is not made: %v", n, err)
				}
				// A courier who brings nothing finishes it too, once the receipt was kept.
				want := uint32(2)
				if n == 1 && !after {
					want = 1
				}
				if c, err := s.Carry(t.Context(), server, s.id, nil); err != nil || c.Seq != want {
					t.Fatalf("a courier without a receipt is given script %d, want %d (%v)", c.Seq, want, err)
				}
				rounds := 0
				for more := true; more; rounds++ {
					var err error
					if more, err = s.round(); err != nil || rounds > 5 {
						t.Fatalf("healing: round %d, %v", rounds, err)
					}
				}
				e, err := s.Get(t.Context(), server, s.id)
				if b := s.money(); err != nil || e.Seq != 2 || e.Acked != 2 || e.Balance != 20000 || b.Reserve != 20000 || b.Available != 10000 {
					t.Errorf("made %d, obeyed %d, it holds %d, %+v, %v", e.Seq, e.Acked, e.Balance, b, err)
				}
			})
		}
	}
}

// withoutHSM: while the HSM is away a receipt cannot be judged. That is no word about
// the receipt: the courier is told to come again, and is then believed.
func withoutHSM(t *testing.T, h *hsm.Token) {
	s := newStand(t, h)
	if more, err := s.round(); err != nil || !more {
		t.Fatalf("issuing: %v, %v", more, err)
	}
	s.keys.away = true
	if _, err := s.round(); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("without the HSM: %v", err)
	}
	s.keys.away = false
	if more, err := s.round(); err != nil || !more {
		t.Errorf("with the HSM back: %v, %v", more, err)
	}
	if _, err := s.Carry(t.Context(), server, s.id, []byte("no receipt")); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("what is no receipt: %v", err)
	}
}
