package vault_test

import (
	"testing"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestContract(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { vaulttest.Run(t, db) })
}
