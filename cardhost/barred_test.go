package cardhost_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/guess"
)

// strict bars a caller from a card, or from all of them, by the first MAC that does not
// hold.
type strict struct {
	guess.Counts
	mu  sync.Mutex
	all bool // from all cards
	now guess.Standing
}

func (s *strict) Standing(context.Context, string) (guess.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, nil
}

func (s *strict) Miss(_ context.Context, _ string, n guess.Name) (guess.Standing, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = guess.Standing{Total: 1, Barred: map[guess.Name]bool{n: true}}
	if s.all {
		s.now.Total = guess.MaxAll
	}
	return s.now, false, nil
}

// bounded is a service over such counts, and the MAC2 of a purchase at a card.
func bounded(t *testing.T, all bool) (*cardhost.Service, *record, func(cardhost.Card) [4]byte) {
	t.Helper()
	keys, scheme := new(softkey.Ring), realm("transit", cryptogram.TACFold, "issuer8", "asn8")
	_, r := service(t, keys, scheme)
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: r}, Realms: []cryptogram.Scheme{scheme}, Tokens: prefix(0x91),
		Guesses: guess.New(&strict{all: all}, nil, nil),
		Name:    func(_ context.Context, c cardhost.Card) (guess.Name, error) { return guess.Name{c.ASN[9]}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return s, r, func(c cardhost.Card) [4]byte {
		k, err := scheme.Key(keyref.PurchaseMaster, cryptogram.Card{Issuer: c.Issuer, ASN: c.ASN}, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, mac2, err := cryptogram.PurchaseMACs(t.Context(), keys, k, purchase())
		if err != nil {
			t.Fatal(err)
		}
		return mac2
	}
}

// TestBarred: who is barred from a card gets nothing of it any more, not even MAC1, and
// that is recorded; other cards go on.
func TestBarred(t *testing.T) {
	s, log, mac2 := bounded(t, false)
	another := card
	another.ASN[9]++
	verify := func(c cardhost.Card, mac2 [4]byte) error {
		return s.PurchaseVerify(t.Context(), terminal, c, purchase(), cardhost.PurchaseProof{MAC2: mac2})
	}
	if err := verify(card, mac2(card)); err != nil {
		t.Fatal(err)
	}
	if err := verify(card, [4]byte{}); !errors.Is(err, cryptogram.ErrMismatch) {
		t.Fatal(err)
	}
	for name, call := range map[string]func(c cardhost.Card) error{
		"verify": func(c cardhost.Card) error { return verify(c, mac2(c)) },
		"MAC1": func(c cardhost.Card) error {
			_, err := s.PurchaseMAC1(t.Context(), terminal, c, purchase())
			return err
		},
	} {
		if err := call(another); err != nil {
			t.Errorf("%s at another card: %v", name, err)
		}
		before := len(log.entries)
		if err := call(card); !errors.Is(err, guess.ErrMisses) {
			t.Errorf("%s: %v", name, err)
		}
		if e := log.last(); len(log.entries) != before+1 || e.Reason != "misses" || e.Object != "transit" || e.Action != access.PurchaseMake {
			t.Errorf("%s: recorded %+v", name, e)
		}
	}
}

// TestBatchTellsNothingTooMuch: which of a batch hold is taken back at cards that its
// caller was barred from by the others, and kept at others; a caller who is barred from
// all gets no answer at all.
func TestBatchTellsNothingTooMuch(t *testing.T) {
	another := card
	another.ASN[9]++
	for _, all := range []bool{false, true} {
		s, log, mac2 := bounded(t, all)
		check := func(c cardhost.Card, mac2 [4]byte) cardhost.PurchaseCheck {
			return cardhost.PurchaseCheck{Card: c, Purchase: purchase(), Proof: cardhost.PurchaseProof{MAC2: mac2}}
		}
		errs, err := s.PurchaseVerifyBatch(t.Context(), terminal, []cardhost.PurchaseCheck{check(card, mac2(card)), check(another, mac2(another)), check(card, [4]byte{})})
		if all {
			if e := log.last(); !errors.Is(err, guess.ErrMisses) || e.Reason != "misses" || e.Object != "batch" {
				t.Errorf("barred from all: %v, recorded %+v", err, e)
			}
			continue
		}
		if err != nil || !errors.Is(errs[0], guess.ErrMisses) || errs[1] != nil || errs[2] == nil {
			t.Errorf("barred from one: %v, %v", errs, err)
		}
		if e := log.last(); e.Reason != "misses" || e.Object != "transit" {
			t.Errorf("recorded %+v", e)
		}
	}
}

// TestGuessesNeedNames: guesses that nothing names would all be one card's.
func TestGuessesNeedNames(t *testing.T) {
	if _, err := cardhost.New(cardhost.Config{Guesses: guess.New(&strict{}, nil, nil)}); err == nil {
		t.Error("it is made")
	}
}

// TestOverdraftsHaveTheirMode: a realm that declines TACs of overdrafts computes others,
// and the other way round.
func TestOverdraftsHaveTheirMode(t *testing.T) {
	for _, tc := range []struct{ others, overdrafts cryptogram.TACMode }{{cryptogram.TACFold, cryptogram.TACRefuse}, {cryptogram.TACRefuse, cryptogram.TACFold}} {
		scheme := realm("transit", tc.others, "issuer8", "asn8")
		scheme.OverdraftTAC = tc.overdrafts
		s, _ := service(t, new(softkey.Ring), scheme)
		for _, q := range []struct {
			of   cryptogram.Receipted
			mode cryptogram.TACMode
		}{{purchase(), tc.others}, {cryptogram.Load{Type: cryptogram.LoadPurse, At: at}, tc.others}, {cryptogram.Overdraft{At: at}, tc.overdrafts}} {
			want := cryptogram.ErrMismatch
			if q.mode == cryptogram.TACRefuse {
				want = cryptogram.ErrNoKey
			}
			if err := s.TACVerify(t.Context(), issuer, card, q.of, [4]byte{}); !errors.Is(err, want) {
				t.Errorf("%T with %+v: %v, want %v", q.of, tc, err, want)
			}
		}
	}
}
