package lab_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/token"
)

const (
	loader  = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")
	funding = 1_000_000
)

// bookOf is the database beside the running service, as accounts see it.
func bookOf(t *testing.T, l *lab.Lab) *tapdb.DB {
	t.Helper()
	db, err := assembly.OpenStore(t.Context(), l.Config, l.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	events, err := outbox.New(outbox.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	return tapdb.New(db, l.Now).With(events, account.Rules{Zone: time.UTC})
}

// bank is that database with a funded wallet.
func bank(t *testing.T, l *lab.Lab) (balances func() account.Funds) {
	t.Helper()
	book := bookOf(t, l)
	w := account.Wallet{ID: loader, Requestor: "50110000001", Client: "issuer", State: account.WalletActive, OpenedAt: l.Now(), ChangedAt: l.Now()}
	if _, err := book.Open(t.Context(), "issuer", access.Attempt{}, w); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Happen(t.Context(), loader, account.Happening{ID: "top-up", Kind: account.TopUp, Amount: funding}); err != nil {
		t.Fatal(err)
	}
	return func() account.Funds {
		f, err := book.Funds(t.Context(), loader)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
}

// order is what a published card was loaded with.
func (p published) order() wire.CardLoadOrder {
	return wire.CardLoadOrder{CardOrder: wire.CardOrder{Card: wire.Card{Realm: p.realm(), KeyVersion: 1}, Rand: p.In.Rand, OnlineSeq: p.In.OnlineSeq,
		Balance: p.In.Balance, TermID: p.In.TermID, Date: p.In.Date, Time: p.In.Time, MAC1: p.Out.MAC1}, Amount: p.In.Amount, TxnType: p.In.TxnType}
}

// shown is what the card would show later, and its MAC1.
func (p published) shown(t *testing.T, l wire.CardLoad, seq uint16, balance uint32) wire.CardShown {
	t.Helper()
	ring := &softkey.Ring{}
	ref := keyref.Ref{Realm: p.realm(), Usage: keyref.LoadMaster, Version: 1}
	key, err := hex.DecodeString(p.In.DLK)
	if err == nil {
		err = ring.ImportScratch(t.Context(), ref, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := wire.CardShown{Card: wire.Card{Realm: p.realm(), KeyVersion: 1}, Rand: wire.Hex4{9, 9, 9, 9}, OnlineSeq: seq, Balance: balance, Amount: 1}
	mac1, _, err := cryptogram.LoadMACs(t.Context(), ring, keyref.Path{Key: ref}, cryptogram.Load{Rand: s.Rand, Seq: seq, Balance: balance,
		Amount: 1, Type: cryptogram.Type(p.In.TxnType), Terminal: l.Probe})
	if err != nil {
		t.Fatal(err)
	}
	s.MAC1 = mac1
	return s
}

// TestPublishedLoadsFromAnAccount takes published card logs through orders that
// an account pays for.
func TestPublishedLoadsFromAnAccount(t *testing.T) {
	logs := readPublished(t, "epurse_load_tdes")
	l := labOf(t, logs)
	funds := bank(t, l)
	issuer, other := l.Client(t, "issuer"), l.Client(t, "other-issuer")
	left, proven := int64(funding), 0
	for _, p := range logs {
		q := p.order()
		if _, err := other.LoadCard(t.Context(), string(loader), q); !client.IsProblem(err, "wallet-unknown") {
			t.Errorf("%s: another requestor's account: %v", p.ID, err)
		}
		bad := q
		bad.MAC1 = flip(q.MAC1)
		if _, err := issuer.LoadCard(t.Context(), string(loader), bad); !client.IsProblem(err, "refused") {
			t.Errorf("%s: another MAC1: %v", p.ID, err)
		}
		first, err := issuer.LoadCard(t.Context(), string(loader), q)
		if err != nil || first.MAC2 == nil || *first.MAC2 != p.Out.MAC2 || first.State != "STARTED" {
			t.Fatalf("%s: MAC2 differs from the card's host: %v", p.ID, err)
		}
		again, err := issuer.LoadCard(t.Context(), string(loader), q)
		if err != nil || again.ID != first.ID || *again.MAC2 != p.Out.MAC2 {
			t.Errorf("%s: asked again: %v", p.ID, err)
		}
		left -= int64(p.In.Amount)
		if b := funds().Balances; b.Available != left || b.CardLoad != int64(p.In.Amount) {
			t.Errorf("%s: %+v, want %d left", p.ID, b, left)
		}
		var done wire.CardLoad
		if p.Out.TAC != nil {
			proven++
			done, err = issuer.ConfirmLoad(t.Context(), first.ID, wire.CardProof{Card: q.Card, TAC: *p.Out.TAC})
		} else if p.In.DLK != "" {
			done, err = issuer.ReverseLoad(t.Context(), first.ID, p.shown(t, first, p.In.OnlineSeq+1, p.In.Balance+p.In.Amount))
		}
		if err != nil || done.State != "SETTLED" || done.MAC2 != nil {
			t.Errorf("%s: %s, %v", p.ID, done.State, err)
		}
		if b := funds().Balances; b.Available != left || b.CardLoad != 0 {
			t.Errorf("%s: settled with %+v", p.ID, b)
		}
	}
	if proven < 3 {
		t.Errorf("%d published TACs, at least 3 are known", proven)
	}
}

// TestLostLoads: a published card that never got its answer, and one that shows
// what cannot be.
func TestLostLoads(t *testing.T) {
	logs := readPublished(t, "epurse_load_tdes")[:2]
	l := labOf(t, logs)
	funds := bank(t, l)
	issuer := l.Client(t, "issuer")
	for i, want := range []string{"REVERSED", "SUSPENSE"} {
		p := logs[i]
		first, err := issuer.LoadCard(t.Context(), string(loader), p.order())
		if err != nil {
			t.Fatal(err)
		}
		shown := p.shown(t, first, p.In.OnlineSeq+uint16(i), p.In.Balance) // the second: one further, and nothing loaded
		for range 2 {
			got, err := issuer.ReverseLoad(t.Context(), first.ID, shown)
			if err != nil || got.State != want {
				t.Errorf("%s: %s, %v; want %s", p.ID, got.State, err, want)
			}
		}
		if read, err := issuer.CardLoad(t.Context(), first.ID); err != nil || read.State != want {
			t.Errorf("%s: %+v, %v", p.ID, read, err)
		}
	}
	if b := funds().Balances; b.Available != funding-int64(logs[1].In.Amount) || b.CardLoad != 0 {
		t.Errorf("%+v", b)
	}
	open, err := issuer.CardLoads(t.Context(), string(loader), "SUSPENSE", "", 10)
	if err != nil || len(open.Loads) != 1 || open.Next != "" {
		t.Errorf("%+v, %v", open, err)
	}
	if n := l.Count(t, "cases"); n != 1 {
		t.Errorf("%d cases, want 1", n)
	}
}
