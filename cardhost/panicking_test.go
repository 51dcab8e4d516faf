package cardhost_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/guess"
)

// barring is counts by which every caller is barred from some other card.
type barring struct{ guess.Counts }

func (barring) Standing(context.Context, string) (guess.Standing, error) {
	return guess.Standing{Total: guess.Max, Barred: map[guess.Name]bool{{1}: true}}, nil
}

// TestNamingThatPanics: where the program fails before a check, the request fails and
// nothing else; the caller may have as much of the card checked as before.
func TestNamingThatPanics(t *testing.T) {
	keys, scheme := new(softkey.Ring), realm("transit", cryptogram.TACFold, "issuer8", "asn8")
	_, r := service(t, keys, scheme)
	broken := true
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: r}, Realms: []cryptogram.Scheme{scheme}, Tokens: prefix(0x91),
		Guesses: guess.New(barring{}, nil, nil), Name: func(context.Context, cardhost.Card) (guess.Name, error) {
			if broken {
				panic("broken")
			}
			return guess.Name{2}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	p := purchase()
	_, mac2, err := cryptogram.PurchaseMACs(t.Context(), keys, path(t, keyref.PurchaseMaster), p)
	if err != nil {
		t.Fatal(err)
	}
	gone, end := context.WithCancel(t.Context())
	end() // waits for nothing
	for range guess.Abreast {
		func() {
			defer func() {
				if v := recover(); v != "broken" {
					t.Errorf("%v", v)
				}
			}()
			_ = s.PurchaseVerify(gone, terminal, card, p, cardhost.PurchaseProof{MAC2: mac2})
		}()
	}
	broken = false
	if err := s.PurchaseVerify(gone, terminal, card, p, cardhost.PurchaseProof{MAC2: mac2}); err != nil {
		t.Errorf("others wait for it: %v", err)
	}
}
