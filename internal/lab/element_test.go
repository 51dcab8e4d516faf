package lab_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/element/applet"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// fob is a key fob of a wallet, with its service and a reader.
type fob struct {
	*testing.T
	l        *lab.Lab
	c        *watch
	phone    *client.Client // of the wallet
	wallet   string
	id       string
	ref      string
	key      *rsa.PrivateKey
	issuer   *ecdsa.PublicKey
	aid      []byte
	memory   *applet.Banks
	e        *applet.Element
	handset  *bundle.Handset // seals PINs
	psam     *hsm.Token      // of every reader
	reader   *sim.Reader
	terminal *client.Client
}

var fobSerial = message.Serial{0xF0, 0xB0, 0, 0, 0, 0, 0, 1}

// newFob enrols a key fob whose wallet has money, and orders its token.
func newFob(t *testing.T, money uint32) *fob {
	t.Helper()
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now, Config: func(c *assembly.Config) {
		c.Slots.ElementKeyVersion = 2
		c.Tiers = map[string]assembly.Tier{"SE": {LimitFen: 5000, CeilingFen: 20000, TokenTTL: 7 * 24 * time.Hour, Express: true, OfflineTerminals: true,
			Slots: []assembly.TierSlots{{Class: "E", CapFen: 500, Count: 2}, {Class: "M", CapFen: 1000, Count: 4}}}}
	}})
	f := &fob{T: t, l: l, c: c, phone: l.Client(t, "wallet"), terminal: l.Client(t, "terminal"), memory: &applet.Banks{}}
	ctx, issuer := t.Context(), l.Client(t, "issuer")
	w, err := issuer.OpenWallet(ctx, wire.WalletRequest{})
	f.must(err)
	f.wallet = w.ID
	_, err = issuer.AccountEvent(ctx, w.ID, wire.AccountEvent{ID: "e1", Type: "TOP_UP", Amount: money})
	f.must(err)
	f.key, err = rsa.GenerateKey(rand.Reader, 2048)
	f.must(err)
	p, err := f.terminal.Parameters(ctx)
	f.must(err)
	if p.ElementKeyVersion != 2 {
		t.Fatalf("readers are told of version %d", p.ElementKeyVersion)
	}
	raw, err := json.Marshal(p.CredentialKeys[0])
	f.must(err)
	var jwk jose.JSONWebKey
	f.must(json.Unmarshal(raw, &jwk))
	f.issuer = jwk.Key.(*ecdsa.PublicKey)
	f.aid, err = hex.DecodeString(p.AID)
	f.must(err)
	f.power()
	syncKeys, err := f.phone.SyncKeys(ctx)
	sync := firstKey(t, syncKeys, err)
	pinKeys, err := f.phone.IntakeKeys(ctx)
	f.handset, err = bundle.NewHandset(bundle.HandsetConfig{Wallet: token.WalletID(w.ID), SyncKey: sync, PINKey: firstKey(t, pinKeys, err), Now: c.now})
	f.must(err)
	e, err := f.phone.EnrolElement(ctx, f.enrolment("TRUSTED", "SE"))
	f.must(err)
	f.id = e.ID
	tok := newToken(t, l, cardRequest())
	f.ref = tok.Ref
	_, err = issuer.BindToken(ctx, w.ID, wire.WalletToken{Ref: tok.Ref, Device: e.ID})
	f.must(err)
	f.order(wire.ElementOrder{Verb: "ISSUE", Ref: tok.Ref, PIN: f.sealed("482915")})
	f.psam = openPSAM(t, l)
	f.reader = readerOn(t, l, f.psam, 1, c.now)
	return f
}

func (f *fob) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fob) enrolment(verdict, level string) wire.ElementEnrolment {
	return wire.ElementEnrolment{Wallet: f.wallet, Serial: wire.Hex8(fobSerial), Modulus: f.key.N.Bytes(),
		Attestation: wire.Attestation{Verdict: verdict, Level: level, At: f.c.now().UTC(), PatchLevel: "2026-04", Boot: "VERIFIED", Locked: true, UseCount: "ANY"}}
}

