package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Leaf is the hash of an attestation's leaf certificate that has a name.
func Leaf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%X", sum)
}

// holder opens a wallet and puts money in.
func (i Issuing) holder(ctx context.Context, spec Spec) (*Holder, error) {
	if i.Now == nil {
		i.Now = time.Now
	}
	if i.Stretch == nil {
		i.Stretch = mask.Argon2id
	}
	if spec.TopUp == 0 {
		spec.TopUp = 10000
	}
	if spec.Tier == "" {
		spec.Tier = TierA
	}
	q := wire.WalletRequest{Holder: "ANONYMOUS"}
	if spec.RealName {
		q.Holder = "REAL_NAME"
	}
	w, err := i.Issuer.OpenWallet(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("opening a wallet: %w", err)
	}
	h := &Holder{Wallet: token.WalletID(w.ID), Spec: spec, by: i}
	_, err = i.Issuer.AccountEvent(ctx, w.ID, wire.AccountEvent{ID: "top-up-1", Type: "TOP_UP", Amount: uint32(spec.TopUp)})
	if err != nil {
		return nil, fmt.Errorf("topping up: %w", err)
	}
	return h, nil
}

// enrol makes a device known that has these public keys.
func (h *Holder) enrol(ctx context.Context, wrap, sign []byte) error {
	q := wire.Enrolment{Wallet: string(h.Wallet), Attestation: h.attestation()}
	if err := errors.Join(json.Unmarshal(wrap, &q.WrapKey), json.Unmarshal(sign, &q.SignKey)); err != nil {
		return err
	}
	if h.Leaf == "" {
		h.Leaf = Leaf(q.SignKey.X)
	}
	if err := h.certify(&q.Attestation); err != nil {
		return err
	}
	d, err := h.by.Wallet.Enrol(ctx, q)
	if err != nil {
		return errors.Join(ErrEnrolment, err)
	}
	h.Device = token.DeviceID(d.ID)
	return h.ranked(d)
}

// Attest shows the device's attestation anew, as an app does once a day.
func (h *Holder) Attest(ctx context.Context) error {
	a := h.attestation()
	if err := h.certify(&a); err != nil {
		return err
	}
	d, err := h.by.Wallet.Attest(ctx, string(h.Device), a)
	if err != nil {
		return errors.Join(ErrEnrolment, err)
	}
	return h.ranked(d)
}

// certify puts the device's leaf under an attestation.
func (h *Holder) certify(a *wire.Attestation) error {
	b, err := hex.DecodeString(h.Leaf)
	if err != nil || len(b) != len(a.Leaf) {
		return errors.New("sim: a leaf is 64 hex digits")
	}
	copy(a.Leaf[:], b)
	return nil
}

// ranked reports a device that is not of the tier that its holder has.
func (h *Holder) ranked(d wire.Device) error {
	if d.Tier != string(h.Tier) {
		return fmt.Errorf("%w as tier %s but as %s: %v", ErrEnrolment, h.Tier, d.Tier, d.Reasons)
	}
	return nil
}

// attestation is what a phone of the tier is attested to be.
func (h *Holder) attestation() wire.Attestation {
	now := h.by.Now().UTC().Truncate(time.Second)
	a := wire.Attestation{Verdict: "TRUSTED", Level: "TEE", At: now, PatchLevel: now.AddDate(0, -1, 0).Format("2006-01"), Boot: "VERIFIED",
		Locked: true, HardwareMAC: true, UseCount: "ANY", SignP95: 60}
	if h.Tier == TierB {
		a.Verdict, a.Level, a.HardwareMAC, a.UseCount = "UNTRUSTED", "SOFTWARE", false, "NONE"
	}
	return a
}

// token asks for today's token and gives it to the wallet.
func (h *Holder) token(ctx context.Context) error {
	t, err := h.by.Issuer.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits(h.Card), PANExpiry: "3012", Location: "03"})
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	h.Ref, h.Number = token.Ref(t.Ref), t.Number
	if _, err := h.by.Issuer.BindToken(ctx, string(h.Wallet), wire.WalletToken{Ref: t.Ref, Device: string(h.Device)}); err != nil {
		return fmt.Errorf("giving the token to the wallet: %w", err)
	}
	return nil
}

