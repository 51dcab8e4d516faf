// Package applet is the secure element's side of a card, band, watch or key fob.
//
// To readers it answers as a phone does, without a device proof: it cannot be
// copied. Its counter, its limit and the tries of its PIN are inside. Everything
// that it decides is one write to its memory, made before it answers: a cut of
// power at any moment leaves what was before or what comes after, so no counter
// is spent twice and no script obeyed twice.
package applet

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
)

const (
	pinTries = 3
	// windowTaps is how many taps one right PIN is good for. An element has no
	// clock; losing power ends it too.
	windowTaps = 3
)

// Config says what an element is made with at its factory.
type Config struct {
	Serial message.Serial
	Key    *rsa.PrivateKey  // made inside; its public half is what is attested
	Issuer *ecdsa.PublicKey // the issuer's pinned key
	AID    []byte           // that it answers to before it was issued
	Memory Memory
	Rand   io.Reader // nil: crypto/rand
}

// Element answers APDUs. It is safe for concurrent use.
type Element struct {
	cfg     Config
	mu      sync.Mutex
	now     state // as the memory has it
	session session
}

// session is what losing power forgets.
type session struct {
	selected bool
	taps     int // that the last right PIN still opens
	pending  *pending
	cache    int
	script   []byte // blocks of a script so far
	receipt  []byte // being read
	last     answer
}

type pending struct {
	purchase cryptogram.Purchase // without serial and time
	ud       credential.UD
	balance  uint32
}

// answer is the last debit's, for a reader that did not hear it.
type answer struct {
	known bool
	seq   uint16
	typ   cryptogram.Type
	proof [8]byte
}

// New powers an element on.
func New(c Config) (*Element, error) {
	if c.Key == nil || c.Issuer == nil || c.Memory == nil {
		return nil, errors.New("applet: an element needs its key, its issuer's and a memory")
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	e := &Element{cfg: c}
	b, err := c.Memory.Load()
	if err != nil {
		return nil, fmt.Errorf("reading an element's memory: %w", err)
	}
	if e.now, err = parseState(b); err != nil {
		return nil, err
	}
	return e, nil
}

// Reset is what losing power does.
func (e *Element) Reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session = session{}
}

// Transmit answers one command APDU. Every command gets an answer; the error is
// ctx's only.
func (e *Element) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	cmd, err := apdu.ParseCommand(command)
	if err != nil {
		return apdu.Response{SW: apdu.WrongLength}.Bytes(), nil
	}
	data, sw := e.answer(ctx, cmd)
	if sw != apdu.OK {
		data = nil
	}
	return apdu.Response{Data: data, SW: sw}.Bytes(), nil
}

// keep makes next the element's state. When the memory fails nobody can tell
// which of both it holds: the element goes on from what it reads back.
func (e *Element) keep(next state) bool {
	err := e.cfg.Memory.Store(next.bytes())
	if err == nil {
		e.now = next
		return true
	}
	e.session = session{}
	if b, err := e.cfg.Memory.Load(); err == nil {
		if s, err := parseState(b); err == nil {
			e.now = s
		}
	}
	return false
}

// live returns the slot that the next purchase uses: the first in order. While a
// right PIN is open slots without PIN wait for last; while none is they are all
// there is.
func (e *Element) live() *slot {
	var reserve *slot
	for i := range e.now.Slots {
		s := &e.now.Slots[i]
		switch {
		case s.UD.Class == credential.Express && reserve == nil:
			reserve = s
		case s.UD.Class != credential.Express && e.session.taps > 0 && e.now.Tries > 0:
			return s
		}
	}
	return reserve
}

// balance is what the live slots can pay together.
func (e *Element) balance() (sum uint32) {
	for _, s := range e.now.Slots {
		sum += uint32(s.UD.Limit())
	}
	return sum
}