func (f *fob) sealed(pin string) string {
	f.Helper()
	s, err := f.handset.SealPIN(pin)
	f.must(err)
	return s
}

// power takes the fob's power and gives it again.
func (f *fob) power() {
	f.Helper()
	var err error
	f.e, err = applet.New(applet.Config{Serial: fobSerial, Key: f.key, Issuer: f.issuer, AID: f.aid, Memory: f.memory})
	f.must(err)
}

func (f *fob) order(o wire.ElementOrder) {
	f.Helper()
	_, err := f.phone.OrderElement(f.Context(), f.id, o)
	f.must(err)
}

// courier hands in a receipt and fetches a script.
func (f *fob) courier(by *client.Client, receipt []byte) wire.ElementScript {
	f.Helper()
	s, err := by.CarryElement(f.Context(), f.id, wire.ElementCourier{Receipt: receipt})
	f.must(err)
	return s
}

func (f *fob) deliver(script []byte) error { return applet.Deliver(f.Context(), f.e, f.aid, script) }

// receipt is what the fob says; nothing before it was issued.
func (f *fob) receipt() []byte {
	b, err := applet.Fetch(f.Context(), f.e, f.aid)
	if err != nil {
		return nil
	}
	return b
}

// inStep carries until nothing is left, and says how many scripts that took.
func (f *fob) inStep(by *client.Client) (n int) {
	f.Helper()
	for range 10 {
		s := f.courier(by, f.receipt())
		if len(s.Script) == 0 {
			return n
		}
		f.must(f.deliver(s.Script))
		n++
	}
	f.Fatal("the courier never comes to an end")
	return 0
}

// verify enters a PIN.
func (f *fob) verify(pin string) apdu.Status {
	f.Helper()
	_, err := apdu.Send(f.Context(), f.e, apdu.Command{INS: 0xA4, P1: 4, Data: f.aid, Ne: 256})
	f.must(err)
	raw, err := f.e.Transmit(f.Context(), apdu.Command{INS: 0x20, Data: []byte(pin)}.Bytes())
	f.must(err)
	r, err := apdu.ParseResponse(raw)
	f.must(err)
	return r.SW
}

// field is the fob at a reader: it has power of its own, so that a PIN entered
// before is still open.
type field struct{ e *applet.Element }

func (x field) Transmit(ctx context.Context, b []byte) ([]byte, error) { return x.e.Transmit(ctx, b) }

func (f *fob) tap(amount token.Amount) error {
	_, err := f.reader.Tap(f.Context(), field{f.e}, amount)
	f.c.pass(6 * time.Minute)
	return err
}

func (f *fob) upload(n int) {
	f.Helper()
	got, err := f.reader.Upload(f.Context())
	f.must(err)
	if len(got) != n {
		f.Errorf("%d taps are uploaded, want %d", len(got), n)
	}
	for _, r := range got {
		if r.Reason != "" || r.Outcome != "POSTED" && r.Outcome != "DUPLICATE" {
			f.Errorf("a tap is answered %s %s", r.Outcome, r.Reason)
		}
	}
}

func (f *fob) balances(available, reserve uint32) {
	f.Helper()
	b, err := f.l.Client(f.T, "issuer").Balances(f.Context(), f.wallet)
	f.must(err)
	if b.Available != available || b.Reserve != reserve {
		f.Errorf("available %d and reserved %d, want %d and %d", b.Available, b.Reserve, available, reserve)
	}
}

func (f *fob) known() wire.Element {
	f.Helper()
	e, err := f.phone.Element(f.Context(), f.id)
	f.must(err)
	return e
}

