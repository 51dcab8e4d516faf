package account_test

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestDetectionIsRecorded: what the service does to a token and a wallet without
// being asked is recorded before it is done, and waits while it cannot be.
func TestDetectionIsRecorded(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	by := func() (all []string) {
		l.log.Lock()
		defer l.log.Unlock()
		for _, e := range l.log.entries {
			if e.Caller.ID == "service:detection" && e.Outcome == audit.Allowed {
				all = append(all, string(e.Action)+" "+e.Object+" "+e.Reason)
			}
		}
		return all
	}
	l.log.failing = func(reason string) bool { return reason == "suspended by RISK" || reason == "suspended for RISK" }
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 })) // a fork
	l.stands("while it cannot be recorded", w, tok.Ref, account.WalletActive)
	if _, err := l.Redo(t.Context()); err == nil {
		t.Error("what could not be recorded was done")
	}
	l.log.failing = nil
	l.log.entries = nil
	if _, err := l.Redo(t.Context()); err != nil {
		t.Fatal(fault.KindOf(err), err)
	}
	l.stands("a fork", w, tok.Ref, account.WalletSuspended, token.ByRisk)
	want := []string{"tokens:manage " + string(tok.Ref) + " suspended by RISK", "wallets:manage " + string(w) + " suspended for RISK"}
	for _, x := range want {
		if !slices.Contains(by(), x) {
			t.Errorf("%q is not recorded, but %q", x, by())
		}
	}
}
