package load_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
	"github.com/tapvault/tapvault/token"
)

const (
	mine  = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")
	yours = token.WalletID("wlBBBBBBBBBBBBBBBBBBBBBBBBBB")
	shut  = token.WalletID("wlDDDDDDDDDDDDDDDDDDDDDDDDDD")
	money = 10_000
)

var (
	noon         = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)
	bank         = access.Caller{ID: "bank", Role: access.Issuer, Requestor: "50110000001", Scopes: access.ForRole(access.Issuer)}
	rival        = access.Caller{ID: "rival", Role: access.Issuer, Requestor: "50110000002", Scopes: access.ForRole(access.Issuer)}
	at, _        = cryptogram.ParseDateTime("20260301", "120000")
	afterNoon, _ = cryptogram.ParseDateTime("20260301", "120100")
)

// owners are two accounts of two requestors; the state of the second holds money
// back.
type owners struct{}

func (owners) Owner(_ context.Context, id token.WalletID) (token.Requestor, bool, error) {
	if !id.Valid() {
		return "", false, fmt.Errorf("the database was asked for %q", id)
	}
	switch id {
	case mine:
		return "50110000001", true, nil
	case yours:
		return "50110000002", false, nil
	case shut:
		return "50110000001", false, fault.New(fault.WalletState, "the wallet is closed")
	}
	return "", false, fault.New(fault.WalletUnknown, "no such wallet")
}

// none says that no card is a token.
type none struct{}

func (none) IsToken([10]byte) bool { return false }

type record struct {
	mu      sync.Mutex
	entries []audit.Entry
	hangUp  func() // called when a refusal is recorded; nil: nothing
}

func (r *record) Record(ctx context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	if r.hangUp != nil && e.Outcome == audit.Refused {
		r.hangUp()
		return ctx.Err()
	}
	return nil
}

// world is a service on a real token and a real database.
type world struct {
	t       *testing.T
	db      *store.DB
	store   *breaking
	service *load.Service
	log     *record
	now     time.Time
	other   func() (time.Time, error) // the moment by every clock; nil: now
}

