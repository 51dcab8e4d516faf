package rig_test

import (
	"os"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
)

var noon = time.Date(2026, 5, 20, 12, 0, 0, 0, time.FixedZone("UTC+8", 8*3600))

// TestRig takes one phone through a day that the simulator's clock makes, on a
// service that is stopped and started in between.
func TestRig(t *testing.T) {
	clock := rig.NewClock(noon)
	r, err := rig.New(t.Context(), rig.Config{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.New(t.Context(), rig.Config{}); err == nil {
		t.Error("two rigs in one process")
	}
	issuer, err := r.Client("issuer")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := issuer.RequestToken(t.Context(), wire.TokenRequest{PAN: wire.NewDigits("6212345678901232"), PANExpiry: "3012", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	wallet, _ := r.Client("wallet")
	h, err := sim.Provision(t.Context(), wallet, tok.Ref, sim.HandsetConfig{Dir: t.TempDir(), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	keys, err := r.PSAM()
	if err != nil {
		t.Fatal(err)
	}
	terminal, _ := r.Client("terminal")
	reader, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: terminal, Keys: keys, Realm: rig.Realm,
		Terminal: [6]byte{0, 0, 0, 0, 0, 1}, Dir: t.TempDir(), Zone: noon.Location(), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	if _, err := reader.Tap(t.Context(), h, 200); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := reader.Upload(t.Context()); err != nil || len(got) != 1 || got[0].Outcome != "POSTED" {
		t.Errorf("uploaded to the service that came back: %+v, %v", got, err)
	}
	clock.To(noon) // it does not go back
	if got := clock.Now(); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("the clock stands at %v", got)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Dir); !os.IsNotExist(err) {
		t.Errorf("the rig's folder stays: %v", err)
	}
	if r, err = rig.New(t.Context(), rig.Config{}); err != nil {
		t.Fatalf("a second one, after the first: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
