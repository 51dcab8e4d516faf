package account_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// TestPutBack: a database that was put back to an earlier day knows nothing of the slots
// that it handed out since. Who rode with them is no fraud, and pays what it has; who
// pays with slots that were never handed out is one still.
func TestPutBack(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { putBack(t, db(t), db(t)) })
}

func putBack(t *testing.T, from, to *store.DB) {
	keys := hsmtest.New(t, hsmtest.Options{})
	l := walletLabOn(t, from, keys)
	w, tok, known := l.ready()
	fresh := l.open(500, account.Opening{}) // its token has no slots yet
	first := l.bind(fresh)
	back := vaulttest.Saved(t, l.vault)

	ridden := l.ride(tok, known[0])
	l.one(ridden)
	since := l.sync(w, tok.Ref, tierA, words(known, ridden)...).Grant.Slots
	l.happen(fresh, account.TopUp, 20000) // the database forgets this
	both := l.sync(fresh, first.Ref, tierA).Grant.Slots
	back(to, 100)

	g := walletLabOn(t, to, keys)
	g.vault.Clock.Set(l.vault.Clock.Now())
	g.want("a slot of before", g.one(ridden), account.Posted, "")
	tap := g.ride(tok, since[0])
	g.want("a slot handed out since", g.one(tap), account.Posted, "")
	g.want("once more", g.one(tap), account.Duplicate, "")
	g.stands("which is no fraud", w, tok.Ref, account.WalletActive)
	if b := g.funds(w).Balances; b.Available != 20000-10000+800-200 || b.Reserve != 9000 {
		t.Errorf("of 20000, two taps of 200 and nine slots of 1000: %+v", b)
	}
	for i := range 3 {
		g.want("of a token that had none", g.one(g.ride(first, both[i])), account.Posted, "")
	}
	g.stands("which is no fraud either", fresh, first.Ref, account.WalletActive)
	if b := g.funds(fresh).Balances; b != (ledger.Balances{}) {
		t.Errorf("of 500, three taps of 200: %+v", b)
	}

	next := g.sync(w, tok.Ref, tierA, words(known, ridden)...)
	if next.Result != account.SyncClean || next.Grant == nil {
		t.Fatalf("the phone's next sync: %+v", next)
	}
	lost := since[0]
	lost.Ctr++
	spoilt := g.ride(tok, lost)
	spoilt.MAC2[0]++
	spoilt.TAC[0]++
	g.want("a slot handed out since, by who has no key", g.one(spoilt), account.Rejected, account.Forged)
	other := since[0]
	other.Cap++
	g.want("another cap than was issued", g.one(g.ride(tok, other)), account.Rejected, account.CounterRange)
	if got := g.signals(w); len(got) != 1 || got[0] != string(detect.NeverIssued) {
		t.Errorf("signals %v", got)
	}
	forged := next.Grant.Slots[len(next.Grant.Slots)-1]
	forged.Ctr++
	g.want("a slot never handed out", g.one(g.ride(tok, forged)), account.Rejected, account.CounterRange)
	if got := g.signals(w); len(got) != 2 {
		t.Errorf("signals %v", got)
	}
	if s := g.wallet(w).State; s != account.WalletSuspended {
		t.Errorf("a slot never handed out leaves the wallet %s", s)
	}
}

// TestPutBackPhone: a phone that syncs tells of what it paid with slots that were lost; they
// are paid when a terminal tells of them as well.
func TestPutBackPhone(t *testing.T) {
	from, to, keys := storetest.New(t), storetest.New(t), hsmtest.New(t, hsmtest.Options{})
	l := walletLabOn(t, from, keys)
	w, tok, known := l.ready()
	back := vaulttest.Saved(t, l.vault)
	ridden := l.ride(tok, known[0])
	l.one(ridden)
	since := l.sync(w, tok.Ref, tierA, words(known, ridden)...).Grant.Slots
	back(to, 100)

	g := walletLabOn(t, to, keys)
	g.vault.Clock.Set(l.vault.Clock.Now().Add(time.Hour))
	tap := g.ride(tok, since[0])
	g.vault.Clock.Add(time.Minute)
	out := g.sync(w, tok.Ref, tierA, words(append(known, since...), ridden, tap)...)
	if out.Result != account.SyncClean || out.Decisions[1].Outcome != account.Posted || out.Grant == nil {
		t.Errorf("%+v", out)
	}
	if b := g.funds(w).Balances; b.Available != 9000 || b.Reserve != 11000 {
		t.Errorf("before any terminal tells of it: %+v", b)
	}
	g.want("the terminal's record", g.one(tap), account.Duplicate, "")
	g.pass(10 * 24 * time.Hour)
	if b := g.funds(w).Balances; b.Available != 20000-200 || b.Reserve != 0 {
		t.Errorf("in the end: %+v", b)
	}
	g.stands("in the end", w, tok.Ref, account.WalletActive)
}
