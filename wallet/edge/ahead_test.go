package edge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/wallet/pin"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// TestClockAheadForgetsNothingToCome: a right PIN given to a process whose clock is a
// month ahead does not stand for the month: wrong ones that come after it count.
func TestClockAheadForgetsNothingToCome(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	var down error
	c := r.pcfg
	c.Now = func() time.Time { return r.vault.Clock.Now().Add(30 * 24 * time.Hour) }
	c.Sure = func(context.Context) (time.Time, error) { return r.vault.Clock.Now(), down }
	wrong := r.pin(t, c)
	told := func(what string) {
		t.Helper()
		at, _, err := walletdb.NewPINs(r.db).Since(t.Context(), walletA)
		if now := r.vault.Clock.Now(); err != nil || at.After(now) {
			t.Errorf("%s: the right PIN was given at %v, and it is %v; %v", what, at, now, err)
		}
	}
	for name, give := range map[string]func(*pin.Service) error{
		"verified": func(s *pin.Service) error {
			_, err := s.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN))
			return err
		},
		"changed": func(s *pin.Service) error {
			_, err := s.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, goodPIN)})
			return err
		},
	} {
		r.vault.Clock.Add(time.Hour)
		if err := give(wrong); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		told(name)
	}
	down = errors.New("the database is silent")
	if _, err := wrong.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); !errors.Is(err, down) {
		t.Errorf("without a second clock: %v", err)
	}
}
