package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	phonesync "github.com/tapvault/tapvault/wallet/edge"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/pin"
)

type (
	// Devices enrols phones.
	Devices interface {
		Enrol(ctx context.Context, c access.Caller, q enrol.Request) (enrol.Device, error)
		Attest(ctx context.Context, c access.Caller, id token.DeviceID, a enrol.Attestation) (enrol.Device, error)
		Terms(t enrol.Tier) enrol.Terms
	}
	// PINs sets and checks the PINs of wallets.
	PINs interface {
		Set(ctx context.Context, c access.Caller, w token.WalletID, chosen pin.Choice) (epoch uint32, err error)
		Verify(ctx context.Context, c access.Caller, w token.WalletID, sealed string) (epoch uint32, err error)
		Change(ctx context.Context, c access.Caller, w token.WalletID, old string, chosen pin.Choice) (epoch uint32, err error)
		AllowReset(ctx context.Context, c access.Caller, w token.WalletID) error
	}
	// Syncer brings phones and accounts in step.
	Syncer interface {
		Sync(ctx context.Context, c access.Caller, device token.DeviceID, jws string) (phonesync.Answer, error)
	}
)

// errNoWallet is what any wallet that cannot exist is, and any device: refused
// in the words of all that does not hold.
var errNoWallet = fault.New(fault.Refused, "this does not hold for the wallet, device or bundle it names")

func walletID(q *request) (token.WalletID, error) {
	w := token.WalletID(q.param("wallet"))
	if !w.Valid() {
		return "", errNoWallet
	}
	return w, nil
}

func (s *server) enrol(ctx context.Context, q *request) (any, error) {
	var in wire.Enrolment
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	r := enrol.Request{Wallet: token.WalletID(in.Wallet), Attestation: attestationIn(in.Attestation), Attempt: q.attempt}
	if !r.Wallet.Valid() {
		return nil, errNoWallet
	}
	var err error
	if r.WrapKey, err = json.Marshal(in.WrapKey); err == nil {
		r.SignKey, err = json.Marshal(in.SignKey)
	}
	if err != nil {
		return nil, fmt.Errorf("printing device keys: %w", err)
	}
	d, err := s.Devices.Enrol(ctx, q.caller, r)
	if err != nil {
		return nil, err
	}
	return withStatus{201, s.deviceOut(d)}, nil
}

func (s *server) attest(ctx context.Context, q *request) (any, error) {
	id := token.DeviceID(q.param("device"))
	if !id.Valid() {
		return nil, errNoWallet
	}
	var in wire.Attestation
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	d, err := s.Devices.Attest(ctx, q.caller, id, attestationIn(in))
	if err != nil {
		return nil, err
	}
	return s.deviceOut(d), nil
}

func attestationIn(a wire.Attestation) enrol.Attestation {
	return enrol.Attestation{Verdict: enrol.Verdict(a.Verdict), Level: enrol.Level(a.Level), At: a.At, Patch: a.PatchLevel,
		Boot: enrol.Boot(a.Boot), Locked: a.Locked, Leaf: upper(a.Leaf[:]), HardwareMAC: a.HardwareMAC,
		UseCount: enrol.UseCount(a.UseCount), SignP95: time.Duration(a.SignP95) * time.Millisecond}
}

// upper prints bytes as the wire does.
func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func (s *server) deviceOut(d enrol.Device) wire.Device {
	t := s.Devices.Terms(d.Tier)
	return wire.Device{ID: string(d.ID), Wallet: string(d.Wallet), Tier: string(d.Tier), Reasons: words[string](d.Reasons),
		Limit: uint32(t.Limit), Ceiling: uint32(t.Ceiling), Slots: len(t.Layout), TokenTTL: int(t.TTL / time.Second),
		Express: t.Express, Offline: t.Offline}
}

func (s *server) setPIN(ctx context.Context, q *request) (any, error) {
	w, err := walletID(q)
	if err != nil {
		return nil, err
	}
	var in wire.PINSet
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	epoch, err := s.PINs.Set(ctx, q.caller, w, pin.Choice{PIN: in.PIN, Holder: in.Holder, Attempt: q.attempt})
	if err != nil {
		return nil, err
	}
	return withStatus{201, wire.PIN{Epoch: epoch}}, nil
}

func (s *server) verifyPIN(ctx context.Context, q *request) (any, error) {
	w, err := walletID(q)
	if err != nil {
		return nil, err
	}
	var in wire.PINVerify
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return pinOut(s.PINs.Verify(ctx, q.caller, w, in.PIN))
}

func (s *server) changePIN(ctx context.Context, q *request) (any, error) {
	w, err := walletID(q)
	if err != nil {
		return nil, err
	}
	var in wire.PINChange
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return pinOut(s.PINs.Change(ctx, q.caller, w, in.Old, pin.Choice{PIN: in.PIN, Holder: in.Holder, Attempt: q.attempt}))
}

func pinOut(epoch uint32, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return wire.PIN{Epoch: epoch}, nil
}

func (s *server) resetPIN(ctx context.Context, q *request) (any, error) {
	w, err := walletID(q)
	if err != nil {
		return nil, err
	}
	var in wire.Renewal // an empty object
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if err := s.PINs.AllowReset(ctx, q.caller, w); err != nil {
		return nil, err
	}
	return wire.Health{Status: "ok"}, nil
}

func (s *server) sync(ctx context.Context, q *request) (any, error) {
	var in wire.Sync
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	a, err := s.Syncer.Sync(ctx, q.caller, token.DeviceID(in.Device), in.Signed)
	if err != nil {
		return nil, err
	}
	return syncedOut(a), nil
}

func syncedOut(a phonesync.Answer) wire.Synced {
	out := wire.Synced{ID: a.SyncID, Result: string(a.Result), State: string(a.State), Tier: string(a.Tier),
		Decisions: make([]wire.TapResult, len(a.Decisions)), Available: uint32(a.Balances.Available), Reserve: uint32(a.Balances.Reserve),
		Due: uint32(a.Balances.Due), Authority: uint32(a.Balances.Authority), Remaining: uint32(a.Balances.Remaining),
		Count: a.Balances.Count, At: a.At.UTC(),
		Next: wire.SyncNext{SlotsLeft: a.Next.SlotsLeft, Remaining: uint32(a.Next.Remaining), Before: a.Next.Before.UTC()}}
	for i, d := range a.Decisions {
		out.Decisions[i] = wire.TapResult{TapID: d.TapID, Outcome: string(d.Outcome), Reason: string(d.Reason)}
	}
	if b := a.Bundle; b != nil {
		out.Bundle = &wire.GuardedBundle{Hardware: b.Hardware, Epoch: b.PINEpoch,
			Bundle: wire.Bundle{ID: b.ID, JWE: b.JWE, Slots: b.Slots, NotAfter: b.NotAfter.UTC()}}
	}
	for _, s := range a.Scripts {
		out.Scripts = append(out.Scripts, upper(s))
	}
	return out
}

func (s *server) syncKeys(context.Context, *request) (any, error) { return s.SyncKeys() }
