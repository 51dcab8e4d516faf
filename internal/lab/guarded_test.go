package lab_test

import (
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
)

// firstKey is the key of a served set that is used first.
func firstKey(t *testing.T, set json.RawMessage, err error) *ecdsa.PublicKey {
	t.Helper()
	var keys jose.JSONWebKeySet
	if err == nil {
		err = json.Unmarshal(set, &keys)
	}
	if err != nil || len(keys.Keys) == 0 {
		t.Fatalf("reading keys: %v", err)
	}
	return keys.Keys[0].Key.(*ecdsa.PublicKey)
}

// publicKey reads a JWK as the wire has it.
func publicKey(t *testing.T, jwk []byte) (k wire.PublicKey) {
	t.Helper()
	if err := json.Unmarshal(jwk, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// syncs brings a handset and its account in step.
func syncs(t *testing.T, l *lab.Lab, h *bundle.Handset, ref string) wire.Synced {
	t.Helper()
	q, err := h.Sync(token.Ref(ref))
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Client(t, "wallet").Sync(t.Context(), wire.Sync{Device: string(q.Device), Signed: q.Signed})
	if err != nil {
		t.Fatalf("syncing: %v", err)
	}
	a := bundle.SyncAnswer{ID: got.ID, Remaining: token.Amount(got.Remaining), At: got.At}
	if b := got.Bundle; b != nil {
		a.BundleID, a.Bundle, a.Hardware = b.ID, b.JWE, b.Hardware
	}
	for _, s := range got.Scripts {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		a.Scripts = append(a.Scripts, b)
	}
	if err := h.Apply(token.Ref(ref), a); err != nil {
		t.Fatal(err)
	}
	return got
}

// guarded is a wallet with money, and a phone with a PIN that holds a token.
type guarded struct {
	t              *testing.T
	lab            *lab.Lab
	clock          *watch
	issuer, phones *client.Client
	wallet, ref    string
	handset        *bundle.Handset
	reader         *sim.Reader
}

// newGuarded opens the wallet, enrols the phone, sets its PIN and gives it a token.
func newGuarded(t *testing.T, pin string) *guarded {
	t.Helper()
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now})
	g := &guarded{t: t, lab: l, clock: c, issuer: l.Client(t, "issuer"), phones: l.Client(t, "wallet")}
	ctx := t.Context()
	w, err := g.issuer.OpenWallet(ctx, wire.WalletRequest{})
	if err != nil {
		t.Fatal(err)
	}
	g.wallet = w.ID
	if _, err := g.issuer.AccountEvent(ctx, w.ID, wire.AccountEvent{ID: "e1", Type: "TOP_UP", Amount: 20000}); err != nil {
		t.Fatal(err)
	}
	device := g.enrol()
	set, err := g.phones.SetPIN(ctx, w.ID, wire.PINSet{PIN: g.sealed(pin)})
	if err != nil {
		t.Fatal(err)
	}
	g.handset.PINChanged(set.Epoch)
	g.ref = newToken(t, l, cardRequest()).Ref
	if _, err := g.issuer.BindToken(ctx, w.ID, wire.WalletToken{Ref: g.ref, Device: device}); err != nil {
		t.Fatal(err)
	}
	if got := g.syncs(); got.Bundle == nil || got.Bundle.Slots != 10 || got.Available != 10000 || got.Reserve != 10000 {
		t.Fatalf("first sync: %+v", got)
	}
	id, mac, _ := g.handset.Ack(token.Ref(g.ref))
	if got, err := g.phones.Ack(ctx, g.ref, wire.Ack{BundleID: id, MAC: mac}); err != nil || got.State != "ACTIVE" {
		t.Fatalf("acknowledged: %s, %v", got.State, err)
	}
	g.reader = newReader(t, l, c.now)
	return g
}

