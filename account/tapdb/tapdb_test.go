package tapdb_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

var _ account.Journal = (*tapdb.DB)(nil)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// item is record k of a slot; an odd k has a bad TAC.
func item(ref token.Ref, ctr uint16, k byte) account.Evidence {
	at := now().Add(time.Duration(k) * time.Second)
	return account.Evidence{Ref: ref, Moment: at, TACGood: k%2 == 0, Reporter: "gate-7", Received: now(), Tap: account.Tap{
		Terminal: [6]byte{1, 2, 3, 4, 5, k}, Issuer: [8]byte{8, 7, 6, 5, 4, 3, 2, 1},
		UD:   credential.UD{HourExp: 54321, Ctr: ctr, Cap: 100, Class: credential.Medium, KeyVer: 1},
		Rand: [4]byte{0xFF, 0, 0xFF, k / 4}, Seq: ctr, Amount: 1000, Type: cryptogram.PurchaseCAPP, TermSeq: 0xFFFFFFFF,
		At: cryptogram.DateTimeOf(at), KeyVer: 0xFF, AlgID: 0xFE, Balance: 0xFFFFFFFD,
		MAC1: [4]byte{1}, MAC2: [4]byte{2}, TAC: [4]byte{3, 0, 0, k}, ListVersion: 1 << 62,
	}}
}

func mustRecord(t *testing.T, d *tapdb.DB, e ...account.Evidence) []account.Result {
	t.Helper()
	r, err := d.Record(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		for name, test := range map[string]func(*testing.T, store.Config){
			"RoundTrip":      roundTrip,
			"OrderOfArrival": orderOfArrival,
			"TwoProcesses":   twoProcesses,
			"UniquePosting":  uniquePosting,
			"Refusals":       refusals,
			"ForeignRows":    foreignRows,
			"Progress":       progressOf,
			"Owned":          owned,
		} {
			t.Run(name, func(t *testing.T) { test(t, config(t)) })
		}
	})
}

// roundTrip: what is read back is what was recorded.
func roundTrip(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	e := item("trA", 65535, 2)
	r := mustRecord(t, d, e)
	if len(r) != 1 || r[0] != (account.Result{TapID: e.ID(), Outcome: account.Posted}) {
		t.Errorf("%+v", r)
	}
	got, err := d.Entry(t.Context(), "trA", e.ID())
	if err != nil || got.Evidence != e || got.Outcome != account.Posted {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, e)
	}
	for _, q := range [][2]string{{"trB", e.ID()}, {"trA", "0"}} {
		if _, err := d.Entry(t.Context(), token.Ref(q[0]), q[1]); !errors.Is(err, account.ErrNoTap) {
			t.Errorf("%v: %v", q, err)
		}
	}
}

// orderOfArrival records the same set in many orders and ways of batching,
// in a token of its own each time; what is stored must be the same.
func orderOfArrival(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d, random := tapdb.New(db, now), rand.New(rand.NewPCG(3, 4))
	var want []string
	for round := range 40 {
		ref := token.Ref("tr" + string(rune('A'+round)))
		var all []account.Evidence
		for _, k := range random.Perm(8) {
			all = append(all, item(ref, 5, byte(k)))
		}
		for rest := all; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			mustRecord(t, d, rest[:n]...)
			rest = rest[n:]
		}
		var got []string
		err := db.Read(t.Context()).Raw("SELECT outcome || ' ' || moment FROM taps WHERE token_ref = ? ORDER BY moment", string(ref)).Scan(&got).Error
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) || len(got) != 8 {
			t.Fatalf("round %d:\n%v\n%v", round, got, want)
		}
	}
}