// TestElementDay is a key fob's day: issued and loaded over the air through a
// phone and through a terminal, taps with and without its PIN, three wrong ones,
// a script that frees it, and its end.
func TestElementDay(t *testing.T) {
	f := newFob(t, 20000)
	if n := f.inStep(f.phone); n != 2 {
		t.Fatalf("issue and limit took %d scripts", n)
	}
	f.balances(15000, 5000)
	if e := f.known(); e.State != "ISSUED" || e.Balance != 5000 || e.Made != 2 || e.Obeyed != 2 {
		t.Errorf("known as %+v", e)
	}
	if tok, err := f.l.Client(t, "issuer").Token(t.Context(), f.ref); err != nil || tok.State != "ACTIVE" {
		t.Errorf("its token is %s, %v", tok.State, err)
	}
	f.must(f.tap(300))
	f.must(f.tap(300))
	if err := f.tap(300); err == nil {
		t.Error("it pays without a PIN from slots that need one")
	}
	if sw := f.verify("482915"); sw != apdu.OK {
		t.Fatal(sw)
	}
	f.must(f.tap(350))
	f.upload(3)
	f.balances(15000+200+200+650, 3000)
	// A terminal is the courier of what loads it again: as much as it spent.
	if n := f.inStep(f.terminal); n != 1 {
		t.Errorf("loading took %d scripts", n)
	}
	f.balances(20000-950-5000, 5000)
	if e := f.known(); e.Balance != 5000 {
		t.Errorf("loaded to %d", e.Balance)
	}
	// What it paid and nobody uploaded, it tells itself. It is given a slot for it
	// from money that is free; what the old one holds stays until a terminal has
	// said what it was.
	f.must(f.tap(400))
	if n := f.inStep(f.phone); n != 1 {
		t.Errorf("after a tap that only the fob tells of: %d scripts", n)
	}
	f.balances(20000-950-5000-500, 5500)
	f.upload(1)
	if n := f.inStep(f.phone); n != 0 {
		t.Errorf("after the upload: %d scripts", n)
	}
	f.balances(20000-950-400-5000, 5000)
	for range 100 { // idle couriers mint nothing
		if n := f.inStep(f.phone); n != 0 {
			t.Fatalf("an idle courier brings %d scripts", n)
		}
	}
	f.balances(20000-950-400-5000, 5000)

	for _, want := range []apdu.Status{0x63C2, 0x63C1, apdu.Blocked} {
		if sw := f.verify("482916"); sw != want {
			t.Errorf("a wrong PIN: %v, want %v", sw, want)
		}
		f.power()
	}
	if sw := f.verify("482915"); sw != apdu.Blocked {
		t.Errorf("the right PIN when it is blocked: %v", sw)
	}
	f.inStep(f.terminal)
	if e := f.known(); e.Tries != 0 {
		t.Errorf("known with %d tries", e.Tries)
	}
	f.order(wire.ElementOrder{Verb: "UNBLOCK_PIN", PIN: f.sealed("730154")})
	if n := f.inStep(f.terminal); n != 1 {
		t.Errorf("unblocking took %d scripts", n)
	}
	if sw := f.verify("482915"); sw != 0x63C2 {
		t.Errorf("the old PIN: %v", sw)
	}
	if sw := f.verify("730154"); sw != apdu.OK {
		t.Errorf("the new PIN: %v", sw)
	}
	f.must(f.tap(400))
	f.upload(1)
	f.inStep(f.phone)

	f.order(wire.ElementOrder{Verb: "ERASE"})
	if n := f.inStep(f.phone); n != 1 {
		t.Errorf("erasing took %d scripts", n)
	}
	if err := f.tap(100); err == nil {
		t.Error("an erased fob pays")
	}
	if e := f.known(); e.State != "ERASED" || e.Balance != 0 {
		t.Errorf("known as %+v", e)
	}
	f.l.Stop(t)
	noSecrets(t, f.l, "482915")
	noSecrets(t, f.l, "730154")
}

