package wallettest

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// WalletID and DeviceID are those of the handset that [Issuer.Sync] serves.
const (
	WalletID = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")
	DeviceID = token.DeviceID("dvAAAAAAAAAAAAAAAAAAAAAAAAAA")
)

// Sync answers a handset's sync with a full bundle under the first token, as the
// service does for a wallet whose PIN stretches to secret. It settles nothing.
func (i *Issuer) Sync(ctx context.Context, h *bundle.Handset, q bundle.SyncRequest, secret mask.Secret) (bundle.SyncAnswer, error) {
	said, err := payload.ReadSigned(q.Signed)
	if err != nil {
		return bundle.SyncAnswer{}, err
	}
	wrap, sign, err := h.Keys()
	if err != nil {
		return bundle.SyncAnswer{}, err
	}
	key, err := wallet.ParseKey(sign)
	if err == nil {
		err = said.Verify(key)
	}
	if err != nil {
		return bundle.SyncAnswer{}, err
	}
	g := wallet.Grant{Ref: said.Ref, Device: said.Device, PINEpoch: said.PINEpoch, Hardware: true,
		Risk: credential.Risk(credential.TierA, true),
		Lend: func(_ context.Context, use func(*mask.Secret) error) error { s := secret; return use(&s) }}
	if g.WrapKey, err = wallet.ParseKey(wrap); err != nil {
		return bundle.SyncAnswer{}, err
	}
	if g.ProofKey, err = said.Proof(); err != nil {
		return bundle.SyncAnswer{}, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	g.ID = hex.EncodeToString(id[:])
	if g.Slots, err = i.slots(ctx, g.Ref); err != nil {
		return bundle.SyncAnswer{}, err
	}
	b, err := i.Service.Make(ctx, Caller, g)
	if err != nil {
		return bundle.SyncAnswer{}, err
	}
	return bundle.SyncAnswer{ID: said.ID, BundleID: b.ID, Bundle: b.JWE, Hardware: b.Hardware, Remaining: Slots * Cap}, nil
}

// slots takes counters and describes a full bundle.
func (i *Issuer) slots(ctx context.Context, ref token.Ref) (uds []credential.UD, err error) {
	t, err := i.Tokens.Token(ctx, ref)
	if err != nil {
		return nil, err
	}
	first, err := i.Tokens.TakeCounters(ctx, ref, Slots)
	if err != nil {
		return nil, err
	}
	for n := range uint16(Slots) {
		u, err := credential.NewUD(t.NotAfter, first+n, Cap, credential.Medium, 1)
		if err != nil {
			return nil, err
		}
		uds = append(uds, u)
	}
	return uds, nil
}
