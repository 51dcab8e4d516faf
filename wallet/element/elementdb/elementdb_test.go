package elementdb_test

import (
	"crypto/rsa"
	"errors"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/elementdb"
	"github.com/tapvault/tapvault/wallet/element/message"
)

var (
	_  element.Store = (*elementdb.DB)(nil)
	at               = time.Date(2026, 4, 1, 4, 0, 0, 0, time.UTC)
)

const id = token.DeviceID("dv00000000000000000000000001")

func one() element.Element {
	return element.Element{ID: id, Serial: message.Serial{1}, Wallet: "wlAAAAAAAAAAAAAAAAAAAAAAAAAA", Client: "c", KeyVersion: 2,
		Key: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, State: element.Fresh, EnrolledAt: at}
}

// TestOnEachDatabase holds both kinds of database to the same.
func TestOnEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*testing.T, *elementdb.DB){"Enrol": enrol, "Scripts": scripts, "AtOnce": atOnce, "Receipts": receipts} {
			t.Run(name, func(t *testing.T) { test(t, elementdb.New(fresh(t))) })
		}
	})
}

func enrol(t *testing.T, d *elementdb.DB) {
	a := access.Attempt{Key: "k"}
	for range 2 {
		e, err := d.Insert(t.Context(), "c", a, one())
		if err != nil || e.ID != id || !e.EnrolledAt.Equal(at) || !e.Key.Equal(one().Key) {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	other := one()
	other.ID = "dv00000000000000000000000002"
	if _, err := d.Insert(t.Context(), "c", access.Attempt{Key: "l"}, other); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("a serial number twice: %v", err)
	}
	if _, err := d.Element(t.Context(), other.ID); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("an element that is not there: %v", err)
	}
}

func scripts(t *testing.T, d *elementdb.DB) {
	put := func(seq uint32, cause string, body byte) bool {
		t.Helper()
		ok, err := d.Put(t.Context(), id, element.Script{Seq: seq, Cause: cause, Verb: message.Issue, Bytes: []byte{body}, At: at, Ref: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if _, err := d.Insert(t.Context(), "c", access.Attempt{}, one()); err != nil {
		t.Fatal(err)
	}
	if put(2, "early", 1) || !put(1, "a", 1) || !put(2, "a", 2) || put(1, "b", 3) || !put(2, "b", 4) {
		t.Error("numbers and causes are not what they were")
	}
	e, err := d.Element(t.Context(), id)
	if err != nil || e.Seq != 2 || e.Ref != "r1" {
		t.Errorf("%+v, %v", e, err)
	}
	s, found, err := d.Script(t.Context(), id, 1)
	if err != nil || !found || s.Bytes[0] != 1 || s.Cause != "a" || !s.At.Equal(at) {
		t.Errorf("%+v, %v, %v", s, found, err)
	}
	if _, found, err := d.Script(t.Context(), id, 3); err != nil || found {
		t.Errorf("a script that was not made: %v, %v", found, err)
	}
	if lost, err := d.Lost(t.Context(), id, 9); err != nil || lost {
		t.Errorf("scripts that were lost where no database was put back: %v, %v", lost, err)
	}
}

// atOnce: of many for one number one is made, and of one cause there is one.
func atOnce(t *testing.T, d *elementdb.DB) {
	if _, err := d.Insert(t.Context(), "c", access.Attempt{}, one()); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			ok, err := d.Put(t.Context(), id, element.Script{Seq: 1, Cause: string(rune('a' + i)), Verb: message.Erase, Bytes: []byte{1}, At: at})
			if err != nil {
				t.Error(err)
			}
			if ok {
				made.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d scripts have one number", made.Load())
	}
}

func receipts(t *testing.T, d *elementdb.DB) {
	if _, err := d.Insert(t.Context(), "c", access.Attempt{}, one()); err != nil {
		t.Fatal(err)
	}
	hear := func(n uint32, r string) element.Element {
		t.Helper()
		e := one()
		e.Number, e.Receipt, e.State, e.Tries, e.Balance = n, []byte(r), element.Issued, 2, 700
		if err := d.Hear(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		e, err := d.Element(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := hear(3, "three"); e.Number != 3 || string(e.Receipt) != "three" || e.Tries != 2 || e.Balance != 700 {
		t.Errorf("%+v", e)
	}
	if e := hear(4, "four"); e.Number != 3 || string(e.Receipt) != "three" {
		t.Errorf("one that is being settled was replaced: %+v", e)
	}
	for n, left := range map[uint32]string{2: "three"} {
		if err := d.Settled(t.Context(), id, n); err != nil {
			t.Fatal(err)
		}
		if e, err := d.Element(t.Context(), id); err != nil || string(e.Receipt) != left {
			t.Errorf("another one was settled: %+v, %v", e, err)
		}
	}
	if err := d.Settled(t.Context(), id, 3); err != nil {
		t.Fatal(err)
	}
	if e := hear(2, "two"); e.Number != 3 || len(e.Receipt) != 0 {
		t.Errorf("an older one was heard: %+v", e)
	}
	if e := hear(4, ""); e.Number != 4 || len(e.Receipt) != 0 {
		t.Errorf("%+v", e)
	}
}
