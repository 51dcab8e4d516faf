package clientdb_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

func client(t *testing.T, id string) identity.Client {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: &k.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	return identity.Client{ID: id, Name: "Metro line 1", Role: access.Terminal, Terminal: "line-1",
		Scopes: []access.Action{access.TapUpload, access.TerminalRead}, JWK: jwk}
}

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		for name, test := range map[string]func(*testing.T, store.Config){
			"Clients":       clients,
			"EncryptionKey": encryptionKey,
			"SpendOnce":     spendOnce,
			"SpendAhead":    spendAhead,
			"Holders":       holders,
			"ReadOnlyStore": readOnlyStore,
			"ClosedStore":   closedStore,
		} {
			t.Run(name, func(t *testing.T) { test(t, config(t)) })
		}
	})
}

func clients(t *testing.T, config store.Config) {
	now := time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)
	s := clientdb.New(storetest.Open(t, config), func() time.Time { return now })
	c := client(t, "gate-1")
	if err := s.Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.CreatedAt = now
	if got, err := s.Client(t.Context(), "gate-1"); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Add(t.Context(), client(t, "gate-1")); !errors.Is(err, identity.ErrExists) {
		t.Errorf("the same id again: %v", err)
	}
	if got, err := s.Client(t.Context(), "gate-1"); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("the first was changed: %+v, %v", got, err)
	}
	if err := s.Add(t.Context(), identity.Client{ID: "x"}); !errors.Is(err, identity.ErrClient) {
		t.Errorf("half a client: %v", err)
	}
	if _, err := s.Client(t.Context(), "x"); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("an unknown client: %v", err)
	}
	for _, disabled := range []bool{true, false} {
		if err := s.SetDisabled(t.Context(), "gate-2", disabled); !errors.Is(err, identity.ErrUnknown) {
			t.Errorf("disabling who is not there, %t: %v", disabled, err)
		}
	}
	if err := s.SetDisabled(t.Context(), "gate-1", true); err != nil {
		t.Fatal(err)
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 1 || !all[0].Disabled {
		t.Errorf("got %+v, %v", all, err)
	}
}

// encryptionKey: one can be given at registration or later, replaced and taken
// away, and a bad one changes nothing.
func encryptionKey(t *testing.T, config store.Config) {
	s := clientdb.New(storetest.Open(t, config), nil)
	first, second := client(t, "x").JWK, client(t, "x").JWK
	c := client(t, "gate-1")
	c.EncJWK = first
	if err := s.Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	has := func(want []byte) {
		t.Helper()
		if got, err := s.Client(t.Context(), "gate-1"); err != nil || !bytes.Equal(got.EncJWK, want) {
			t.Errorf("the key is %s, %v; want %s", got.EncJWK, err, want)
		}
	}
	has(first)
	if err := s.SetEncryptionKey(t.Context(), "gate-1", second); err != nil {
		t.Fatal(err)
	}
	has(second)
	for name, jwk := range map[string][]byte{"no key": []byte("{}"), "the key it signs with": c.JWK} {
		if err := s.SetEncryptionKey(t.Context(), "gate-1", jwk); !errors.Is(err, identity.ErrClient) {
			t.Errorf("%s: %v", name, err)
		}
	}
	has(second)
	if err := s.SetEncryptionKey(t.Context(), "gate-1", nil); err != nil {
		t.Fatal(err)
	}
	has(nil)
	if err := s.SetEncryptionKey(t.Context(), "nobody", second); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("nobody's key: %v", err)
	}
}