func newWorld(t *testing.T) *world {
	t.Helper()
	hsm := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{{Usage: keyref.PARKey, Version: 1}}})
	fill(t, hsm)
	w := &world{t: t, db: storetest.New(t), log: &record{}, now: noon}
	gate := audit.Gate{Recorder: w.log}
	cards, err := cardhost.New(cardhost.Config{Keys: hsm, Gate: gate, Realms: []cryptogram.Scheme{scheme()}, Tokens: none{}})
	if err != nil {
		t.Fatal(err)
	}
	events, err := outbox.New(outbox.Config{DB: w.db})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := loaddb.New(loaddb.Config{Store: w.db, Events: events, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	w.store = &breaking{Store: kept}
	host := cards.For(access.CardLoad)
	w.service, err = load.New(load.Config{Orders: host, Proofs: host, Accounts: owners{}, Names: hsm,
		NameKey: keyref.Ref{Usage: keyref.PARKey, Version: 1}, Store: w.store, Gate: gate, Now: func() time.Time { return w.now },
		Sure: func(context.Context) (time.Time, error) {
			if w.other != nil {
				return w.other()
			}
			return w.now, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.fund(mine, money)
	w.fund(yours, money)
	return w
}

// fund opens an account with money in it.
func (w *world) fund(id token.WalletID, fen token.Amount) {
	w.t.Helper()
	err := w.db.Tx(w.t.Context(), func(tx *gorm.DB) error {
		if err := ledgerdb.Open(tx, id); err != nil {
			return err
		}
		return ledgerdb.Post(tx, noon, ledger.Transfer{Purpose: "top-up", Key: string(id), Wallet: id, From: ledger.ExternalCash,
			To: ledger.Available, Amount: fen})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) balances(id token.WalletID) ledger.Balances {
	w.t.Helper()
	all, err := ledgerdb.Balances(w.db.Read(w.t.Context()), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[id]
}

func (w *world) begin(c *card, o load.Order, mac1 [4]byte) (load.Begun, error) {
	return w.service.Begin(w.t.Context(), bank, c.name, o, mac1, access.Attempt{})
}

func (w *world) confirm(c *card, id string, tac [4]byte) (load.Record, error) {
	return w.service.Confirm(w.t.Context(), bank, id, c.name, tac)
}

func (w *world) reverse(c *card, r load.Record) (load.Record, error) {
	shown, mac1 := c.show(r)
	return w.service.Reverse(w.t.Context(), bank, r.ID, c.name, shown, mac1)
}

// credit is a load of fen onto the electronic purse of an account.
func credit(fen uint32) load.Order {
	return load.Order{Kind: load.Credit, Account: mine, Amount: fen, Type: cryptogram.LoadPurse, Terminal: [6]byte{9, 9, 9, 9, 9, 1}, At: at}
}

func debit(fen uint32) load.Order {
	return load.Order{Kind: load.Debit, Account: mine, Amount: fen, Terminal: [6]byte{9, 9, 9, 9, 9, 1}, At: at}
}

func overdraft(fen uint32) load.Order {
	l, err := cryptogram.NewLimit(fen)
	if err != nil {
		panic(err) // a constant
	}
	return load.Order{Kind: load.Overdraft, Account: mine, NewLimit: l, Terminal: [6]byte{9, 9, 9, 9, 9, 1}, At: at}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestOrders takes each kind of order through to its acknowledgement.
func TestOrders(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		order     load.Order
		account   int64 // after, with that of the one before
		purse     load.Purse
		cardAfter uint32
	}{
		{credit(1234), money - 1234, load.EPurse, 6234},
		{debit(1000), money - 1234 + 1000, load.Deposit, 2000},
		{overdraft(900), money - 234, load.Deposit, 2400},
	} {
		c := newCard(t, byte(tc.purse)+byte(tc.order.Amount))
		if tc.order.Kind == load.Overdraft {
			c.balance[load.Deposit] = 2000
		}
		o, mac1 := c.start(tc.order)
		b := must[load.Begun](t)(w.begin(c, o, mac1))
		if got := w.balances(mine); b.State != load.Started || o.Kind == load.Credit && got.CardLoad != 1234 || o.Kind != load.Credit && got.CardLoad != 0 {
			t.Errorf("%s: began %s with %+v", o.Kind, b.State, got)
		}
		ack, err := c.obey(b.At, b.MAC2)
		if err != nil {
			t.Fatalf("%s: the card does not obey", o.Kind)
		}
		for range 2 {
			if r := must[load.Record](t)(w.confirm(c, b.ID, ack)); r.State != load.Settled {
				t.Errorf("%s: %s", o.Kind, r.State)
			}
		}
		// Too late to take back, and nothing is.
		if r := must[load.Record](t)(w.reverse(c, b.Record)); r.State != load.Settled {
			t.Errorf("%s: reversed after its proof: %s", o.Kind, r.State)
		}
		if got := w.balances(mine); got.Available != tc.account || got.CardLoad != 0 || c.balance[tc.purse] != tc.cardAfter {
			t.Errorf("%s: account %+v, card %d", o.Kind, got, c.balance[tc.purse])
		}
	}
}

// TestSpelledOtherwise: bytes of file 0015 of which no key is made make no second card.
// Else one unload would be two orders, and what the card proves be credited twice.
func TestSpelledOtherwise(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	other := *c
	other.name.ASN[0], other.name.ASN[1] = 0, 0xFF
	o, mac1 := c.start(debit(1000))
	first := must[load.Begun](t)(w.begin(c, o, mac1))
	second := must[load.Begun](t)(w.begin(&other, o, mac1))
	if second.ID != first.ID {
		t.Error("one initialisation of a card is two orders")
	}
	ack, err := c.obey(first.At, first.MAC2)
	if err != nil {
		t.Fatal(err)
	}
	must[load.Record](t)(w.confirm(c, first.ID, ack))
	must[load.Record](t)(w.confirm(&other, second.ID, ack))
	if got := w.balances(mine).Available; got != money+1000 {
		t.Errorf("the card gave 1000 and the account has %d more", got-money)
	}
}

// TestRepeated: one debit, one MAC2, however often it is asked for.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Add(345 * time.Microsecond) // of which rows keep milliseconds
	c := newCard(t, 1)
	o, mac1 := c.start(credit(700))
	first := must[load.Begun](t)(w.begin(c, o, mac1))
	later := o
	later.At = afterNoon
	for _, again := range []load.Order{o, later} {
		got := must[load.Begun](t)(w.begin(c, again, mac1))
		if got.ID != first.ID || got.MAC2 != first.MAC2 || got.At != at || got.Probe != first.Probe || !got.CreatedAt.Equal(first.CreatedAt) {
			t.Error("asked again, answered differently")
		}
	}
	if b := w.balances(mine); b.Available != money-700 || b.CardLoad != 700 {
		t.Errorf("%+v", b)
	}
	other, mac := c.start(credit(701))
	if _, err := w.begin(c, other, mac); !errors.Is(err, load.ErrCounter) {
		t.Errorf("another amount under the same counter: %v", err)
	}
	if e := w.log.entries[len(w.log.entries)-1]; e.Outcome != audit.Refused || e.Reason != "counter" {
		t.Errorf("recorded: %+v", e)
	}
	unload, mac := c.start(debit(700))
	if _, err := w.begin(c, unload, mac); err != nil {
		t.Errorf("the other purse has a counter of its own: %v", err)
	}
	// The card was initialised anew before it obeyed: the money is on its way
	// already, and only the new session obeys.
	anew, mac := c.start(credit(700))
	second := must[load.Begun](t)(w.begin(c, anew, mac))
	if second.ID != first.ID || second.MAC2 == first.MAC2 || second.Probe == first.Probe {
		t.Error("a new session was answered like the old one")
	}
	if _, err := c.obey(at, first.MAC2); err == nil {
		t.Error("the card obeys the order of another session")
	}
	anew, mac = c.start(credit(700))
	second = must[load.Begun](t)(w.begin(c, anew, mac))
	tac, err := c.obey(second.At, second.MAC2)
	if err != nil {
		t.Fatal(err)
	}
	if r := must[load.Record](t)(w.confirm(c, first.ID, tac)); r.State != load.Settled {
		t.Errorf("%s", r.State)
	}
	if b := w.balances(mine); b.Available != money-700 || b.CardLoad != 0 || c.balance[load.EPurse] != 5700 {
		t.Errorf("%+v, card %d", b, c.balance[load.EPurse])
	}
	// The order of a settled load is given out again: the card takes none of it.
	if got := must[load.Begun](t)(w.begin(c, anew, mac)); got.State != load.Settled {
		t.Errorf("%s", got.State)
	}
}

// TestRepeatedAfterANewSession: a request that comes again after its card was initialised anew,
// and the order was given out for that, is no MAC that does not hold.
func TestRepeatedAfterANewSession(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(600))
	begin := func(key string, o load.Order, mac1 [4]byte) (load.Begun, error) {
		return w.service.Begin(t.Context(), bank, c.name, o, mac1, access.Attempt{Key: key})
	}
	first := must[load.Begun](t)(begin("a", o, mac1))
	anew, mac := c.start(credit(600))
	second := must[load.Begun](t)(begin("b", anew, mac))
	if again, err := begin("a", o, mac1); !errors.Is(err, load.ErrChanged) || again.MAC2 != [4]byte{} {
		t.Errorf("a request of the session before: %v", err)
	}
	if e := w.log.entries[len(w.log.entries)-1]; e.Outcome != audit.Refused || e.Reason != "counter" {
		t.Errorf("recorded: %+v", e)
	}
	tac, err := c.obey(second.At, second.MAC2)
	if err != nil {
		t.Fatal(err)
	}
	if r := must[load.Record](t)(w.confirm(c, first.ID, tac)); r.State != load.Settled {
		t.Errorf("%s", r.State)
	}
}

// TestReversal: what the card shows decides.
func TestReversal(t *testing.T) {
	for name, tc := range map[string]struct {
		do    func(c *card, b load.Begun)
		state load.State
		want  ledger.Balances
	}{
		"it never came": {func(*card, load.Begun) {}, load.Reversed, ledger.Balances{Available: money}},
		"it stood": {func(c *card, b load.Begun) { _, _ = c.obey(b.At, b.MAC2) }, load.Settled,
			ledger.Balances{Available: money - 800}},
		"spent meanwhile": {func(c *card, b load.Begun) { _, _ = c.obey(b.At, b.MAC2); c.balance[load.EPurse]-- }, load.Suspense,
			ledger.Balances{Available: money - 800}},
		"two further": {func(c *card, b load.Begun) { _, _ = c.obey(b.At, b.MAC2); c.seq[load.EPurse]++ }, load.Suspense,
			ledger.Balances{Available: money - 800}},
		"one back": {func(c *card, b load.Begun) { c.seq[load.EPurse]-- }, load.Suspense, ledger.Balances{Available: money - 800}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := newCard(t, 1)
			o, mac1 := c.start(credit(800))
			b := must[load.Begun](t)(w.begin(c, o, mac1))
			tc.do(c, b)
			shown, mac := c.show(b.Record)
			for range 2 { // the second time the same
				r, err := w.service.Reverse(t.Context(), bank, b.ID, c.name, shown, mac)
				if err != nil || r.State != tc.state {
					t.Fatalf("%s, %v; want %s", r.State, err, tc.state)
				}
			}
			if got := w.balances(mine); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			sums := must[map[ledger.Account]int64](t)(ledgerdb.Sums(w.db.Read(t.Context()), ""))
			if hangs := sums[ledger.Suspense] != 0; hangs != (tc.state == load.Suspense) {
				t.Errorf("suspense holds %d", sums[ledger.Suspense])
			}
		})
	}
}

// TestStaleWord: what a card said before the order was given out proves nothing
// about it, so nobody gets the money back and loads the card as well.
func TestStaleWord(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	shown, stale := c.show(load.Record{Order: credit(500)}) // under a number that no order drew
	o, mac1 := c.start(credit(500))
	b := must[load.Begun](t)(w.begin(c, o, mac1))
	for name, try := range map[string]func() error{
		"said before": func() error {
			_, err := w.service.Reverse(t.Context(), bank, b.ID, c.name, shown, stale)
			return err
		},
		"of the order's own session": func() error {
			_, err := w.service.Reverse(t.Context(), bank, b.ID, c.name, load.Shown{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, Amount: o.Amount}, mac1)
			return err
		},
	} {
		if err := try(); !errors.Is(err, cryptogram.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	anew, mac := c.start(credit(500))
	again := must[load.Begun](t)(w.begin(c, anew, mac))
	// A word about the order as it was given out first does not hold for the
	// second time.
	word, mac := newCardLike(c).show(b.Record)
	if _, err := w.service.Reverse(t.Context(), bank, b.ID, c.name, word, mac); !errors.Is(err, cryptogram.ErrMismatch) {
		t.Errorf("a word about the first session: %v", err)
	}
	if _, err := c.obey(again.At, again.MAC2); err != nil {
		t.Fatal(err)
	}
	if got := w.balances(mine); got.Available != money-500 || got.CardLoad != 500 {
		t.Errorf("%+v", got)
	}
}

// newCardLike is a copy of a card whose session does not disturb the other's.
func newCardLike(c *card) *card {
	d := *c
	d.open = nil
	return &d
}

// TestReversedIsNotRepeated: a host that repeats its request after the reversal
// gets the order no more than one that asks anew.
func TestReversedIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(600))
	begin := func() (load.Begun, error) {
		return w.service.Begin(w.t.Context(), bank, c.name, o, mac1, access.Attempt{Key: "k"})
	}
	b := must[load.Begun](t)(begin())
	if again := must[load.Begun](t)(begin()); again.ID != b.ID || again.MAC2 != b.MAC2 {
		t.Error("a repeated request is answered otherwise")
	}
	if r := must[load.Record](t)(w.reverse(c, b.Record)); r.State != load.Reversed {
		t.Fatal(r.State)
	}
	if again, err := begin(); !errors.Is(err, load.ErrReversed) || again.MAC2 != [4]byte{} {
		t.Errorf("a reversed order is given out again: %v", err)
	}
}

// TestReversedAndProven: a card that obeyed after all is found out, and the books
// say what it cost.
func TestReversedAndProven(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(600))
	b := must[load.Begun](t)(w.begin(c, o, mac1))
	clone := newCardLike(c)
	clone.open = &o
	if r := must[load.Record](t)(w.reverse(c, b.Record)); r.State != load.Reversed {
		t.Fatal(r.State)
	}
	if _, err := w.begin(c, o, mac1); !errors.Is(err, load.ErrReversed) {
		t.Errorf("a reversed order is given out again: %v", err)
	}
	tac, err := clone.obey(b.At, b.MAC2)
	if err != nil {
		t.Fatal(err)
	}
	if r := must[load.Record](t)(w.confirm(c, b.ID, tac)); r.State != load.Disputed {
		t.Errorf("%s", r.State)
	}
	sums := must[map[ledger.Account]int64](t)(ledgerdb.Sums(w.db.Read(t.Context()), mine))
	if sums[ledger.FraudLoss] != -600 || w.balances(mine).Available != money {
		t.Errorf("%v", sums)
	}
	// The counter is free again, for a card that says so.
	next, mac := c.start(credit(650))
	if got := must[load.Begun](t)(w.begin(c, next, mac)); got.ID == b.ID {
		t.Error("a reversed load came to life")
	}
}

// TestRefusals: nobody moves another's money or guesses long, and no refusal
// moves any.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, other := newCard(t, 1), newCard(t, 2)
	o, mac1 := c.start(credit(500))
	b := must[load.Begun](t)(w.begin(c, o, mac1))
	change := func(f func(*load.Order)) load.Order { o := o; o.Rand[0]++; f(&o); return o }
	bad := mac1
	bad[0]++
	terminal := access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
	for name, tc := range map[string]struct {
		caller access.Caller
		order  load.Order
		mac1   [4]byte
		want   fault.Kind
	}{
		"bad MAC1":          {bank, o, bad, fault.Refused},
		"another rand":      {bank, change(func(*load.Order) {}), mac1, fault.Refused},
		"no role":           {terminal, o, mac1, fault.Denied},
		"another requestor": {rival, o, mac1, fault.WalletUnknown},
		"no account":        {bank, change(func(o *load.Order) { o.Account = "wlCCCCCCCCCCCCCCCCCCCCCCCCCC" }), mac1, fault.WalletUnknown},
		"closed":            {bank, change(func(o *load.Order) { o.Account = shut }), mac1, fault.WalletState},
		"another's closed":  {rival, change(func(o *load.Order) { o.Account = shut }), mac1, fault.WalletUnknown},
		"held back":         {rival, change(func(o *load.Order) { o.Account = yours }), mac1, fault.WalletState},
		"nothing":           {bank, change(func(o *load.Order) { o.Amount = 0 }), mac1, fault.TransactionBad},
		"no such type":      {bank, change(func(o *load.Order) { o.Type = cryptogram.PurchasePurse }), mac1, fault.TransactionBad},
		"a card number":     {bank, change(func(o *load.Order) { o.Account = "6222021234567894" }), mac1, fault.Malformed},
	} {
		_, err := w.service.Begin(ctx, tc.caller, c.name, tc.order, tc.mac1, access.Attempt{})
		if fault.KindOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	rich, mac := other.start(credit(money + 1))
	if _, err := w.begin(other, rich, mac); fault.KindOf(err) != fault.FundsShort {
		t.Errorf("more than there is: %v", err)
	}
	give := debit(100)
	give.Account = yours
	give, mac = other.start(give)
	if _, err := w.service.Begin(ctx, rival, other.name, give, mac, access.Attempt{}); err != nil {
		t.Errorf("money for an account that is held back: %v", err)
	}
	if _, err := w.service.Confirm(ctx, rival, b.ID, c.name, bad); !errors.Is(err, load.ErrUnknown) {
		t.Errorf("another requestor's load: %v", err)
	}
	if _, err := w.service.Order(ctx, rival, b.ID); !errors.Is(err, load.ErrUnknown) {
		t.Errorf("another requestor's load: %v", err)
	}
	if _, err := w.service.Order(ctx, bank, "6222021234567894"); !errors.Is(err, load.ErrUnknown) {
		t.Errorf("a card number: %v", err)
	}
	if _, err := w.confirm(other, b.ID, bad); !errors.Is(err, load.ErrCard) {
		t.Errorf("another card: %v", err)
	}
	if all, err := w.service.Orders(ctx, bank, load.Filter{Account: mine, State: load.Started, Limit: 9}); err != nil || len(all) != 1 || all[0].ID != b.ID {
		t.Errorf("%d orders, %v", len(all), err)
	}
	if _, err := w.service.Orders(ctx, rival, load.Filter{Account: mine, Limit: 9}); fault.KindOf(err) != fault.WalletUnknown {
		t.Errorf("another requestor's orders: %v", err)
	}
	give.Account = shut
	if _, err := w.service.Begin(ctx, bank, other.name, give, mac, access.Attempt{}); fault.KindOf(err) != fault.WalletState {
		t.Errorf("money for an account that is closed: %v", err)
	}
	if _, err := w.service.Orders(ctx, bank, load.Filter{Account: shut, Limit: 9}); err != nil {
		t.Errorf("orders of an account that is closed: %v", err)
	}
	if _, err := w.service.Orders(ctx, rival, load.Filter{Account: shut, Limit: 9}); fault.KindOf(err) != fault.WalletUnknown {
		t.Errorf("another requestor's closed account: %v", err)
	}
	for range 10 {
		if _, err := w.confirm(c, b.ID, bad); !errors.Is(err, cryptogram.ErrMismatch) {
			t.Fatal(err)
		}
	}
	if _, err := w.confirm(c, b.ID, bad); !errors.Is(err, load.ErrMisses) {
		t.Errorf("an eleventh guess: %v", err)
	}
	if got := w.balances(mine); got.Available != money-500 || got.CardLoad != 500 {
		t.Errorf("%+v", got)
	}
	for _, e := range w.log.entries {
		if e.Object == "6222021234567894" {
			t.Error("a caller's text was recorded")
		}
	}
}

// TestMissesOfWhoHangsUp: a wrong proof counts against its order though the caller
// hung up while it was judged, and one of a caller who is gone is not judged.
func TestMissesOfWhoHangsUp(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(500))
	b, err := w.begin(c, o, mac1)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		w.log.hangUp = cancel
		if _, err := w.service.Confirm(ctx, bank, b.ID, c.name, [4]byte{1, 2, 3, 4}); !errors.Is(err, cryptogram.ErrMismatch) {
			t.Fatal(err)
		}
		if _, err := w.service.Confirm(ctx, bank, b.ID, c.name, [4]byte{1, 2, 3, 4}); !errors.Is(err, context.Canceled) {
			t.Fatalf("a caller who is gone: %v", err)
		}
	}
	w.log.hangUp = nil
	if r, err := w.service.Order(t.Context(), bank, b.ID); err != nil || r.Misses != 10 {
		t.Errorf("%d misses, %v", r.Misses, err)
	}
	if _, err := w.confirm(c, b.ID, [4]byte{1, 2, 3, 4}); !errors.Is(err, load.ErrMisses) {
		t.Errorf("an eleventh guess: %v", err)
	}
}

// TestSteps: the table is total, and no step creates money.
func TestSteps(t *testing.T) {
	for _, kind := range []load.Kind{load.Credit, load.Debit, load.Overdraft} {
		for _, s := range load.States {
			for _, f := range load.Findings {
				r := load.Record{Order: load.Order{Kind: kind, Account: mine, Amount: 5}, ID: "ldAAAAAAAAAAAAAAAAAAAAAAAAAA", State: s}
				next, moves := r.Next(f)
				if next.State == "" {
					t.Errorf("%s %s %s: no next state", kind, s, f)
				}
				if next.State == s && len(moves) > 0 || kind == load.Overdraft && len(moves) > 0 {
					t.Errorf("%s %s %s: money moves without a step", kind, s, f)
				}
				for _, m := range moves {
					if err := m.Check(); err != nil {
						t.Errorf("%s %s %s: %v", kind, s, f, err)
					}
				}
			}
		}
	}
}

// TestNumbersAreNoAccounts: a card number in the place of an account reaches
// neither the database, whose log would have it, nor the record.
func TestNumbersAreNoAccounts(t *testing.T) {
	w := newWorld(t)
	for _, id := range []token.WalletID{"6212021234567894", "a\x00b", ""} {
		if _, err := w.service.Orders(t.Context(), bank, load.Filter{Account: id, Limit: 1}); fault.KindOf(err) != fault.WalletUnknown {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, e := range w.log.entries {
		if e.Object != "" {
			t.Errorf("recorded %q", e.Object)
		}
	}
}