// twoProcesses has two journals on one database race for the same slots: the
// database decides who posts.
func twoProcesses(t *testing.T, config store.Config) {
	first := storetest.Open(t, config)
	second, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	var wg sync.WaitGroup
	for _, db := range []*store.DB{first, second} {
		d := tapdb.New(db, now)
		for k := range 4 {
			wg.Go(func() {
				for ctr := range 20 {
					if _, err := d.Record(t.Context(), []account.Evidence{item("trA", uint16(ctr), byte(k))}, nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	var posted, slots int
	row := first.Read(t.Context()).Raw("SELECT COUNT(*), COUNT(DISTINCT ctr) FROM taps WHERE outcome = 'POSTED'").Row()
	if err := row.Scan(&posted, &slots); err != nil || posted != 20 || slots != 20 {
		t.Errorf("%d posted in %d slots, %v", posted, slots, err)
	}
}

// uniquePosting: the rule holds in the database, whatever a program does.
func uniquePosting(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	mustRecord(t, d, item("trA", 5, 0), item("trA", 5, 4))
	err := db.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec("UPDATE taps SET outcome = 'POSTED'").Error })
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		t.Errorf("two posted records in a slot: %v", err)
	}
}

func refusals(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	r := account.Refusal{Ref: "trA", Tap: item("trA", 5, 0).Tap, Reason: account.Forged, Reporter: "gate-7", Received: now()}
	other := r
	other.Reason = account.Late
	for range 2 {
		got, err := d.Record(t.Context(), nil, []account.Refusal{r, other, r})
		if err != nil || len(got) != 0 {
			t.Error(got, err)
		}
	}
	var n int
	if err := db.Read(t.Context()).Raw("SELECT COUNT(*) FROM tap_refusals").Scan(&n).Error; err != nil || n != 2 {
		t.Errorf("%d refusals, %v", n, err)
	}
}

// TestDatabaseFailures: nothing is kept in part, and the error says what kind
// of failure it was.
func TestDatabaseFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps.db")
	db := storetest.Open(t, store.Config{DSN: path})
	mustRecord(t, tapdb.New(db, now), item("trA", 5, 0))
	ro, err := store.Open(t.Context(), store.Config{DSN: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	d := tapdb.New(ro, now)
	if _, err := d.Record(t.Context(), []account.Evidence{item("trA", 6, 0)}, nil); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	if _, err := d.Entry(t.Context(), "trA", item("trA", 5, 0).ID()); err != nil {
		t.Errorf("reading from a read-only database: %v", err)
	}
	full := storetest.Small(t, 60<<10)
	d = tapdb.New(full, now)
	kept := 0
	for err = nil; err == nil && kept < 5000; kept++ {
		batch := []account.Evidence{item("trA", uint16(2*kept), 0), item("trA", uint16(2*kept+1), 0)}
		_, err = d.Record(t.Context(), batch, nil)
	}
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("full: %v", err)
	}
	var rows int
	if err := full.Read(t.Context()).Raw("SELECT COUNT(*) FROM taps").Scan(&rows).Error; err != nil || rows != 2*(kept-1) {
		t.Errorf("%d rows of %d complete batches, %v", rows, kept-1, err)
	}
}

// foreignRows: a row that this program did not write is an error, not a
// panic and not a tap.
func foreignRows(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	e := item("trA", 5, 0)
	mustRecord(t, d, e)
	for column, length := range map[string]int{"ud": 1, "terminal": 2, "tac": 5} {
		storetest.Exec(t, db, "UPDATE taps SET "+column+" = ?", make([]byte, length))
		if _, err := d.Entry(t.Context(), "trA", e.ID()); err == nil {
			t.Errorf("%s: no error", column)
		}
	}
}

// progressOf: a terminal's word never takes an earlier one back, and an estate is
// as far as the terminal of it that is furthest behind.
func progressOf(t *testing.T, c store.Config) {
	db := storetest.Open(t, c)
	d, a, b := tapdb.New(db, now), [6]byte{0x31, 0, 0, 0, 0, 1}, [6]byte{0x31, 0, 0, 0, 0, 2}
	both, none := tapdb.NewEstate(db, a, b), tapdb.NewEstate(db)
	mark := func(terminal [6]byte, hour, want int) {
		t.Helper()
		far, err := d.Mark(t.Context(), terminal, now().Add(time.Duration(hour)*time.Hour), now())
		if err != nil || !far.Equal(now().Add(time.Duration(want)*time.Hour)) {
			t.Errorf("%X is at %v, %v", terminal, far, err)
		}
	}
	estate := func(e *tapdb.Estate, want time.Time) {
		t.Helper()
		if far, err := e.Uploaded(t.Context()); err != nil || !far.Equal(want) {
			t.Errorf("the estate is at %v, %v, not %v", far, err, want)
		}
	}
	estate(both, time.Time{})
	mark(a, 5, 5)
	mark(a, 4, 5)
	mark([6]byte{9}, 1, 1) // of another estate
	estate(both, time.Time{})
	mark(b, 2, 2)
	estate(both, now().Add(2*time.Hour))
	mark(b, 7, 7)
	estate(both, now().Add(5*time.Hour))
	estate(none, time.Time{})
}
