package account_test

import (
	"testing"

	"github.com/tapvault/tapvault/account"
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
