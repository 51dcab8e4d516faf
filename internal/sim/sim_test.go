package sim_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/keyceremony"
	"github.com/tapvault/tapvault/terminal"
)

var shanghai = time.FixedZone("UTC+8", 8*3600)

// requestToken asks for today's token of a test card.
func requestToken(t *testing.T, l *lab.Lab) wire.Token {
	t.Helper()
	tok, err := l.Client(t, "issuer").RequestToken(t.Context(), wire.TokenRequest{
		PAN: wire.NewDigits("6212345678901232"), PANExpiry: "3012", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func newReader(t *testing.T, l *lab.Lab, edit func(*sim.ReaderConfig)) *sim.Reader {
	t.Helper()
	sam, err := hsm.Open(t.Context(), l.PSAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sam.Close() })
	if err := sam.Require(t.Context(), keyceremony.PSAMKeys(lab.Realm)...); err != nil {
		t.Fatal(err)
	}
	cfg := sim.ReaderConfig{Client: l.Client(t, "terminal"), Keys: sam, Realm: lab.Realm,
		Terminal: [6]byte{0, 0, 0, 0, 0, 1}, Dir: t.TempDir(), Zone: shanghai, Now: l.Now}
	if edit != nil {
		edit(&cfg)
	}
	r, err := sim.NewReader(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestTokenToPosting(t *testing.T) {
	l := lab.New(t, lab.Options{})
	tok := requestToken(t, l)
	cfg := sim.HandsetConfig{Dir: t.TempDir(), Now: l.Now}
	h, err := sim.Provision(t.Context(), l.Client(t, "wallet"), tok.Ref, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Client(t, "issuer").Token(t.Context(), tok.Ref); err != nil || got.State != "ACTIVE" {
		t.Fatalf("after the acknowledgement: %s, %v", got.State, err)
	}
	reader := newReader(t, l, nil)
	if _, err := reader.Tap(t.Context(), h, 200); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil { // the phone is switched off and on
		t.Fatal(err)
	}
	if h, err = sim.OpenHandset(cfg); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Live() != h.Slots-1 {
		t.Fatalf("%d of %d slots live", h.Live(), h.Slots)
	}
	if _, err := reader.Tap(t.Context(), h, 300); err != nil {
		t.Fatal(err)
	}
	got, err := reader.Upload(t.Context())
	if err != nil || len(got) != 2 || reader.Pending() != 0 {
		t.Fatalf("%+v, %v; %d wait", got, err, reader.Pending())
	}
	for _, r := range got {
		if r.Outcome != "POSTED" || r.TapID == "" {
			t.Errorf("%+v", r)
		}
	}
	if again, err := reader.Upload(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("nothing to upload: %+v, %v", again, err)
	}
	if strings.Contains(l.Logs.String(), tok.Number) {
		t.Error("the service logged a token number")
	}
}

func TestOldReaderBurnsNoSlot(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h, err := sim.Provision(t.Context(), l.Client(t, "wallet"), requestToken(t, l).Ref, sim.HandsetConfig{Dir: t.TempDir(), Now: l.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	old := newReader(t, l, func(c *sim.ReaderConfig) { c.Old = true })
	if _, err := old.Tap(t.Context(), h, 200); !errors.Is(err, terminal.Card) || h.Live() != h.Slots {
		t.Errorf("%v, %d of %d slots live", err, h.Live(), h.Slots)
	}
}

func TestSuspendedTokenGetsNoBundle(t *testing.T) {
	l := lab.New(t, lab.Options{})
	tok := requestToken(t, l)
	if _, err := l.Client(t, "issuer").Suspend(t.Context(), tok.Ref, "test"); err != nil {
		t.Fatal(err)
	}
	_, err := sim.Provision(t.Context(), l.Client(t, "wallet"), tok.Ref, sim.HandsetConfig{Dir: t.TempDir(), Now: l.Now})
	if !client.IsProblem(err, "token-suspended") {
		t.Errorf("%v", err)
	}
}

// TestDeferredTapComesAgain: a tap of which something that is stored cannot be read stays with its reader, those of others
// are paid, and it is paid when the row is mended and the reader sends it again.
func TestDeferredTapComesAgain(t *testing.T) {
	l := lab.New(t, lab.Options{})
	db, err := assembly.OpenStore(t.Context(), l.Config, l.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var cfg sim.ReaderConfig
	reader := newReader(t, l, func(c *sim.ReaderConfig) { cfg = *c })
	var bad wire.Token
	for range 2 { // the first one is
		tok := requestToken(t, l)
		if bad.Ref == "" {
			bad = tok
		}
		h, err := sim.Provision(t.Context(), l.Client(t, "wallet"), tok.Ref, sim.HandsetConfig{Dir: t.TempDir(), Now: l.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := reader.Tap(t.Context(), h, 200); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Exec(t, db, "UPDATE tokens SET controls = '{' WHERE ref = ?", bad.Ref)
	outcomes := func(r *sim.Reader) (all []string) {
		t.Helper()
		got, err := r.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			all = append(all, r.Outcome)
		}
		return all
	}
	if got := outcomes(reader); !slices.Equal(got, []string{"DEFERRED", "POSTED"}) || reader.Pending() != 1 {
		t.Fatalf("%v, %d wait", got, reader.Pending())
	}
	if got := outcomes(reader); got != nil {
		t.Errorf("at once: %v", got)
	}
	if logs := l.Logs.String(); !strings.Contains(logs, bad.Ref) || strings.Contains(logs, bad.Number) {
		t.Errorf("the service does not log which token, or logs its number")
	}
	if metrics := string(l.Send(t, http.MethodGet, "/metrics", nil, nil).Body); !strings.Contains(metrics, "\ntapvault_taps_deferred_total 1\n") {
		t.Errorf("%s", metrics)
	}
	storetest.Exec(t, db, "UPDATE tokens SET controls = '' WHERE ref = ?", bad.Ref)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if reader, err = sim.NewReader(t.Context(), cfg); err != nil { // which asks at once
		t.Fatal(err)
	}
	defer reader.Close()
	if got := outcomes(reader); !slices.Equal(got, []string{"POSTED"}) || reader.Pending() != 0 {
		t.Errorf("mended: %v, %d wait", got, reader.Pending())
	}
}