// serviceKeys are what phones seal to.
type serviceKeys struct{ sync, pin *ecdsa.PublicKey }

func (i Issuing) serviceKeys(ctx context.Context) (k serviceKeys, err error) {
	if k.sync, err = only(i.Wallet.SyncKeys(ctx)); err != nil {
		return k, fmt.Errorf("fetching the key that taps are sealed to: %w", err)
	}
	if k.pin, err = only(i.Wallet.IntakeKeys(ctx)); err != nil {
		return k, fmt.Errorf("fetching the key that PINs are sealed to: %w", err)
	}
	return k, nil
}

// only reads a set that holds one key.
func only(raw json.RawMessage, err error) (*ecdsa.PublicKey, error) {
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []wire.PublicKey `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("sim: there is no key")
	}
	k := set.Keys[0]
	k.KeyID = "0"
	_, pub, err := parseKey(k)
	return pub, err
}

func (h *Holder) setPIN(ctx context.Context, sealed string) error {
	got, err := h.by.Wallet.SetPIN(ctx, string(h.Wallet), wire.PINSet{PIN: sealed})
	if err != nil {
		return fmt.Errorf("setting the PIN: %w", err)
	}
	h.epoch = got.Epoch
	return nil
}

// verifyPIN reports whether the service took a PIN. One that it refuses is no
// error: that is an answer.
func (h *Holder) verifyPIN(ctx context.Context, sealed string) (bool, error) {
	_, err := h.by.Wallet.VerifyPIN(ctx, string(h.Wallet), wire.PINVerify{PIN: sealed})
	if client.IsProblem(err, "refused") {
		return false, nil
	}
	return err == nil, err
}

// sync sends what a phone signed.
func (h *Holder) sync(ctx context.Context, q bundle.SyncRequest) (a bundle.SyncAnswer, s Synced, err error) {
	got, err := h.by.Wallet.Sync(ctx, wire.Sync{Device: string(q.Device), Signed: q.Signed})
	if err != nil {
		return a, s, err
	}
	s = Synced{Result: got.Result, State: got.State}
	a = bundle.SyncAnswer{ID: got.ID, Remaining: token.Amount(got.Remaining), At: got.At}
	if b := got.Bundle; b != nil {
		a.BundleID, a.Bundle, a.Hardware, s.Slots = b.ID, b.JWE, b.Hardware, b.Slots
	}
	for _, text := range got.Scripts {
		script, err := hex.DecodeString(text)
		if err != nil {
			return a, s, fmt.Errorf("reading an order to the phone: %w", err)
		}
		a.Scripts = append(a.Scripts, script)
	}
	return a, s, nil
}

// ack proves that a bundle arrived.
func (h *Holder) ack(ctx context.Context, id string, mac [payload.AckSize]byte) error {
	if _, err := h.by.Wallet.Ack(ctx, string(h.Ref), wire.Ack{BundleID: id, MAC: wire.Hex32(mac)}); err != nil {
		return fmt.Errorf("acknowledging bundle: %w", err)
	}
	return nil
}

// Balances are a wallet's accounts, in fen.
type Balances struct{ Available, Reserve, Due token.Amount }

// Balances asks what the wallet has.
func (h *Holder) Balances(ctx context.Context) (Balances, error) {
	b, err := h.by.Issuer.Balances(ctx, string(h.Wallet))
	if err != nil {
		return Balances{}, fmt.Errorf("asking for balances: %w", err)
	}
	return Balances{token.Amount(b.Available), token.Amount(b.Reserve), token.Amount(b.Due)}, nil
}

// Paid is what went out of the wallet's account since it was opened.
func (h *Holder) Paid(ctx context.Context) (token.Amount, error) {
	b, err := h.Balances(ctx)
	return h.TopUp - b.Available - b.Reserve + b.Due, err
}

// State is the wallet's state.
func (h *Holder) State(ctx context.Context) (string, error) {
	w, err := h.by.Issuer.Wallet(ctx, string(h.Wallet))
	if err != nil {
		return "", fmt.Errorf("asking for the wallet: %w", err)
	}
	return w.State, nil
}
