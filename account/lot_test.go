package account_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
)

// TestLateRecordFreesNothing: what comes so late that the operator has to claim it frees no
// reserve, and a slot that somebody gave no service for does.
func TestLateRecordFreesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		e    account.Evidence
		free bool
	}{
		"in time":         {account.Evidence{Sources: account.ByTerminal}, true},
		"to be claimed":   {account.Evidence{Sources: account.ByTerminal, Late: account.Manual}, false},
		"refused in time": {account.Evidence{Sources: account.ByFailure}, true},
		"refused late":    {account.Evidence{Sources: account.ByFailure, Late: account.Manual}, false},
		"the phone's":     {account.Evidence{Sources: account.ByPhone}, false},
	} {
		l := &account.Lot{Held: 1000}
		c.e.Tap.Amount, c.e.TACGood = 200, true
		l.Add(c.e)
		if got := l.Target(); got.Free != c.free || (got.Charged > 0) != (c.free && c.e.Sources == account.ByTerminal) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestOnlyMoneyIsSetAside: of what only the phone tells of, no more is set aside than was held:
// the rest was credit, which nobody has.
func TestOnlyMoneyIsSetAside(t *testing.T) {
	for held, want := range map[token.Amount]token.Amount{0: 0, 100: 100, 1000: 200} {
		l := &account.Lot{Held: held, Released: true}
		l.Add(account.Evidence{Sources: account.ByPhone, TACGood: true, Tap: account.Tap{Amount: 200}})
		if got := l.Target(); got.Suspended != want || got.Charged != 0 {
			t.Errorf("of %d held: %+v", held, got)
		}
	}
}

// TestCasesOfNobody: an issuer's client without a requestor is shown no cases, rather than all.
func TestCasesOfNobody(t *testing.T) {
	l := newWalletLab(t)
	nobody := bank
	nobody.Requestor = ""
	if _, err := l.Cases(t.Context(), nobody, "", "", 10); !errors.Is(err, access.ErrDenied) {
		t.Errorf("%v", err)
	}
	if got := l.log.reasons(); !slices.Equal(got, []string{"no-requestor"}) {
		t.Errorf("recorded: %q", got)
	}
}