// TestElementCourier: a courier that drops, repeats, reorders and alters moves no
// money, and the next honest one heals it.
func TestElementCourier(t *testing.T) {
	f := newFob(t, 20000)
	first := f.courier(f.phone, nil)
	if again := f.courier(f.terminal, nil); !slices.Equal(again.Script, first.Script) || again.Seq != 1 {
		t.Fatal("a script is delivered in other bytes")
	}
	f.must(f.deliver(first.Script))
	one := f.receipt()
	second := f.courier(f.phone, one)
	again := f.courier(f.terminal, one)     // the same receipt twice
	lost := f.courier(f.phone, f.receipt()) // the script was lost
	blind := f.courier(f.phone, nil)        // and the receipt
	for _, s := range []wire.ElementScript{again, lost, blind} {
		if !slices.Equal(s.Script, second.Script) {
			t.Error("a grant is delivered in other bytes")
		}
	}
	f.balances(15000, 5000)
	for i := range second.Script {
		bad := slices.Clone(second.Script)
		bad[i] ^= 0x10
		if f.deliver(bad) == nil {
			t.Fatalf("byte %d of a script can be changed", i)
		}
	}
	bad := slices.Clone(one)
	bad[14]++ // its number
	if _, err := f.phone.CarryElement(t.Context(), f.id, wire.ElementCourier{Receipt: bad}); err == nil {
		t.Error("an altered receipt is taken")
	}
	f.must(f.deliver(second.Script))
	f.must(f.deliver(second.Script))
	if f.deliver(first.Script) == nil {
		t.Error("an old script is obeyed")
	}
	if n := f.inStep(f.phone); n != 0 {
		t.Errorf("in step, %d scripts come", n)
	}
	// An old receipt after a newer one: nothing happens, and what it asks for is
	// no use to anybody.
	old := f.receipt()
	f.must(f.tap(300))
	f.upload(1)
	next := f.courier(f.phone, f.receipt())
	f.balances(20000-300-5000, 5000)
	f.courier(f.terminal, old)
	f.courier(f.terminal, one)
	f.balances(20000-300-5000, 5000)
	f.must(f.deliver(next.Script))
	if n := f.inStep(f.terminal); n != 0 {
		t.Errorf("in step, %d scripts come", n)
	}
	if b := f.known().Balance; b != 5000 {
		t.Errorf("it holds %d", b)
	}
}

// TestElementNeverMoreThanTheAccount: what all its slots can pay is reserved.
func TestElementNeverMoreThanTheAccount(t *testing.T) {
	f := newFob(t, 1700)
	f.inStep(f.phone)
	b := f.known().Balance
	if b == 0 || b > 1700 {
		t.Errorf("with 1700 fen it may pay %d", b)
	}
	f.balances(1700-b, b)
}

// TestElementRefusals: what is no attested element, or not its own, is refused,
// always in the same words.
func TestElementRefusals(t *testing.T) {
	f := newFob(t, 20000)
	ctx := t.Context()
	var words []string
	refused := func(what string, err error) {
		t.Helper()
		p, ok := err.(*client.Error)
		if !ok || p.Status != 403 {
			t.Errorf("%s: %v", what, err)
			return
		}
		words = append(words, p.Detail)
	}
	for _, a := range [][2]string{{"UNTRUSTED", "SE"}, {"TRUSTED", "TEE"}, {"FAILED", "SE"}} {
		_, err := f.phone.EnrolElement(ctx, f.enrolment(a[0], a[1]))
		refused(a[0]+" "+a[1], err)
	}
	_, err := f.phone.EnrolElement(ctx, f.enrolment("TRUSTED", "SE"))
	refused("a serial number twice", err)
	_, err = f.phone.Element(ctx, "dvAAAAAAAAAAAAAAAAAAAAAAAAAA")
	refused("no element", err)
	_, err = f.phone.OrderElement(ctx, f.id, wire.ElementOrder{Verb: "ISSUE", Ref: newToken(t, f.l, cardRequest()).Ref, PIN: f.sealed("482915")})
	refused("a token that is not bound to it", err)
	_, err = f.phone.OrderElement(ctx, f.id, wire.ElementOrder{Verb: "UNBLOCK_PIN", PIN: f.sealed("123456")})
	refused("a PIN that everybody tries", err)
	_, err = f.phone.CarryElement(ctx, f.id, wire.ElementCourier{Receipt: []byte{0xE2, 1, 2, 3}})
	refused("no receipt", err)
	if len(slices.Compact(words)) != 1 {
		t.Errorf("refusals differ: %q", words)
	}
	if _, err := f.terminal.OrderElement(ctx, f.id, wire.ElementOrder{Verb: "ERASE"}); err == nil {
		t.Error("a terminal orders")
	}
}
