package guessdb_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

type none struct{}

func (none) Record(context.Context, audit.Entry) error { return nil }
func (none) IsToken([10]byte) bool                     { return false }

// world is two processes over one database.
type world struct {
	*testing.T
	nodes  [2]*cardhost.Service
	now    atomic.Int64
	keys   *softkey.Ring
	judged judging
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	w := &world{T: t, keys: &softkey.Ring{}}
	w.now.Store(time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC).UnixMilli())
	clock := func() time.Time { return time.UnixMilli(w.now.Load()) }
	for i, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.TACMaster} {
		if err := w.keys.ImportScratch(t.Context(), keyref.Ref{Realm: "transit", Usage: u, Version: 1}, make([]byte, 16+0*i)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := cryptogram.ParseFactorRule("asn8")
	if err != nil {
		t.Fatal(err)
	}
	w.judged.Keys = w.keys
	for i := range w.nodes {
		w.nodes[i], err = cardhost.New(cardhost.Config{Keys: &w.judged, Gate: audit.Gate{Recorder: none{}}, Tokens: none{},
			Realms: []cryptogram.Scheme{{Realm: "transit", Factors: []cryptogram.FactorRule{f}, Algorithms: map[byte]string{0: cryptogram.TDES},
				KeyVersions: map[byte]uint8{1: 1}, TAC: cryptogram.TACFold, OverdraftTAC: cryptogram.TACFold}},
			Guesses: guess.New(guessdb.New(db, clock), nil, clock), Name: func(_ context.Context, c cardhost.Card) (guess.Name, error) {
				return sha256.Sum256(append(c.Issuer[:], c.ASN[:]...)), nil
			}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func card(n byte) cardhost.Card {
	return cardhost.Card{Realm: "transit", ASN: [10]byte{0x31, 9: n}, KeyVersion: 1}
}

func caller(id string) access.Caller {
	return access.Caller{ID: id, Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
}

func at() cryptogram.DateTime {
	d, _ := cryptogram.ParseDateTime("20260301", "083059")
	return d
}

// guess shows a MAC2 of a card to a node; a good one when right is set.
func (w *world) guess(node int, id string, c cardhost.Card, right bool) error {
	w.Helper()
	q := w.check(c, right)
	return w.nodes[node].PurchaseVerify(w.Context(), caller(id), c, q.Purchase, q.Proof)
}

// check is a purchase of a card with a MAC2, a good one when right is set.
func (w *world) check(c cardhost.Card, right bool) cardhost.PurchaseCheck {
	w.Helper()
	p := cryptogram.Purchase{Seq: 7, Amount: 200, Type: cryptogram.PurchasePurse, At: at()}
	proof := cardhost.PurchaseProof{MAC2: [4]byte{0xBA, 0xD0, 0xBA, 0xD0}}
	if right {
		key, err := (cryptogram.Scheme{Realm: "transit", Factors: []cryptogram.FactorRule{factor()}, Algorithms: map[byte]string{0: cryptogram.TDES},
			KeyVersions: map[byte]uint8{1: 1}}).Key(keyref.PurchaseMaster, cryptogram.Card{ASN: c.ASN}, 1, 0)
		if err != nil {
			w.Fatal(err)
		}
		if _, proof.MAC2, err = cryptogram.PurchaseMACs(w.Context(), w.keys, key, p); err != nil {
			w.Fatal(err)
		}
	}
	return cardhost.PurchaseCheck{Card: c, Purchase: p, Proof: proof}
}

func factor() cryptogram.FactorRule {
	f, _ := cryptogram.ParseFactorRule("asn8")
	return f
}

// TestTwoNodesCountTogether: a guesser is stopped at 32 whichever node it asks,
// is told truly until when, and locks nobody else out of the card.
func TestTwoNodesCountTogether(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		w := newWorld(t, db(t))
		judged := 0
		for i := range 200 {
			err := w.guess(i%2, "thief", card(1), false)
			switch {
			case errors.Is(err, cryptogram.ErrMismatch):
				judged++
			case !errors.Is(err, guess.ErrMisses):
				t.Fatal(err)
			case fault.Wait(err) != 4*time.Hour: // to the end of the day, UTC
				t.Fatalf("to wait: %v", fault.Wait(err))
			}
		}
		if judged != guess.Max {
			t.Errorf("%d guesses were judged", judged)
		}
		for node := range w.nodes {
			if err := w.guess(node, "thief", card(1), true); !errors.Is(err, guess.ErrMisses) {
				t.Errorf("a right guess after too many: %v", err)
			}
			if err := w.guess(node, "thief", card(2), true); err != nil {
				t.Errorf("another card: %v", err)
			}
			if err := w.guess(node, "gate", card(1), true); err != nil {
				t.Errorf("the holder at another reader: %v", err)
			}
		}
		w.now.Add((4 * time.Hour).Milliseconds())
		if err := w.guess(0, "thief", card(1), true); err != nil {
			t.Errorf("the next day: %v", err)
		}
	})
}

// TestOtherSpellings: a card's number written otherwise, with the same keys, is
// the same card to who counts.
func TestOtherSpellings(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	judged := 0
	for i := range 200 {
		c := card(1)
		c.ASN[0], c.ASN[1], c.Issuer[i%8] = byte(i), 0x77, byte(i) // of none of them the keys are made
		if err := w.guess(i%2, "thief", c, false); errors.Is(err, cryptogram.ErrMismatch) {
			judged++
		} else if !errors.Is(err, guess.ErrMisses) {
			t.Fatal(err)
		}
	}
	if judged != guess.Max {
		t.Errorf("%d guesses were judged", judged)
	}
}

// TestAllCardsTogether: who guesses a little at each of many cards is stopped as
// well.
func TestAllCardsTogether(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	judged := 0
	for i := range 40 * 31 {
		if err := w.guess(i%2, "thief", card(byte(i%40)), false); errors.Is(err, cryptogram.ErrMismatch) {
			judged++
		} else if !errors.Is(err, guess.ErrMisses) {
			t.Fatal(err)
		}
	}
	if judged != guess.MaxAll {
		t.Errorf("%d guesses were judged", judged)
	}
}
