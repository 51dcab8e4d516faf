package account_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// orderInDatabase stores the same facts in many orders and splits, for a wallet
// of its own each time, and compares what the database then holds.
func orderInDatabase(t *testing.T, db *store.DB) {
	random := rand.New(rand.NewPCG(9, 10))
	now := dayEnd.Add(-time.Hour)
	d := tapdb.New(db, func() time.Time { return now })
	for round := range 6 {
		steps, all := facts(random, 3)
		want := ""
		for order := range 4 {
			id := token.WalletID(fmt.Sprintf("wl%s%c%c", strings.Repeat("A", 24), 'A'+round, 'A'+order))
			ref := token.Ref(fmt.Sprintf("tr%s%c%c", strings.Repeat("A", 24), 'A'+round, 'A'+order))
			now = dayEnd.Add(-time.Hour)
			seed(t, db, d, id, ref)
			var batch []account.Evidence
			flush := func() {
				if _, err := d.Record(t.Context(), batch, nil); err != nil {
					t.Fatal(err)
				}
				batch = nil
			}
			for _, s := range arrange(random, steps, 3) {
				switch {
				case s.e != nil:
					e := *s.e
					e.Ref = ref
					batch = append(batch, e)
				case s.says != nil:
					if _, err := d.Told(t.Context(), ref, account.Word{Reports: []account.Report{*s.says}, At: dayEnd.Add(-time.Hour), Heard: dayEnd.Add(-time.Hour)}, nil, nil); err != nil {
						t.Fatal(err)
					}
				case s.free:
					flush()
					now = dayEnd.Add(25 * time.Hour)
					if _, err := d.Release(t.Context(), dayEnd); err != nil {
						t.Fatal(err)
					}
				}
				if random.IntN(3) == 0 {
					flush()
				}
			}
			flush()
			got := printed(t, db, id, ref)
			if want == "" {
				want = got
			}
			if got != want || len(all) == 0 {
				t.Fatalf("round %d: one order gives\n%sanother\n%s", round, want, got)
			}
		}
	}
}

// seed opens a wallet with 2000 fen beside three slots, and returns the sync that granted
// them and its answer.
func seed(t *testing.T, db *store.DB, d *tapdb.DB, id token.WalletID, ref token.Ref) (account.SyncEnd, account.Settlement) {
	t.Helper()
	_, err := d.Open(t.Context(), "test", accessNone, account.Wallet{ID: id, Requestor: "12345678901", State: account.WalletActive, OpenedAt: dayEnd, ChangedAt: dayEnd})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Happen(t.Context(), id, account.Happening{ID: "a", Kind: account.TopUp, Amount: 5000}); err != nil {
		t.Fatal(err)
	}
	if err := d.Bind(t.Context(), account.Binding{Wallet: id, Ref: ref, Device: device, NotAfter: dayEnd}); err != nil {
		t.Fatal(err)
	}
	terms := account.Terms{Limit: 10000, Ceiling: 20000, KeyVersion: 1, Layout: layout(3, 1000)}
	r := account.SyncRequest{Wallet: id, Ref: ref, ID: "s", Clock: dayEnd.Add(-2 * time.Hour), Terms: terms}
	if _, _, err := d.BeginSync(t.Context(), r, dayEnd.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	e := account.SyncEnd{Request: r, Taken: 3, NotAfter: dayEnd}
	s, err := d.FinishSync(t.Context(), e)
	if err != nil || s.Grant == nil || len(s.Grant.Slots) != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	// The facts are about slots whose descriptor is fixed.
	ud := newWorld(0, false, 0, 0, 0)
	err = db.Tx(t.Context(), func(tx *gorm.DB) error {
		for _, l := range ud.lots {
			b := l.UD.Bytes()
			if err := tx.Exec("UPDATE slots SET ud = ? WHERE token_ref = ? AND ctr = ?", b[:], string(ref), l.Ctr()).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, s
}

// printed is what the database holds of one wallet.
func printed(t *testing.T, db *store.DB, id token.WalletID, ref token.Ref) string {
	t.Helper()
	var rows []string
	err := db.Read(t.Context()).Raw(`SELECT ctr || ' ' || state || ' ' || charged || ' ' || charged_part || ' ' || party || ' ' || suspended || ' ' ||
		fraud || ' ' || fraud_party || ' ' || discarded_at AS line FROM slots WHERE token_ref = ? ORDER BY ctr`, string(ref)).Scan(&rows).Error
	if err != nil {
		t.Fatal(err)
	}
	var taps []string
	err = db.Read(t.Context()).Raw(`SELECT ctr || ' ' || outcome || ' ' || sources || ' ' || late || ' ' || reporter || ' ' || moment || ' ' || amount || ' ' || fresh || ' ' || owned || ' ' || rival AS line
		FROM taps WHERE token_ref = ? ORDER BY ctr, outcome, moment, amount, sources, reporter, late, fresh`, string(ref)).Scan(&taps).Error
	if err != nil {
		t.Fatal(err)
	}
	balances, err := ledgerdb.Balances(db.Read(t.Context()), id)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := ledgerdb.Sums(db.Read(t.Context()), id)
	if err != nil {
		t.Fatal(err)
	}
	var all int64
	for _, n := range sums {
		all += n
	}
	if all != 0 || sums[ledger.Available] != balances[id].Available || sums[ledger.Reserve] != balances[id].Reserve {
		t.Errorf("%+v and %v", balances[id], sums)
	}
	return fmt.Sprintf("%q\n%q\n%+v\n%v\n", rows, taps, balances[id], sums)
}
