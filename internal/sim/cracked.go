package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Cracked is a phone whose every secret is in the hands of an attacker, or of a
// holder who does with it what he likes: its keys can be copied, and it says at
// a sync whatever it is told to. Keys that live in hardware which holds are
// copied as that: all copies use the one key, and it counts.
type Cracked struct {
	*Holder
	wrap, sign *ecdsa.PrivateKey
	device     *bundle.Device
	had        []copied // bundles, oldest first
	used       int      // of them, those that were there when it was cracked
}

// copied is one bundle as it came.
type copied struct {
	id            [16]byte
	jwe, hardware string
	proof         *bundle.ProofKey
	open          payload.Payload
}

// Clone is a copy of a cracked phone.
type Clone struct {
	*bundle.Card
	of *Cracked
}

// Crack gives somebody a wallet with a phone that is cracked.
func (i Issuing) Crack(ctx context.Context, spec Spec) (*Cracked, error) {
	h, err := i.holder(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &Cracked{Holder: h}
	if p.wrap, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if p.sign, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if p.device, err = bundle.DeviceFromKey(p.wrap); err != nil {
		return nil, err
	}
	signer, err := bundle.DeviceFromKey(p.sign)
	if err != nil {
		return nil, err
	}
	wrap, err := p.device.PublicJWK()
	if err != nil {
		return nil, err
	}
	sign, err := signer.PublicJWK()
	if err != nil {
		return nil, err
	}
	if err := h.enrol(ctx, wrap, sign); err != nil {
		return nil, err
	}
	if err := p.choosePIN(ctx); err != nil {
		return nil, err
	}
	if err := h.token(ctx); err != nil {
		return nil, err
	}
	if err := p.Sync(ctx, nil); err != nil {
		return nil, err
	}
	if len(p.had) == 0 {
		return nil, errors.New("sim: a wallet was given no slots")
	}
	p.used = len(p.had)
	return p, nil
}

// choosePIN sets the PIN, as the holder would.
func (p *Cracked) choosePIN(ctx context.Context) error {
	keys, err := p.by.serviceKeys(ctx)
	if err != nil {
		return err
	}
	h, err := bundle.NewHandset(bundle.HandsetConfig{Wallet: p.Wallet, SyncKey: keys.sync, PINKey: keys.pin})
	if err != nil {
		return err
	}
	sealed, err := h.SealPIN(p.PIN)
	if err != nil {
		return err
	}
	return p.setPIN(ctx, sealed)
}

// Sync says what is true for a phone that never paid, changed by lie.
func (p *Cracked) Sync(ctx context.Context, lie func(*payload.Sync)) error {
	uses := 1 << 20 // a key in memory
	if p.Tier != TierB {
		uses = 10
	}
	proof, err := bundle.NewProofKey(rand.Reader, uses)
	if err != nil {
		return err
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	point := proof.Public()
	said := payload.Sync{Device: p.Device, Ref: p.Ref, ID: hex.EncodeToString(id[:]), Clock: p.by.Now().Unix(),
		PINEpoch: p.epoch, ProofKey: strings.ToUpper(hex.EncodeToString(point[:])), Reports: []payload.Report{}}
	for _, b := range p.had {
		for _, s := range b.open.Slots {
			said.Reports = append(said.Reports, payload.Report{Ctr: s.UD.Ctr, Status: payload.Live})
		}
	}
	if lie != nil {
		lie(&said)
	}
	signed, err := payload.SignSync(said, func(d [32]byte) (sig [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, p.sign, d[:])
		if err != nil {
			return sig, err
		}
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, nil
	})
	if err != nil {
		return err
	}
	a, _, err := p.sync(ctx, bundle.SyncRequest{Device: p.Device, ID: said.ID, Signed: signed})
	if err != nil {
		return err
	}
	if a.BundleID == "" {
		return nil
	}
	raw, err := hex.DecodeString(a.BundleID)
	if err != nil || len(raw) != 16 {
		return errors.New("sim: a bundle without an id")
	}
	b := copied{id: [16]byte(raw), jwe: a.Bundle, hardware: a.Hardware, proof: proof}
	if b.open, err = p.read(a.Bundle); err != nil {
		return err
	}
	p.had = append(p.had, b)
	return nil
}

// read opens a bundle by the attacker's own means.
func (p *Cracked) read(jwe string) (open payload.Payload, err error) {
	obj, err := jose.ParseEncryptedCompact(jwe, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return open, err
	}
	plain, err := obj.Decrypt(p.wrap)
	if err != nil {
		return open, err
	}
	return payload.Parse(plain)
}

// WithoutKeyStore is the phone's storage on another device.
func (p *Cracked) WithoutKeyStore() (*Cracked, error) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	thief := *p
	thief.wrap = other
	thief.device, err = bundle.DeviceFromKey(other)
	return &thief, err
}

// Clone is a copy of the phone as it was cracked: all slots of its first bundle
// are live on it.
func (p *Cracked) Clone() (*Clone, error) { return p.copy(p.had[0]) }

// Newer are copies of what came after it was cracked.
func (p *Cracked) Newer() (all []*Clone, err error) {
	for _, b := range p.had[p.used:] {
		c, err := p.copy(b)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func (p *Cracked) copy(b copied) (*Clone, error) {
	opened, err := p.device.OpenGuarded(b.jwe, b.hardware, b.proof)
	if err != nil {
		return nil, fmt.Errorf("opening a copied bundle: %w", err)
	}
	card, err := bundle.NewCard(opened, bundle.Config{Journal: &bundle.Memory{}, Now: p.by.Now})
	return &Clone{card, p}, err
}

// EnterPIN opens the clone's window with any six digits.
func (c *Clone) EnterPIN(pin string) {
	secret := c.of.secret(pin)
	c.OpenWindow(&secret)
}

// Limit is what the phone was given to spend, in the caps of its slots.
func (p *Cracked) Limit() (sum token.Amount) {
	for _, b := range p.had {
		for _, s := range b.open.Slots {
			sum += s.UD.Limit()
		}
	}
	return sum
}

// Slots is how many slots a copy has.
func (p *Cracked) Slots() int { return len(p.had[0].open.Slots) }

// SlotKeys are the keys that were sent to the phone, as they were sent.
func (p *Cracked) SlotKeys() (keys [][]byte) {
	for _, b := range p.had {
		for _, s := range b.open.Slots {
			keys = append(keys, slices.Clone(s.Purchase[:]), slices.Clone(s.TAC[:]))
		}
	}
	return keys
}

// PurchaseKeyUnder is the key of a slot that MAC1 is made with, with the mask of
// a PIN taken off as if there were one on it. There is none: see the attack that
// asks for it.
func (p *Cracked) PurchaseKeyUnder(pin string, ctr uint16) (key [payload.KeySize]byte, err error) {
	for _, b := range p.had {
		for _, s := range b.open.Slots {
			if s.UD.Ctr == ctr {
				secret := p.secret(pin)
				key = s.Purchase
				return key, mask.Apply(&key, &secret, nil, mask.Slot{Bundle: b.id, Ctr: ctr})
			}
		}
	}
	return key, errors.New("sim: no such slot")
}

// Taken is all that somebody takes who copies the phone: the key that bundles are
// sealed to, and its first bundle as it came.
func (p *Cracked) Taken() (key *ecdsa.PrivateKey, jwe, hardware string) {
	return p.wrap, p.had[0].jwe, p.had[0].hardware
}
