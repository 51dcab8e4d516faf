package lab_test

import (
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/lab"
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

// TestGuardedDay is a wallet's day: a phone with a PIN, slots that its account
// pays for, taps with the right PIN and wrong ones, and what five of those do.
func TestGuardedDay(t *testing.T) {
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now})
	ctx, issuer, phones := t.Context(), l.Client(t, "issuer"), l.Client(t, "wallet")
	w, err := issuer.OpenWallet(ctx, wire.WalletRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.AccountEvent(ctx, w.ID, wire.AccountEvent{ID: "e1", Type: "TOP_UP", Amount: 20000}); err != nil {
		t.Fatal(err)
	}
	syncKeys, err := phones.SyncKeys(ctx)
	sync := firstKey(t, syncKeys, err)
	pinKeys, err := phones.IntakeKeys(ctx)
	h, err := bundle.NewHandset(bundle.HandsetConfig{Wallet: token.WalletID(w.ID), SyncKey: sync, PINKey: firstKey(t, pinKeys, err), Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	wrap, sign, err := h.Keys()
	if err != nil {
		t.Fatal(err)
	}
	d, err := phones.Enrol(ctx, wire.Enrolment{Wallet: w.ID, WrapKey: publicKey(t, wrap), SignKey: publicKey(t, sign),
		Attestation: wire.Attestation{Verdict: "TRUSTED", Level: "TEE", At: c.now().UTC(), PatchLevel: "2026-04", Boot: "VERIFIED", Locked: true,
			HardwareMAC: true, UseCount: "ANY", SignP95: 60}})
	if err != nil || d.Tier != "A" || d.Slots != 10 {
		t.Fatalf("enrolled as %+v, %v", d, err)
	}
	h.Enrolled(token.DeviceID(d.ID))
	seal := func(pin string) string {
		s, err := h.SealPIN(pin)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	pin, err := phones.SetPIN(ctx, w.ID, wire.PINSet{PIN: seal("482915")})
	if err != nil {
		t.Fatal(err)
	}
	h.PINChanged(pin.Epoch)
	tok := newToken(t, l, cardRequest())
	if _, err := issuer.BindToken(ctx, w.ID, wire.WalletToken{Ref: tok.Ref, Device: d.ID}); err != nil {
		t.Fatal(err)
	}
	if got := syncs(t, l, h, tok.Ref); got.Bundle == nil || got.Bundle.Slots != 10 || got.Available != 10000 || got.Reserve != 10000 {
		t.Fatalf("first sync: %+v", got)
	}
	id, mac, _ := h.Ack(token.Ref(tok.Ref))
	if got, err := phones.Ack(ctx, tok.Ref, wire.Ack{BundleID: id, MAC: mac}); err != nil || got.State != "ACTIVE" {
		t.Fatalf("acknowledged: %s, %v", got.State, err)
	}

	reader := newReader(t, l, c.now)
	tap := func(pin string) {
		t.Helper()
		if err := h.EnterPIN(pin); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Tap(ctx, h, 350); err != nil {
			t.Fatalf("tapping: %v", err)
		}
		c.pass(6 * time.Minute)
	}
	upload := func(want string) {
		t.Helper()
		got, err := reader.Upload(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Outcome != "POSTED" || string(r.Reason) != want {
				t.Errorf("a tap was answered %s %s, want %q", r.Outcome, r.Reason, want)
			}
		}
	}
	tap("482915")
	upload("")
	if got := syncs(t, l, h, tok.Ref); got.Result != "CLEAN" || len(got.Decisions) != 1 || got.Decisions[0].Outcome != "DUPLICATE" || got.Count != 10 {
		t.Errorf("second sync: %+v", got)
	}
	// Two wrong PINs at readers and one online restrict the wallet; the right
	// PIN and a clean sync free it.
	tap("482916")
	tap("482917")
	upload("WRONG_PIN")
	if _, err := phones.VerifyPIN(ctx, w.ID, wire.PINVerify{PIN: seal("482918")}); err == nil {
		t.Error("a wrong PIN is right")
	}
	state := func(want string) {
		t.Helper()
		if got, err := issuer.Wallet(ctx, w.ID); err != nil || got.State != want {
			t.Errorf("the wallet is %s, want %s (%v)", got.State, want, err)
		}
	}
	state("RESTRICTED")
	c.pass(time.Minute)
	if _, err := phones.VerifyPIN(ctx, w.ID, wire.PINVerify{PIN: seal("482915")}); err != nil {
		t.Fatal(err)
	}
	if got := syncs(t, l, h, tok.Ref); got.State != "ACTIVE" || got.Result != "CLEAN" {
		t.Errorf("after the right PIN: %s, %s", got.State, got.Result)
	}
	state("ACTIVE")
	// Five wrong ones online end it, and its token.
	for i := range 5 {
		if _, err := phones.VerifyPIN(ctx, w.ID, wire.PINVerify{PIN: seal("90734" + string(rune('0'+i)))}); err == nil {
			t.Error("a wrong PIN is right")
		}
	}
	state("SUSPENDED")
	if got, err := issuer.Token(ctx, tok.Ref); err != nil || got.State != "SUSPENDED" || strings.Join(got.Suspenders, " ") != "PIN_LOCK" {
		t.Errorf("the token is %s by %v (%v)", got.State, got.Suspenders, err)
	}
	if _, err := phones.VerifyPIN(ctx, w.ID, wire.PINVerify{PIN: seal("482915")}); err == nil {
		t.Error("a sixth guess is judged")
	}
	l.Stop(t)
	noSecrets(t, l, "482915")
}
