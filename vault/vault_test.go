package vault_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestContract(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { vaulttest.Run(t, db) })
}

// held keeps a transaction open where an event is told in it, until told to go on.
type held struct{ inside, goOn chan struct{} }

func (h held) Emit(*gorm.DB, event.Event) error {
	select {
	case h.inside <- struct{}{}:
		<-h.goOn
	default: // not the first time
	}
	return nil
}

// TestRetireBesideAWrite: while one process retires a version, another is about
// to commit a card under it. Not both of them come through: the row could never
// be opened again.
func TestRetireBesideAWrite(t *testing.T) {
	at := storetest.Postgres(t)(t)
	tok := hsmtest.New(t, hsmtest.Options{Refs: append(vaulttest.Keys(), vaulttest.Second()...)})
	h := held{make(chan struct{}, 1), make(chan struct{})}
	old := vaulttest.On(t, storetest.Open(t, at), tok, func(c *vault.Config) { c.Events = h })
	fresh := vaulttest.On(t, storetest.Open(t, at), tok, func(c *vault.Config) { c.Keys = vault.Keys{Seal: 2, Index: 2, RangeKEK: 2} })
	done, order := make(chan error, 1), old.Order(t, 1)
	go func() {
		_, err := old.Writer().Issue(t.Context(), order, "bank", access.Attempt{})
		done <- err
	}()
	<-h.inside
	retired := fresh.Retire(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1})
	close(h.goOn)
	issued := <-done
	if retired == nil && issued == nil {
		t.Fatal("a card was stored under a version that was retired")
	}
	if !(errors.Is(retired, vault.ErrKeyInUse) || errors.Is(issued, vault.ErrKeyRetired)) {
		t.Fatalf("retiring: %v; issuing: %v", retired, issued)
	}
}

func (h held) EmitAll(tx *gorm.DB, all []event.Event) error {
	for _, e := range all {
		if err := h.Emit(tx, e); err != nil {
			return err
		}
	}
	return nil
}
