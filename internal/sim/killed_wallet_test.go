package sim_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/token"
)

const (
	killPIN  = "739206"
	killFare = token.Amount(300)
	killTop  = token.Amount(100000)
)

// issuing gives people wallets in a scene.
func (s *scene) issuing() sim.Issuing {
	return sim.Issuing{Issuer: s.issuer, Wallet: s.wallet, Now: func() time.Time { return noon }, Stretch: remembered}
}

// settled sees that a wallet's money is all there: what was topped up is free,
// set aside, or was paid for posted fares.
func settled(t *testing.T, step int, h *sim.Holder, posted int) {
	t.Helper()
	b, err := h.Balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if paid := token.Amount(posted) * killFare; b.Available+b.Reserve+paid != killTop || b.Due != 0 || b.Available > killTop || b.Reserve > killTop {
		t.Errorf("step %d: %d free, %d set aside, %d owed and %d paid of %d", step, b.Available, b.Reserve, b.Due, paid, killTop)
	}
}

// killPurses kills a wallet's phone at every step of a purchase.
func killPurses(t *testing.T) {
	s := newScene(t, false)
	deaths := 0
	for step := 1; ; step++ {
		p, err := s.issuing().Crack(t.Context(), sim.Spec{Card: s.card(), PIN: killPIN, TopUp: killTop})
		if err != nil {
			t.Fatal(err)
		}
		reader := s.open(t) // one for each, so that a slot that is shown again is not refused as seen here
		j := s.purse(t, p)
		j.Step = step
		accepted, killed := 0, false
		for range 3 {
			card, err := listen()
			if err != nil {
				t.Fatal(err)
			}
			j.Addr = card.l.Addr().String()
			c := j.start(t)
			if c.line() == "ready" {
				if err := card.accept(); err != nil {
					t.Fatal(err)
				}
				if _, err := reader.Tap(t.Context(), card, killFare); err == nil {
					accepted++
				}
			}
			_ = card.l.Close()
			if c.end(t) {
				deaths++
				killed = true
			}
			j.Step = 0
		}
		got, err := reader.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		posted := 0
		for _, r := range got {
			if r.Outcome == "POSTED" && r.Reason == "" {
				posted++
			}
		}
		if posted != accepted || accepted < 2 {
			t.Errorf("step %d: %d accepted, %+v", step, accepted, got)
		}
		settled(t, step, p.Holder, posted)
		if state, err := p.State(t.Context()); err != nil || state != "ACTIVE" {
			t.Errorf("step %d: the wallet is %s, %v", step, state, err)
		}
		if !killed {
			break
		}
	}
	if deaths < 10 {
		t.Errorf("only %d deaths: the steps are not reached", deaths)
	}
	t.Logf("%d deaths", deaths)
}

// purse leaves a wallet's phone in a folder.
func (s *scene) purse(t *testing.T, p *sim.Cracked) job {
	t.Helper()
	key, jwe, hardware := p.Taken()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "device.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return job{Role: "purse", Now: noon, Dir: dir, KeyFile: file, Bundle: jwe, Hardware: hardware, Secret: p.Secret(killPIN)}
}

// killSyncs kills the service at every step of a sync. The phone asks again,
// with the same words, and everything is as if nothing had happened.
func killSyncs(t *testing.T) {
	s := newScene(t, true)
	c := s.serve(t, job{Role: "service", Now: noon, Service: s.rig.Child()})
	p, err := s.issuing().Phone(t.Context(), sim.Spec{Card: s.card(), PIN: killPIN, TopUp: killTop})
	if err != nil {
		t.Fatal(err)
	}
	reader := s.open(t)
	c.end(t)
	const rides = 3
	s.sweep(t, sweep{path: "/v1/sync", checked: 2,
		prepare: func(int) {
			if err := p.EnterPIN(killPIN); err != nil {
				t.Fatal(err)
			}
			for range rides {
				if _, err := reader.Tap(t.Context(), p, killFare); err != nil {
					t.Fatal(err)
				}
			}
		},
		act: func() error { _, err := p.Sync(t.Context()); return err },
		check: func(step int) {
			if got, err := p.Sync(t.Context()); err != nil || got.Result != "CLEAN" {
				t.Errorf("step %d: synced again: %+v, %v", step, got, err)
			}
			if got, err := p.Sync(t.Context()); err != nil || got.Slots != 0 || p.Live() != 10 {
				t.Errorf("step %d: another sync gave %d slots, %d are live, %v", step, got.Slots, p.Live(), err)
			}
			settled(t, step, p.Holder, rides*(step-1)) // what only the phone has told is set aside
			if got, err := reader.Upload(t.Context()); err != nil || len(got) != rides {
				t.Errorf("step %d: %+v, %v", step, got, err)
			}
			settled(t, step, p.Holder, rides*step)
		}})
}
