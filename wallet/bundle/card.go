package bundle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

const (
	// skew is how far a reader's clock and the phone's may be apart.
	skew = 120 * time.Second
	// proveFor is how long the last answer may be asked for again.
	proveFor = 30 * time.Second
	// maxCache bounds the composite-purchase data of one tap.
	maxCache = 4 << 10
	// windowTime and windowTaps bound what one entry of the PIN is good for.
	windowTime = 300 * time.Second
	windowTaps = 3
	// maxBad is how many bad MAC1 close the window: each is a try to find out
	// something.
	maxBad = 10
	// proofTime is how long a device proof may be shown.
	proofTime = 60 * time.Second
)

// Config says what a card runs on. Journal is required.
type Config struct {
	Journal Journal
	// Seal seals a tap to the service at once, so that no MAC is ever stored
	// readable. nil: taps are not remembered.
	Seal func(payload.Tap) (string, error)
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// Card answers a reader's APDUs as an e-purse card of the PBOC specification, part 2,
// does, for purchases only: SELECT (00 A4), READ BINARY of file 0015 (00 B0), INITIALIZE
// (80 50), UPDATE CAPP DATA CACHE (80 DC), DEBIT (80 54), GET TRANSACTION PROOF (80 5A) and
// GET BALANCE (80 5C). GET DATA of tag DF01 (80 CA) shows the credential of the slot that
// will pay. It is safe for concurrent use, though a reader expects to be alone.
type Card struct {
	cfg     Config
	mu      sync.Mutex
	newest  *issue // what it says of itself
	issues  []*issue
	slots   []slot // live ones, in the order of use
	spent   map[uint16]bool
	window  window
	shown   credential.Proof // the last device proof, and the slot it is for
	shownUD credential.UD
	session session
	last    answer
}

// issue is what the slots of one bundle have in common.
type issue struct {
	id     [16]byte
	card   payload.Card
	cred   credential.Credential
	script [payload.KeySize]byte
	orders uint32    // number of the last script obeyed
	owed   []uint16  // slots that a script took and the journal does not surely know
	masked bool      // TAC keys are under the PIN
	hw     mask.HMAC // nil: the mask needs no hardware
	proof  *ProofKey // nil: no device proofs
}

// slot is one live slot.
type slot struct {
	payload.Slot
	of *issue
}

// guarded reports whether the slot pays only while a PIN window is open.
func (s *slot) guarded() bool { return s.of.masked && s.UD.Class != credential.Express }

// window is what one entry of the PIN opened. Nobody here can tell whether it
// was the right one.
type window struct {
	secret mask.Secret
	until  time.Time // zero: closed
	taps   int
	bad    int // MAC1 that did not hold since the last entry
}

func (w *window) close() {
	w.secret.Wipe()
	w.until, w.taps = time.Time{}, 0
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
	balance  uint32 // as it was answered
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
		b.Wipe()
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	c := &Card{cfg: cfg, spent: map[uint16]bool{}}
	for _, r := range recs {
		c.spent[r.Ctr] = true
	}
	return c, c.Add(b)
}

// Add puts another bundle of the same token on the card and takes its keys
// over. Slots that are there already stay and come first.
func (c *Card) Add(b *Bundle) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer b.Wipe()
	cred := b.payload.Credential
	if c.newest != nil && c.newest.cred.Number.Digits() != cred.Number.Digits() {
		return fmt.Errorf("%w: it is for another token", ErrSealed)
	}
	for _, i := range c.issues {
		if i.cred.CtrFirst == cred.CtrFirst { // no counter is in two bundles
			return nil
		}
	}
	i := &issue{id: b.id, card: b.card, cred: cred, script: b.payload.Script, masked: b.masked, hw: b.hw, proof: b.proof}
	c.issues = append(c.issues, i)
	if c.newest == nil || i.cred.CtrFirst > c.newest.cred.CtrFirst {
		c.newest = i
	}
	for _, s := range b.payload.Slots {
		if !c.spent[s.UD.Ctr] {
			c.slots = append(c.slots, slot{s, i})
		}
	}
	slices.SortFunc(c.slots, func(a, b slot) int { return int(a.UD.Ctr) - int(b.UD.Ctr) })
	return nil
}

// OpenWindow opens slots for 300 s or 3 taps to whoever entered a PIN that
// stretches to s, right or wrong.
func (c *Card) OpenWindow(s *mask.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window = window{secret: *s, until: c.cfg.Now().Add(windowTime), taps: windowTaps}
	if next := c.live(); next != nil {
		c.prove(next) // off the path of the tap
	}
}

// CloseWindow ends what a PIN opened.
func (c *Card) CloseWindow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window.close()
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
	for _, i := range c.issues {
		i.script = [payload.KeySize]byte{}
	}
	c.window.close()
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

// live returns the slot that the next purchase uses: the first one that may pay
// now. While a PIN window is open slots without PIN wait for last; while none is
// they are all there is.
func (c *Card) live() *slot {
	now := c.cfg.Now()
	open := now.Before(c.window.until)
	if !open {
		c.window.close()
	}
	var reserve *slot
	for i := range c.slots {
		s := &c.slots[i]
		switch {
		case !s.usable(now), s.guarded() && !open, s.of.masked && c.window.bad >= maxBad:
		case s.of.masked && !s.guarded():
			if reserve == nil {
				reserve = s
			}
		default:
			return s
		}
	}
	return reserve
}

// usable reports whether the slot's time has come and is not over.
func (s *slot) usable(now time.Time) bool {
	c := &s.of.cred
	return !now.Before(c.NotBefore.Add(-skew)) && now.Before(c.NotAfter.Add(skew)) && now.Before(s.UD.Expires().Add(skew))
}

// prove returns a device proof for s: the last one while it is fresh, so that
// the key in hardware, whose uses are counted, is not spent on screens that wake.
func (c *Card) prove(s *slot) credential.Proof {
	now := c.cfg.Now().UTC().Truncate(time.Second)
	if s.of.proof == nil {
		return credential.Proof{}
	}
	if age := now.Sub(c.shown.Made); c.shownUD == s.UD && !c.shown.IsZero() && age >= 0 && age < c.shown.Valid {
		return c.shown
	}
	p := credential.Proof{Ctr: s.UD.Ctr, Made: now, Valid: proofTime}
	sig, err := s.of.proof.sign(c.cfg.Rand, p.Digest(s.of.cred, s.UD))
	if err != nil { // used up: readers that want a proof refuse
		return credential.Proof{}
	}
	p.Signature = sig
	c.shown, c.shownUD = p, s.UD
	return p
}

// balance is what the live slots can pay together.
func (c *Card) balance() uint32 {
	var sum uint32
	for i := range c.slots {
		sum += uint32(c.slots[i].UD.Limit())
	}
	return sum
}
