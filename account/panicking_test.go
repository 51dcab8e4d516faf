package account_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
)

// fragile is keys and counts of which one panics.
type fragile struct {
	guess.Counts
	keys   account.SlotKeys
	broken string
}

func (f *fragile) SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error) {
	if f.broken == "keys" {
		panic("broken keys")
	}
	return f.keys.SlotKeys(ctx, path, uds)
}

func (f *fragile) Once(ctx context.Context, client string, misses []guess.Miss) (guess.Standing, bool, error) {
	if f.broken == "counts" {
		panic("broken counts")
	}
	return f.Counts.Once(ctx, client, misses)
}

func (f *fragile) Standing(context.Context, string) (guess.Standing, error) {
	return guess.Standing{}, nil
}

// TestJudgingThatPanics: where the program fails while it judges what a caller shows, the
// request fails and nothing else; the caller may have as much of the token judged as
// before.
func TestJudgingThatPanics(t *testing.T) {
	l := newLab(t)
	now := l.vault.Clock.Now
	f := &fragile{Counts: guessdb.New(l.db, now), keys: l.hsm}
	guard := guess.New(f, nil, now)
	s, err := account.New(account.Config{
		Tokens: l.vault.Writer(), Keys: f, Journal: tapdb.New(l.db, now), Gate: audit.Gate{Recorder: l.log}, Guesses: guard,
		Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	forged := l.tap(0, 5)
	forged.MAC2[0] ^= 1
	for _, f.broken = range []string{"keys", "counts"} {
		func() {
			defer func() {
				v := recover()
				if p, ok := v.(*fault.Panicked); ok { // it was in a goroutine of its own
					v = p.Value
				}
				if v != "broken "+f.broken {
					t.Errorf("broken %s: %v", f.broken, v)
				}
			}()
			_, err := s.Upload(t.Context(), gate, "gate-7", []account.Tap{forged})
			t.Errorf("broken %s: it was answered, %v", f.broken, err)
		}()
		gone, end := context.WithCancel(t.Context())
		end() // waits for nothing
		_, leave, err := guard.Enter(gone, gate.ID, map[string]int{forged.Number.Digits(): guess.Abreast})
		if err != nil {
			t.Fatalf("broken %s: others wait for it: %v", f.broken, err)
		}
		leave()
	}
}
