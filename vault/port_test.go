package vault_test

import (
	"testing"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// TestPort takes vaults from either kind of database to either kind.
func TestPort(t *testing.T) {
	server := storetest.Postgres(t)
	kinds := map[string]func(testing.TB) *store.DB{
		"SQLite":     storetest.New,
		"PostgreSQL": func(t testing.TB) *store.DB { return storetest.Open(t, server(t)) },
	}
	for from, a := range kinds {
		for to, b := range kinds {
			t.Run(from+" to "+to, func(t *testing.T) { vaulttest.Port(t, a(t), b(t)) })
		}
		t.Run(from+", went on", func(t *testing.T) { vaulttest.PortLost(t, a(t), a(t)) })
		t.Run(from+", went on from nothing", func(t *testing.T) { vaulttest.PortLostEarly(t, a(t), a(t)) })
		t.Run(from+", refused", func(t *testing.T) { vaulttest.PortRefused(t, a(t), a(t)) })
	}
}
