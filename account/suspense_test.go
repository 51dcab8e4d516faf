package account_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// heldLoads are what orders to cards hold.
type heldLoads struct {
	all, astray []account.HeldLoad
	err, down   error
}

func (h *heldLoads) Held(context.Context) ([]account.HeldLoad, error) { return h.all, h.err }

func (h *heldLoads) Astray(context.Context) ([]account.HeldLoad, error) { return h.astray, h.down }

// TestSuspenseIsExplained: a slot or an order to a card that is not what the ledger
// holds of it in SUSPENSE is named.
func TestSuspenseIsExplained(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(12000, account.Opening{})
	tok, tap := l.toldByPhone(w)
	l.pass(tok.NotAfter.Add(25 * time.Hour).Sub(l.vault.Clock.Now()))
	if got := l.sums(w)["SUSPENSE"]; got != 200 {
		t.Fatalf("%d are set aside", got)
	}
	loads := &heldLoads{all: []account.HeldLoad{{ID: "ld1", Want: 5, Found: 7}, {ID: "ld2", Want: 9, Found: 9}}}
	s, err := account.New(account.Config{
		Tokens: l.vault.Writer(), Keys: l.hsm, Journal: l.book, Gate: audit.Gate{Recorder: l.log}, Book: l.book, Loads: loads,
		Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: l.vault.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	bad := func(want ...account.Mismatch) {
		t.Helper()
		r, err := s.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2})
		if err != nil || !slices.Equal(r.Mismatches, want) || !slices.Equal(r.Loads, loads.all) {
			t.Errorf("%+v, %v; want %+v", r, err, want)
		}
	}
	order := account.Mismatch{What: "load", Name: "ld1", Want: 5, Found: 7}
	bad(order)
	storetest.Exec(t, l.db, "UPDATE slots SET suspended = 150 WHERE token_ref = ? AND ctr = ?", string(tok.Ref), tap.Seq)
	slot := account.Mismatch{What: "slot", Name: fmt.Sprintf("%s/%d", tok.Ref, tap.Seq), Want: 150, Found: 200}
	bad(slot, order)
	storetest.Exec(t, l.db, "UPDATE slots SET suspended = 200 WHERE token_ref = ? AND ctr = ?", string(tok.Ref), tap.Seq)
	storetest.Exec(t, l.db, "UPDATE ledger_entries SET purpose = 'card-suspend' WHERE to_account = 'SUSPENSE'")
	slot.Want, slot.Found = 200, 0 // what an order to a card moved is no slot's
	bad(slot, order)
	// What is on its way to a card, and by no order.
	loads.astray = []account.HeldLoad{{ID: "ld3", Want: 0, Found: 40}}
	bad(slot, order, account.Mismatch{What: "card_load", Name: "ld3", Found: 40})
	loads.down = errors.New("the database is silent")
	if _, err := s.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2}); !errors.Is(err, loads.down) {
		t.Error(err)
	}
	loads.err = errors.New("the database is silent")
	if r, err := s.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2}); !errors.Is(err, loads.err) || r.Accounts != nil {
		t.Errorf("%+v, %v", r, err)
	}
}
