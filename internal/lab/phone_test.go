package lab_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
)

// The card of the tests. Nothing that the service logs or answers as a problem
// may hold its number.
const (
	testPAN    = "6212987654321099"
	testExpiry = "3012"
)

func cardRequest() wire.TokenRequest {
	return wire.TokenRequest{PAN: wire.NewDigits(testPAN), PANExpiry: testExpiry, Location: "03"}
}

// newToken makes a token for the test card.
func newToken(t *testing.T, l *lab.Lab, q wire.TokenRequest) wire.Token {
	t.Helper()
	tok, err := l.Client(t, "issuer").RequestToken(t.Context(), q)
	if err != nil {
		t.Fatalf("requesting a token: %v", err)
	}
	return tok
}

// newPhone provisions a phone under a token.
func newPhone(t *testing.T, l *lab.Lab, ref string, now func() time.Time) *sim.Handset {
	t.Helper()
	h, err := sim.Provision(t.Context(), l.Client(t, "wallet"), ref, sim.HandsetConfig{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// newReader starts a reader with a PSAM of its own.
func newReader(t *testing.T, l *lab.Lab, now func() time.Time) *sim.Reader {
	t.Helper()
	return readerOn(t, l, openPSAM(t, l), 1, now)
}

func openPSAM(t *testing.T, l *lab.Lab) *hsm.Token {
	t.Helper()
	psam, err := hsm.Open(t.Context(), l.PSAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = psam.Close() })
	if err := psam.Require(t.Context(), l.PSAMKeys()...); err != nil {
		t.Fatal(err)
	}
	return psam
}

// readerOn is the reader of a number, whose keys are in psam.
func readerOn(t *testing.T, l *lab.Lab, psam *hsm.Token, number byte, now func() time.Time) *sim.Reader {
	t.Helper()
	days, err := l.Config.Days()
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: l.Client(t, "terminal"), Keys: psam, Realm: lab.Realm,
		Terminal: [6]byte{0x31, 0, 0, 0, 0, number}, Dir: t.TempDir(), Zone: days.Zone, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// noon is midday of a service day, away from its ends.
func noon() time.Time { return time.Date(2026, 5, 20, 12, 0, 0, 0, time.FixedZone("CST", 8*3600)) }

// tapOnce takes one fare, without uploading it.
func tapOnce(t *testing.T, r *sim.Reader, h *sim.Handset) wire.Tap {
	t.Helper()
	got, err := r.Tap(t.Context(), h, 350)
	if err != nil {
		t.Fatalf("tapping: %v", err)
	}
	return sim.WireTap(got)
}

// upload hands in one record.
func upload(t *testing.T, l *lab.Lab, tap wire.Tap) wire.TapResult {
	t.Helper()
	results, err := l.Client(t, "terminal").UploadTaps(t.Context(), "310000000001", []wire.Tap{tap})
	if err != nil {
		t.Fatalf("uploading: %v", err)
	}
	return results[0]
}

func TestOneDay(t *testing.T) {
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now})
	tok := newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, tok.Ref, c.now), newReader(t, l, c.now)
	var tapIDs []string
	for range phone.Slots {
		tapOnce(t, reader, phone)
	}
	if phone.Live() != 0 {
		t.Fatalf("%d slots are left", phone.Live())
	}
	receipts, err := reader.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		if r.Outcome != "POSTED" || r.Reason != "" {
			t.Errorf("a tap was answered %s %s", r.Outcome, r.Reason)
		}
		tapIDs = append(tapIDs, r.TapID)
	}
	for _, id := range tapIDs {
		got, err := l.Client(t, "issuer").Detokenize(t.Context(), wire.DetokenizeRequest{Ref: tok.Ref, TapID: id, Purpose: "settlement"})
		if err != nil || got.PAN.Reveal() != testPAN || got.PANExpiry != testExpiry {
			t.Errorf("settling a tap: %v", err)
		}
	}
	if len(tapIDs) != 4 {
		t.Errorf("%d taps were posted", len(tapIDs))
	}
	l.Stop(t)
	noSecrets(t, l, testPAN)
	if err := l.Start(t); err != nil {
		t.Fatalf("starting again: %v", err)
	}
	if tok, err = l.Client(t, "issuer").Token(t.Context(), tok.Ref); err != nil || tok.State != "ACTIVE" {
		t.Errorf("after a restart: %s, %v", tok.State, err)
	}
}
