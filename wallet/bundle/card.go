package bundle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

const (
	// skew is how far a reader's clock and the phone's may be apart.
	skew = 120 * time.Second
	// proveFor is how long the last answer may be asked for again.
	proveFor = 30 * time.Second
	// maxCache bounds the composite-purchase data of one tap.
	maxCache = 4 << 10
)

// Config says what a card runs on.
type Config struct {
	Journal Journal
	Now     func() time.Time // nil: time.Now
	Rand    io.Reader        // nil: crypto/rand
}

// Card answers APDUs as profile P has a phone answer them. It is safe for
// concurrent use, though a reader expects to be alone.
type Card struct {
	cfg     Config
	card    payload.Card
	cred    credential.Credential
	mu      sync.Mutex
	slots   []payload.Slot // live ones, in the order of use
	session session
	last    answer
}

// session is what a tap has done so far; it ends when the field does.
type session struct {
	selected bool
	pending  *pending
	cache    int // bytes of composite-purchase data taken in this tap
}

// pending is an initialised purchase that no debit has followed yet.
type pending struct {
	purchase cryptogram.Purchase // without serial and time, which the debit brings
	ud       credential.UD
}

// answer is the last debit's, kept for a reader that did not hear it.
type answer struct {
	seq   uint16
	typ   cryptogram.Type
	proof [8]byte // MAC2, TAC
	until time.Time
}

// NewCard makes a card of b and takes its keys over: b is empty afterwards.
// Slots that the journal knows as spent are dropped, so a handset that starts
// again resumes with the live ones.
func NewCard(b *Bundle, cfg Config) (*Card, error) {
	if cfg.Journal == nil {
		return nil, errors.New("bundle: a card needs a journal")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	recs, err := cfg.Journal.Records()
	if err != nil {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	spent := map[uint16]bool{}
	for _, r := range recs {
		spent[r.Ctr] = true
	}
	c := &Card{cfg: cfg, card: b.card, cred: b.payload.Credential}
	for _, s := range b.payload.Slots {
		if !spent[s.UD.Ctr] {
			c.slots = append(c.slots, s)
		}
	}
	b.Wipe()
	return c, nil
}

// Live is how many slots are left.
func (c *Card) Live() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.slots)
}

// Reset is what losing the field does: the tap's state is gone, slots are not,
// and the last answer may still be asked for.
func (c *Card) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{}
}

// Close zeroes all keys; the card has no slots afterwards.
func (c *Card) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.slots)
	c.slots, c.session, c.last = nil, session{}, answer{}
}

// Transmit answers one command APDU. Every command gets an answer, however
// malformed; the error is ctx's only.
func (c *Card) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd, err := apdu.ParseCommand(command)
	if err != nil {
		return apdu.Response{SW: apdu.WrongLength}.Bytes(), nil
	}
	data, sw := c.answer(ctx, cmd)
	if sw != apdu.OK {
		data = nil
	}
	return apdu.Response{Data: data, SW: sw}.Bytes(), nil
}

// live returns the slot that the next purchase uses, if its window is open.
func (c *Card) live() *payload.Slot {
	now := c.cfg.Now()
	if len(c.slots) == 0 || now.Before(c.cred.NotBefore.Add(-skew)) {
		return nil
	}
	s := &c.slots[0]
	if !now.Before(c.cred.NotAfter.Add(skew)) || !now.Before(s.UD.Expires().Add(skew)) {
		return nil
	}
	return s
}

// balance is what the live slots can pay together.
func (c *Card) balance() uint32 {
	var sum uint32
	for i := range c.slots {
		sum += uint32(c.slots[i].UD.Limit())
	}
	return sum
}
