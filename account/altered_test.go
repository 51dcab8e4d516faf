package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/token"
)

// TestAlteredBeforeOriginals: a terminal that spoils the TACs of taps made at it is not told
// from wrong PINs. It takes five, minutes apart; each stands under the terminal's name; it is
// paid once for each, whichever came first; and who has no good MAC2 moves nothing.
func TestAlteredBeforeOriginals(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	var taps []account.Tap
	for i := range 5 {
		taps = append(taps, l.ride(tok, slots[i]))
		l.vault.Clock.Add(6 * time.Minute)
	}
	for i, x := range taps {
		forged := wrong(x)
		forged.MAC2[0] ^= 1
		l.want("without its MAC2", l.one(forged), account.Rejected, account.Forged)
		if i < 4 {
			l.one(wrong(x))
			if got := l.wallet(w).State; got == account.WalletSuspended {
				t.Fatalf("suspended after %d", i+1)
			}
		}
	}
	l.one(wrong(taps[4]))
	l.stands("five wrong PINs", w, tok.Ref, account.WalletSuspended, token.ByPINLock)
	all, err := l.Risk(t.Context(), operator, w)
	if err != nil {
		t.Fatal(err)
	}
	named := slices.ContainsFunc(all.Signals, func(f account.Finding) bool {
		return f.Kind == detect.WrongPIN && f.Terminal == taps[0].Terminal
	})
	if !named {
		t.Errorf("the terminal is not named: %+v", all.Signals)
	}
	for _, x := range taps {
		l.one(x)
	}
	if b := l.funds(w).Balances; b.Available+b.Reserve != 20000-5*200 {
		t.Errorf("paid otherwise than once each: %+v", b)
	}
	if r, err := l.Risk(t.Context(), operator, w); err != nil || r.Wrong != 0 {
		t.Errorf("with the originals, %d wrong PINs still count, %v", r.Wrong, err)
	}
	l.invariants()
}
