package lab_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/keyceremony"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// readersOf starts a reader of each class, numbered from 1. They share a token
// for their modules' keys.
func readersOf(t *testing.T, l *lab.Lab, now func() time.Time, classes ...deny.Class) (all []*sim.Reader) {
	t.Helper()
	psam, err := hsm.Open(t.Context(), l.PSAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = psam.Close() })
	if err := psam.Require(t.Context(), keyceremony.PSAMKeys(lab.Realm)...); err != nil {
		t.Fatal(err)
	}
	days, err := l.Config.Days()
	if err != nil {
		t.Fatal(err)
	}
	for i, class := range classes {
		r, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: l.Client(t, "terminal"), Keys: psam, Realm: lab.Realm, Class: class,
			Terminal: [6]byte{0x31, 0, 0, 0, 0, byte(i + 1)}, Dir: t.TempDir(), Zone: days.Zone, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		all = append(all, r)
	}
	return all
}

// TestRevocationAtOnce: who suspends a token has put it on the list that the
// next reader hears, and who resumes it has taken it off.
func TestRevocationAtOnce(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	issuer := l.Client(t, "issuer")
	tok, idle := newToken(t, l, cardRequest()), newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, tok.Ref, w.now), newReader(t, l, w.now)
	tapOnce(t, reader, phone)
	if v := reader.List().Version(); v != 0 || reader.List().Len() != 0 {
		t.Fatalf("version %d before anything happened", v)
	}
	for _, ref := range []string{tok.Ref, idle.Ref} {
		if _, err := issuer.SuspendAs(t.Context(), ref, "HOLDER", "lost"); err != nil {
			t.Fatal(err)
		}
	}
	tapOnce(t, reader, phone) // it has not heard of it yet
	if err := reader.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := reader.List(); list.Len() != 1 { // no device has keys under the other token
		t.Errorf("%d entries", list.Len())
	}
	live := phone.Live()
	if _, err := reader.Tap(t.Context(), phone, 350); !errors.Is(err, terminal.Denied) || phone.Live() != live {
		t.Errorf("a reader that heard the list: %v, %d of %d slots live", err, phone.Live(), live)
	}
	if _, err := issuer.ResumeAs(t.Context(), tok.Ref, "HOLDER", "found"); err != nil {
		t.Fatal(err)
	}
	if err := reader.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := reader.List(); list.Len() != 0 || list.Version() < 2 {
		t.Errorf("version %d of %d entries after it was resumed", list.Version(), list.Len())
	}
	tap := tapOnce(t, reader, phone)
	if tap.ListVersion != reader.List().Version() {
		t.Errorf("the tap says list %d", tap.ListVersion)
	}
	p, err := l.Client(t, "terminal").Parameters(t.Context())
	if err != nil || p.ListVersion != reader.List().Version() {
		t.Errorf("the service says list %d: %v", p.ListVersion, err)
	}
	noSecrets(t, l, testPAN)
}

// TestListWithoutReaders: the list is published though nobody asks, and a
// process that starts again goes on where it was.
func TestListWithoutReaders(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	tok := newToken(t, l, cardRequest())
	newPhone(t, l, tok.Ref, w.now)
	if _, err := l.Client(t, "issuer").Suspend(t.Context(), tok.Ref, "lost"); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); l.Count(t, "deny_versions") == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing was published")
		}
	}
	l.Stop(t)
	if err := l.Start(t); err != nil {
		t.Fatal(err)
	}
	reader := newReader(t, l, w.now)
	if list := reader.List(); list.Version() != 1 || list.Len() != 1 {
		t.Errorf("after a restart: version %d of %d entries", list.Version(), list.Len())
	}
}

// TestOperatorsOrder: an operator stops a stolen module, and everyone.
func TestOperatorsOrder(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	operator, until := l.Client(t, "operator"), noon().UTC().Add(time.Hour)
	phone := newPhone(t, l, newToken(t, l, cardRequest()).Ref, w.now)
	readers := readersOf(t, l, w.now, deny.Gate, deny.Gate)
	stolen, other := readers[0], readers[1]
	order := func(q wire.DenyOrder) {
		t.Helper()
		q.Reason = "drill"
		if _, err := operator.OrderDenial(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		for _, r := range readers {
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	tap := func(r *sim.Reader, want error) {
		t.Helper()
		if _, err := r.Tap(t.Context(), phone, 350); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	number := wire.Hex6{0x31, 0, 0, 0, 0, 1}
	order(wire.DenyOrder{Entry: &wire.DenyEntry{Kind: wire.DenySAM, Terminal: &number, Until: &until}})
	tap(stolen, terminal.Denied)
	tap(other, nil)
	order(wire.DenyOrder{Policy: &wire.DenyPolicy{Cap: 340}})
	tap(other, terminal.OverCap)
	order(wire.DenyOrder{Policy: &wire.DenyPolicy{Profiles: []string{"P"}}})
	tap(other, terminal.Denied)
	order(wire.DenyOrder{Policy: &wire.DenyPolicy{}})
	tap(other, nil)
	if _, err := l.Client(t, "terminal").OrderDenial(t.Context(), wire.DenyOrder{Policy: &wire.DenyPolicy{}, Reason: "x"}); !client.IsProblem(err, "denied") {
		t.Errorf("a terminal orders: %v", err)
	}
}

// TestMerchantOnline: a merchant's terminal asks the service, which knows what
// the terminal's list does not say yet.
func TestMerchantOnline(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	tok := newToken(t, l, cardRequest())
	phone, readers := newPhone(t, l, tok.Ref, w.now), readersOf(t, l, w.now, deny.Merchant, deny.Vehicle)
	shop, vehicle := readers[0], readers[1]
	if _, err := shop.Tap(t.Context(), phone, 900); err != nil {
		t.Fatal(err)
	}
	if receipts, err := shop.Upload(t.Context()); err != nil || len(receipts) != 1 || receipts[0].Outcome != "DUPLICATE" {
		t.Errorf("the tap that was authorized is uploaded: %v, %v", receipts, err)
	}
	if _, err := l.Client(t, "issuer").Suspend(t.Context(), tok.Ref, "lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := shop.Tap(t.Context(), phone, 900); !errors.Is(err, terminal.Declined) {
		t.Errorf("a token that was just suspended: %v", err)
	}
	if _, err := vehicle.Tap(t.Context(), phone, 100); !errors.Is(err, terminal.NoProof) { // its list is of before
		t.Errorf("a vehicle: %v", err)
	}
}

// TestServiceGone: a gate that hears nothing takes less, then nothing.
func TestServiceGone(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	phone, reader := newPhone(t, l, newToken(t, l, cardRequest()).Ref, w.now), newReader(t, l, w.now)
	l.Stop(t)
	for _, tc := range []struct {
		later  time.Duration
		amount token.Amount
		want   error
	}{{20 * time.Minute, 900, nil}, {20 * time.Minute, 510, terminal.OverCap}, {0, 500, nil}} {
		w.pass(tc.later)
		if _, err := reader.Tap(t.Context(), phone, tc.amount); !errors.Is(err, tc.want) {
			t.Errorf("after %v more, %d fen: %v", tc.later, tc.amount, err)
		}
	}
}