// holders: a client stands for who has its key, while it may act.
func holders(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	s := clientdb.New(db, nil)
	one, other := client(t, "one"), client(t, "other")
	same := one
	same.ID, same.Name = "same", "another name"
	same.JWK = append([]byte(" "), one.JWK...) // spelled otherwise
	for _, c := range []identity.Client{one, same, other} {
		if err := s.Add(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	holder := func(id string) string {
		t.Helper()
		h, err := identity.Holder(t.Context(), s, id)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := holder("one"); h == "" || h != holder("same") || h == holder("other") {
		t.Errorf("one %q, same %q, other %q", h, holder("same"), holder("other"))
	}
	if err := s.SetDisabled(t.Context(), "one", true); err != nil {
		t.Fatal(err)
	}
	if holder("one") != "" || holder("nobody") != "" || holder("corp:alice") != "corp:alice" {
		t.Errorf("disabled %q, nobody %q, another issuer's %q", holder("one"), holder("nobody"), holder("corp:alice"))
	}
	storetest.Exec(t, db, "UPDATE clients SET jwk = ? WHERE id = 'other'", []byte("{"))
	if _, err := identity.Holder(t.Context(), s, "other"); !fault.IsUnreadable(err) || !strings.Contains(err.Error(), "other") {
		t.Errorf("one key that cannot be read: %v", err)
	}
}

// spendOnce: of many at once, one succeeds; and the note outlives the
// store's process.
func spendOnce(t *testing.T, config store.Config) {
	now := time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := clientdb.New(storetest.Open(t, config), clock)
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for range cap(errs) {
		wg.Go(func() { errs <- s.Spend(t.Context(), "a", "1", now.Add(time.Minute)) })
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, identity.ErrSpent) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 16 spent it", won)
	}
	again := clientdb.New(storetest.Open(t, config), clock)
	if err := again.Spend(t.Context(), "a", "1", now.Add(time.Minute)); !errors.Is(err, identity.ErrSpent) {
		t.Errorf("after a restart: %v", err)
	}
	if err := again.Spend(t.Context(), "b", "1", now.Add(time.Minute)); err != nil {
		t.Errorf("another client's: %v", err)
	}
	now = now.Add(2 * time.Minute) // by now the assertion itself has expired
	for i := range 2 {
		if err := again.Spend(t.Context(), "a", "1", now.Add(time.Minute)); (err == nil) != (i == 0) {
			t.Errorf("after its end, try %d: %v", i, err)
		}
	}
}

// spendAhead: a process whose clock is a day ahead of the server's forgets no use of
// an assertion that others noted.
func spendAhead(t *testing.T, config store.Config) {
	right := clientdb.New(storetest.Open(t, config), nil)
	until := time.Now().Add(24 * time.Hour)
	if err := right.Spend(t.Context(), "a", "1", until); err != nil {
		t.Fatal(err)
	}
	ahead := func() time.Time { return time.Now().Add(48 * time.Hour) }
	server := store.IsPostgres(config.DSN)
	config.Now = ahead
	if err := clientdb.New(storetest.Open(t, config), ahead).Spend(t.Context(), "b", "1", ahead().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := right.Spend(t.Context(), "a", "1", until); errors.Is(err, identity.ErrSpent) != server {
		t.Errorf("used again: %v", err)
	}
}

func readOnlyStore(t *testing.T, config store.Config) {
	_ = storetest.Open(t, config)
	config.ReadOnly = true
	db, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	s := clientdb.New(db, nil)
	for name, err := range map[string]error{
		"add":     s.Add(t.Context(), client(t, "gate-1")),
		"disable": s.SetDisabled(t.Context(), "gate-1", true),
		"spend":   s.Spend(t.Context(), "a", "1", time.Now()),
	} {
		if fault.KindOf(err) != fault.StoreReadOnly {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func closedStore(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	s := clientdb.New(db, nil)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client(t.Context(), "a"); err == nil || errors.Is(err, identity.ErrUnknown) {
		t.Errorf("a store that is gone knows who is unknown: %v", err)
	}
	if err := s.Spend(t.Context(), "a", "1", time.Now()); err == nil || errors.Is(err, identity.ErrSpent) {
		t.Errorf("spending: %v", err)
	}
}
