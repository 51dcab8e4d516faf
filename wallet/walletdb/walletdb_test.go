package walletdb_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

var _ wallet.Store = (*walletdb.DB)(nil)

var at = time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC)

func bundle(id string, first uint16) wallet.Bundle {
	return wallet.Bundle{ID: id, Ref: "ref-1", JWE: "a.b." + id, Slots: 2, CtrFirst: first, NotAfter: at.Add(time.Hour)}
}

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*testing.T, *store.DB){
			"Redelivery":        redelivery,
			"NoCounterTwice":    noCounterTwice,
			"Acknowledge":       acknowledge,
			"SameAttemptAtOnce": sameAttemptAtOnce,
		} {
			t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
		}
	})
}

func redelivery(t *testing.T, store *store.DB) {
	db := walletdb.New(store)
	a := access.Attempt{Key: "k1", Digest: [32]byte{1}}
	if _, found, err := db.Find(t.Context(), "c", a); found || err != nil {
		t.Fatalf("%v, %v", found, err)
	}
	if got, err := db.Insert(t.Context(), "c", a, bundle("b1", 1), at); err != nil || got != bundle("b1", 1) {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err := db.Insert(t.Context(), "c", a, bundle("b2", 3), at)
	if err != nil || got != bundle("b1", 1) {
		t.Fatalf("a second try got %+v, %v", got, err)
	}
	if got, found, err := db.Find(t.Context(), "c", a); err != nil || !found || got != bundle("b1", 1) {
		t.Fatalf("%+v, %v, %v", got, found, err)
	}
	if _, err := db.Bundle(t.Context(), "b2"); !errors.Is(err, wallet.ErrUnknown) {
		t.Errorf("the loser was stored: %v", err)
	}
	other := access.Attempt{Key: "k1", Digest: [32]byte{2}}
	if _, _, err := db.Find(t.Context(), "c", other); fault.KindOf(err) != fault.KeyReused {
		t.Errorf("find with another body: %v", err)
	}
	if _, err := db.Insert(t.Context(), "c", other, bundle("b3", 5), at); fault.KindOf(err) != fault.KeyReused {
		t.Errorf("insert with another body: %v", err)
	}
	if _, found, err := db.Find(t.Context(), "another caller", a); found || err != nil {
		t.Errorf("another caller's attempt: %v, %v", found, err)
	}
}

func noCounterTwice(t *testing.T, store *store.DB) {
	db := walletdb.New(store)
	if _, err := db.Insert(t.Context(), "c", access.Attempt{}, bundle("b1", 1), at); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Insert(t.Context(), "c", access.Attempt{}, bundle("b2", 1), at); err == nil {
		t.Error("two bundles hold the same counters")
	}
}

func acknowledge(t *testing.T, store *store.DB) {
	db := walletdb.New(store)
	if err := db.Acknowledge(t.Context(), "b1", at); !errors.Is(err, wallet.ErrUnknown) {
		t.Errorf("unknown bundle: %v", err)
	}
	if _, err := db.Insert(t.Context(), "c", access.Attempt{}, bundle("b1", 1), at); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Acknowledge(t.Context(), "b1", at); err != nil {
			t.Fatal(err)
		}
	}
}

func sameAttemptAtOnce(t *testing.T, store *store.DB) {
	db := walletdb.New(store)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	var wg sync.WaitGroup
	got := make([]wallet.Bundle, 8)
	for i := range got {
		wg.Go(func() {
			b, err := db.Insert(t.Context(), "c", a, bundle(string(rune('a'+i)), uint16(2*i)), at)
			if err != nil {
				t.Error(err)
			}
			got[i] = b
		})
	}
	wg.Wait()
	for _, b := range got {
		if b != got[0] {
			t.Fatal("one attempt got two bundles")
		}
	}
}
