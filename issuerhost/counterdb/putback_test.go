package counterdb_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/issuerhost/counterdb"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// putBack: what was used before a database was put back to an earlier day is not good
// again, and a card that went on meanwhile is taken where it stands.
func putBack(t *testing.T, from, to *store.DB) {
	old, now := counterdb.New(from, nil), counterdb.New(to, nil)
	card, moved, token, fresh := [32]byte{1}, [32]byte{2}, [32]byte{3}, [32]byte{4}
	spend := func(d *counterdb.DB, name [32]byte, value uint16, want error) {
		t.Helper()
		if err := d.Spend(t.Context(), "bank", access.Attempt{}, name, value, window); !errors.Is(err, want) {
			t.Errorf("counter %d of %d: %v, want %v", value, name[0], err, want)
		}
	}
	next := func(d *counterdb.DB, name [32]byte) uint16 {
		t.Helper()
		n, err := d.Next(t.Context(), "bank", access.Attempt{}, name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	use := func(d *counterdb.DB, name [32]byte, n uint16, want error) {
		t.Helper()
		if err := d.Use(t.Context(), "bank", access.Attempt{}, name, n); !errors.Is(err, want) {
			t.Errorf("cryptogram %d of %d: %v, want %v", n, name[0], err, want)
		}
	}
	spend(old, card, 40, nil)
	spend(old, moved, 40, nil)
	waits := next(old, token)
	back := vaulttest.Saved(t, vaulttest.On(t, from, vaulttest.New(t).HSM))

	spend(old, card, 45, nil)
	spend(old, card, 50, nil)
	use(old, token, waits, nil)
	since, first := next(old, token), next(old, fresh)
	use(old, token, since, nil)
	use(old, fresh, first, nil)

	back(to, 10)
	spend(now, card, 39, issuerhost.ErrReplayed) // free in the window of then, and may have been used since
	spend(now, card, 51, nil)
	for _, v := range []uint16{45, 50, 48, 51, 40} {
		spend(now, card, v, issuerhost.ErrReplayed)
	}
	spend(now, card, 52, nil)
	spend(now, card, 54, nil)
	spend(now, card, 53, nil) // the window is what it was
	spend(now, moved, 40, issuerhost.ErrReplayed)
	spend(now, moved, 40+window.Ahead+1, nil)
	spend(now, moved, 40+2*window.Ahead+2, issuerhost.ErrJumped)

	use(now, token, waits, issuerhost.ErrReplayed)
	for name, used := range map[[32]byte]uint16{token: since, fresh: first} {
		a, b := next(now, name), next(now, name)
		use(now, name, used, issuerhost.ErrReplayed)
		if b != a+1 {
			t.Errorf("%d and then %d", a, b)
		}
		use(now, name, a, nil)
		use(now, name, b, nil)
	}
}
