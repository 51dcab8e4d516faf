package vpcd_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/vpcd"
	"github.com/tapvault/tapvault/internal/sim/vpcd/pcsctest"
	"github.com/tapvault/tapvault/keyceremony"
)

// phone provisions a phone on a running service.
func phone(t *testing.T, l *lab.Lab) (*sim.Handset, wire.Token) {
	t.Helper()
	tok, err := l.Client(t, "issuer").RequestToken(t.Context(), wire.TokenRequest{
		PAN: wire.NewDigits("6212345678901232"), PANExpiry: "3012", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := sim.Provision(t.Context(), l.Client(t, "wallet"), tok.Ref, sim.HandsetConfig{Dir: t.TempDir(), Now: l.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, tok
}

func reader(t *testing.T, l *lab.Lab) *sim.Reader {
	t.Helper()
	sam, err := hsm.Open(t.Context(), l.PSAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sam.Close() })
	if err := sam.Require(t.Context(), keyceremony.PSAMKeys(lab.Realm)...); err != nil {
		t.Fatal(err)
	}
	r, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: l.Client(t, "terminal"), Keys: sam, Realm: lab.Realm,
		Terminal: [6]byte{0, 0, 0, 0, 0, 7}, Dir: t.TempDir(), Zone: time.FixedZone("UTC+8", 8*3600), Now: l.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// insert keeps the phone in the daemon's reader until the test ends.
func insert(t *testing.T, d *pcsctest.Daemon, card vpcd.Card) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- vpcd.Serve(ctx, vpcd.Config{Addr: d.Addr, Card: card, Retry: 50 * time.Millisecond})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	d.AwaitCard(t)
}

// TestPCSC is a phone seen by programs that know nothing of us: it shows its
// file and its balance, and pays at a real reader through them.
func TestPCSC(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, tok := phone(t, l)
	d := pcsctest.Start(t)
	insert(t, d, h)

	said, err := d.Command(t.Context(), "opensc-tool", "-r", pcsctest.Reader, "-a").CombinedOutput()
	if err != nil || !strings.Contains(strings.ReplaceAll(strings.ToUpper(string(said)), ":", ""), fmt.Sprintf("%X", vpcd.ATR)) {
		t.Fatalf("opensc-tool -a: %s, %v", said, err)
	}
	said, err = d.Command(t.Context(), "opensc-tool", "-r", pcsctest.Reader, "-s", "00:A4:04:00:08:A0:00:00:06:32:01:01:05:00",
		"-s", "00:B0:95:00:1C", "-s", "80:5C:00:02:04").CombinedOutput()
	if err != nil || strings.Count(string(said), "SW1=0x90, SW2=0x00") != 3 {
		t.Fatalf("opensc-tool -s: %s, %v", said, err)
	}

	s := d.Connect(t)
	ask := func(command string) string {
		t.Helper()
		b, _ := hex.DecodeString(command)
		got, err := s.Transmit(t.Context(), b)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return fmt.Sprintf("%X", got)
	}
	ask("00A4040008A00000063201010500")
	if got := ask("00B095001C"); len(got) != 60 || !strings.Contains(got, tok.Number) || !strings.HasSuffix(got, "9000") {
		t.Error("file 0015 does not show the token's number")
	}
	if got := ask("805C000204"); got != "00000FA09000" {
		t.Errorf("balance %s, want four slots of 10 yuan", got)
	}
	if got := ask("00A4040008A00000063201010600"); got != "6A82" {
		t.Errorf("another application was answered %s", got)
	}

	r := reader(t, l)
	if _, err := r.Tap(t.Context(), s, 350); err != nil { // the PSAM accepts MAC2, or this is an error
		t.Fatal(err)
	}
	s.Close()

	d.Stop() // and the reader comes back: so does the card
	d.Run(t)
	d.AwaitCard(t)
	if _, err := r.Tap(t.Context(), d.Connect(t), 1000); err != nil {
		t.Fatal(err)
	}
	got, err := r.Upload(t.Context())
	if err != nil || len(got) != 2 || got[0].Outcome != "POSTED" || got[1].Outcome != "POSTED" {
		t.Errorf("%+v, %v", got, err)
	}
	if h.Live() != h.Slots-2 {
		t.Errorf("%d of %d slots live after two purchases", h.Live(), h.Slots)
	}
}
