package bundle

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// HandsetConfig says whose handset it is and what it runs on. Fields without a
// default are required.
type HandsetConfig struct {
	Wallet  token.WalletID
	SyncKey *ecdsa.PublicKey // the service's sync-intake key: taps are sealed to it
	PINKey  *ecdsa.PublicKey // the service's intake key: PINs are sealed to it

	Slots   int                                  // of a full bundle; 0: 10
	Journal func(ref token.Ref) (Journal, error) // one for each token; nil: in memory
	Stretch mask.Stretch                         // nil: [mask.Argon2id]
	Now     func() time.Time                     // nil: time.Now
	Rand    io.Reader                            // nil: crypto/rand
}

// Handset is a wallet's phone: it enrols, takes a PIN, syncs, and answers
// readers. It makes no calls: what it has to say comes out as values, and
// answers are given to it. It is safe for concurrent use.
type Handset struct {
	cfg    HandsetConfig
	device *Device
	sign   *ecdsa.PrivateKey

	mu      sync.Mutex
	id      token.DeviceID
	epoch   uint32
	ahead   time.Duration // of the service's clock, by the last answer: a sync that has to wait must not speak for later
	purses  map[token.Ref]*purse
	current *Card // that the reader talks to
	paid    *Card // that the last debit was for; it has the answer, should a reader ask for it again

	integrity *payload.Integrity // nil: only what enrolment said
}

// purse is what a handset knows of one token.
type purse struct {
	card      *Card // nil before the first bundle
	journal   Journal
	heard     map[uint16]bool // slots gone that the service knows of
	remaining token.Amount    // as the last sync had it; the card knows what was spent since
	asked     *SyncRequest    // until it is answered
	reported  []uint16        // gone slots in it
	next      *ProofKey       // for the bundle that it may bring
	ack       string          // id of the newest bundle
	script    [payload.KeySize]byte
}

// NewHandset makes the keys of a handset.
func NewHandset(c HandsetConfig) (*Handset, error) {
	if !c.Wallet.Valid() || c.SyncKey == nil || c.PINKey == nil {
		return nil, errors.New("bundle: a handset needs a wallet and the service's keys")
	}
	if c.Slots == 0 {
		c.Slots = 10
	}
	if c.Journal == nil {
		c.Journal = func(token.Ref) (Journal, error) { return &Memory{}, nil }
	}
	if c.Stretch == nil {
		c.Stretch = mask.Argon2id
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	d, err := NewDevice(c.Rand)
	if err != nil {
		return nil, err
	}
	sign, err := ecdsa.GenerateKey(elliptic.P256(), c.Rand)
	if err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	return &Handset{cfg: c, device: d, sign: sign, purses: map[token.Ref]*purse{}}, nil
}

// Keys are the public keys to enrol: wrap and sign.
func (h *Handset) Keys() (wrap, sign []byte, err error) {
	if wrap, err = h.device.PublicJWK(); err != nil {
		return nil, nil, err
	}
	sign, err = (&Device{h.sign}).PublicJWK()
	return wrap, sign, err
}

// Enrolled gives the handset the id that its enrolment was answered with.
func (h *Handset) Enrolled(id token.DeviceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id = id
}

// SealPIN seals a PIN that was entered to the service, to be set, verified or
// changed. The handset does not keep it.
func (h *Handset) SealPIN(digits string) (string, error) {
	p, err := mask.ParsePIN([]byte(digits))
	if err != nil {
		return "", err
	}
	defer p.Wipe()
	text := payload.PINText(h.cfg.Wallet, p)
	defer clear(text)
	return sealTo(h.cfg.PINKey, text)
}

// PINChanged says that the service has a PIN of this epoch. What the one before
// guarded is gone: tokens are new after a change.
func (h *Handset) PINChanged(epoch uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != 0 && h.epoch != epoch {
		for ref, p := range h.purses {
			if p.card != nil {
				p.card.Close()
			}
			delete(h.purses, ref)
		}
		h.current, h.paid = nil, nil
	}
	h.epoch = epoch
}

// EnterPIN opens every token for 300 s or 3 taps. Any six digits do: the handset
// has nothing to tell the right ones by.
func (h *Handset) EnterPIN(digits string) error {
	p, err := mask.ParsePIN([]byte(digits))
	if err != nil {
		return err
	}
	defer p.Wipe()
	h.mu.Lock()
	epoch := h.epoch
	h.mu.Unlock()
	s := h.cfg.Stretch(p, mask.Salt(h.cfg.Wallet, epoch))
	defer s.Wipe()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != epoch { // what it opened would pay with wrong MACs
		return errors.New("bundle: the PIN was changed meanwhile: enter the new one")
	}
	for _, p := range h.purses {
		if p.card != nil {
			p.card.OpenWindow(&s)
		}
	}
	return nil
}

// Lock closes what a PIN opened.
func (h *Handset) Lock() {
	for _, c := range h.cards() {
		c.CloseWindow()
	}
}

// cards lists the cards, the one whose token ends first before others.
func (h *Handset) cards() (all []*Card) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ref := range slices.Sorted(maps.Keys(h.purses)) {
		if c := h.purses[ref].card; c != nil {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *Card) int { return a.ends().Compare(b.ends()) })
	return all
}

// Transmit answers one command APDU of a reader. SELECT chooses the token: the
// first that can pay now. GET TRANSACTION PROOF goes to the one that paid last, which may
// have nothing left to pay with.
func (h *Handset) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	var ins byte
	if len(command) > 1 {
		ins = command[1]
	}
	if ins == 0xA4 {
		h.choose()
	}
	h.mu.Lock()
	c := h.current
	switch {
	case ins == 0x54:
		h.paid = c
	case ins == 0x5A && h.paid != nil:
		c = h.paid
	}
	h.mu.Unlock()
	if c == nil {
		return apdu.Response{SW: apdu.FileNotFound}.Bytes(), ctx.Err()
	}
	return c.Transmit(ctx, command)
}

func (h *Handset) choose() {
	all := h.cards()
	i := slices.IndexFunc(all, (*Card).ready)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case i >= 0:
		h.current = all[i]
	case len(all) > 0:
		h.current = all[0]
	default:
		h.current = nil
	}
}

// Reset is what losing the field does.
func (h *Handset) Reset() {
	for _, c := range h.cards() {
		c.Reset()
	}
}

// Count is how many slots are left under a token, and Remaining what is left of
// the amount that the last sync named: the paper's bookkeeping. What readers
// enforce are the caps.
func (h *Handset) Count(ref token.Ref) int {
	if c := h.card(ref); c != nil {
		return c.Live()
	}
	return 0
}

// Remaining is what is left of a token's amount; see [Handset.Count].
func (h *Handset) Remaining(ref token.Ref) token.Amount {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.purses[ref]
	if p == nil || p.card == nil {
		return 0
	}
	if spent := p.card.spentSince(p.heard); spent < p.remaining {
		return p.remaining - spent
	}
	return 0
}

// Card is the card of one token, or nil before its first bundle.
func (h *Handset) Card(ref token.Ref) *Card { return h.card(ref) }

func (h *Handset) card(ref token.Ref) *Card {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.purses[ref]; p != nil {
		return p.card
	}
	return nil
}

// sealTo seals to a key of the service.
func sealTo(key *ecdsa.PublicKey, plain []byte) (string, error) {
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("sealing to the service: %w", err)
	}
	obj, err := enc.Encrypt(plain)
	if err != nil {
		return "", fmt.Errorf("sealing to the service: %w", err)
	}
	return obj.CompactSerialize()
}

// upperHex prints bytes as the service reads them.
func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