// enrol makes the phone and enrols it.
func (g *guarded) enrol() (device string) {
	g.t.Helper()
	ctx := g.t.Context()
	syncKeys, err := g.phones.SyncKeys(ctx)
	sync := firstKey(g.t, syncKeys, err)
	pinKeys, err := g.phones.IntakeKeys(ctx)
	h, err := bundle.NewHandset(bundle.HandsetConfig{Wallet: token.WalletID(g.wallet), SyncKey: sync, PINKey: firstKey(g.t, pinKeys, err), Now: g.clock.now})
	if err != nil {
		g.t.Fatal(err)
	}
	wrap, sign, err := h.Keys()
	if err != nil {
		g.t.Fatal(err)
	}
	d, err := g.phones.Enrol(ctx, wire.Enrolment{Wallet: g.wallet, WrapKey: publicKey(g.t, wrap), SignKey: publicKey(g.t, sign),
		Attestation: wire.Attestation{Verdict: "TRUSTED", Level: "TEE", At: g.clock.now().UTC(), PatchLevel: "2026-04", Boot: "VERIFIED", Locked: true,
			HardwareMAC: true, UseCount: "ANY", SignP95: 60}})
	if err != nil || d.Tier != "A" || d.Slots != 10 {
		g.t.Fatalf("enrolled as %+v, %v", d, err)
	}
	h.Enrolled(token.DeviceID(d.ID))
	g.handset = h
	return d.ID
}

func (g *guarded) sealed(pin string) string {
	g.t.Helper()
	s, err := g.handset.SealPIN(pin)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *guarded) syncs() wire.Synced {
	g.t.Helper()
	return syncs(g.t, g.lab, g.handset, g.ref)
}

// taps pays with a PIN at the reader; six minutes later is the next tap.
func (g *guarded) taps(pin string) {
	g.t.Helper()
	if err := g.handset.EnterPIN(pin); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.reader.Tap(g.t.Context(), g.handset, 350); err != nil {
		g.t.Fatalf("tapping: %v", err)
	}
	g.clock.pass(6 * time.Minute)
}

// uploads sends the reader's taps, all of which are posted, for one reason.
func (g *guarded) uploads(reason string) {
	g.t.Helper()
	got, err := g.reader.Upload(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	for _, r := range got {
		if r.Outcome != "POSTED" || string(r.Reason) != reason {
			g.t.Errorf("a tap was answered %s %s, want %q", r.Outcome, r.Reason, reason)
		}
	}
}

// verifies gives a PIN online.
func (g *guarded) verifies(pin string) error {
	g.t.Helper()
	_, err := g.phones.VerifyPIN(g.t.Context(), g.wallet, wire.PINVerify{PIN: g.sealed(pin)})
	return err
}

func (g *guarded) is(want string) {
	g.t.Helper()
	if got, err := g.issuer.Wallet(g.t.Context(), g.wallet); err != nil || got.State != want {
		g.t.Errorf("the wallet is %s, want %s (%v)", got.State, want, err)
	}
}

// TestGuardedDay is a wallet's day: a phone with a PIN, slots that its account
// pays for, taps with the right PIN and wrong ones, and what five of those do.
func TestGuardedDay(t *testing.T) {
	const right = "482915"
	g := newGuarded(t, right)
	g.taps(right)
	g.uploads("")
	if got := g.syncs(); got.Result != "CLEAN" || len(got.Decisions) != 1 || got.Decisions[0].Outcome != "DUPLICATE" || got.Count != 10 {
		t.Errorf("second sync: %+v", got)
	}
	// Two wrong PINs at readers and one online restrict the wallet; the right
	// PIN and a clean sync free it.
	g.taps("482916")
	g.taps("482917")
	g.uploads("WRONG_PIN")
	if g.verifies("482918") == nil {
		t.Error("a wrong PIN is right")
	}
	g.is("RESTRICTED")
	g.clock.pass(time.Minute)
	if err := g.verifies(right); err != nil {
		t.Fatal(err)
	}
	if got := g.syncs(); got.State != "ACTIVE" || got.Result != "CLEAN" {
		t.Errorf("after the right PIN: %s, %s", got.State, got.Result)
	}
	g.is("ACTIVE")
	// Five wrong ones online end it, and its token.
	for i := range 5 {
		if g.verifies("90734"+string(rune('0'+i))) == nil {
			t.Error("a wrong PIN is right")
		}
	}
	g.is("SUSPENDED")
	if got, err := g.issuer.Token(t.Context(), g.ref); err != nil || got.State != "SUSPENDED" || strings.Join(got.Suspenders, " ") != "PIN_LOCK" {
		t.Errorf("the token is %s by %v (%v)", got.State, got.Suspenders, err)
	}
	if g.verifies(right) == nil {
		t.Error("a sixth guess is judged")
	}
	g.lab.Stop(t)
	noSecrets(t, g.lab, right)
}
