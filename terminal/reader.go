// Package terminal is the acceptance side: what a reader computes and checks with no
// server to ask.
//
// A [Reader] takes one card through one purchase of the PBOC e-purse: it reads the card,
// has its security module (PSAM) make MAC1, gives the card the debit, and has the module
// check the card's MAC2. The TAC is the issuer's to check, later. What the reader decides
// rests on its [Policy], which it was given beforehand, on its module, on the deny list,
// and on the [Queue] of taps that it accepted before; never on what a card says of itself.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Config says what a reader has. Module and Queue are required.
type Config struct {
	Module apdu.Transmitter // its PSAM
	Policy Policy
	Class  deny.Class // 0: [deny.Gate]
	Deny   Lists      // nil: the scheme has no deny list, and no age of it counts
	Queue  *Queue     // where taps go
	// Online is asked about each phone's tap at a terminal of class
	// [deny.Merchant]; nil, or when it fails: the tap stands as it is offline.
	Online Authorizer
	// Type of the purchases: [cryptogram.PurchaseCAPP] (the zero value, as
	// transit readers do) or [cryptogram.PurchasePurse].
	Type cryptogram.Type
	Zone *time.Location   // of dates and times on the cards; nil: UTC
	Now  func() time.Time // nil: time.Now
}

// Reader takes taps, one at a time: its module has one purchase in progress.
type Reader struct {
	cfg      Config
	terminal [6]byte
}

// NewReader checks c and asks the module for the terminal's number, 6 bytes.
func NewReader(ctx context.Context, c Config) (*Reader, error) {
	if c.Module == nil || c.Queue == nil {
		return nil, errors.New("terminal: a reader needs a module and a queue")
	}
	if err := c.Policy.fill(); err != nil {
		return nil, err
	}
	if c.Class == 0 {
		c.Class = deny.Gate
	}
	if !c.Class.Valid() {
		return nil, errors.New("terminal: no such class of terminals")
	}
	if c.Type == 0 {
		c.Type = cryptogram.PurchaseCAPP
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	number, err := apdu.Exchange(ctx, c.Module, apdu.Command{INS: 0xB0, P1: 0x96, Ne: 6}, 6)
	if err != nil {
		return nil, fmt.Errorf("reading terminal number: %w", err)
	}
	return &Reader{c, [6]byte(number)}, nil
}

// Terminal is the terminal number.
func (r *Reader) Terminal() [6]byte { return r.terminal }

// Authorizer asks the service about a tap that was just made.
type Authorizer interface {
	// Authorize returns an error that wraps [Declined] when the service says no.
	// Any other error means that it could not be asked.
	Authorize(ctx context.Context, t Tap) error
}

// Tap takes amount (fen) from card. When it returns a nil error the card has paid, the
// module has checked its MAC2, and the tap is in the queue for good. Any error wraps a
// [Refusal]: the rider is not let through. Once the debit was sent the card may have paid
// all the same, whatever the Refusal says; clearing finds that out.
func (r *Reader) Tap(ctx context.Context, card apdu.Transmitter, amount token.Amount) (Tap, error) {
	if err := r.cfg.Queue.broken(); err != nil {
		return Tap{}, because(NotKept, err) // before the card spends anything
	}
	v := r.open(amount)
	v.At = cryptogram.DateTimeOf(v.now.In(r.cfg.Zone))
	if v.list != nil && v.list.SAMDenied(r.terminal, v.now) {
		return Tap{}, Denied // what this module accepts is not paid for
	}
	if err := r.take(ctx, card, v); err != nil {
		return Tap{}, err
	}
	declined := r.ask(ctx, v.Tap)
	if declined != nil {
		v.Fail = Declined
	}
	if err := r.cfg.Queue.Add(v.Tap); err != nil {
		return Tap{}, because(NotKept, errors.Join(declined, err))
	}
	if declined != nil {
		return Tap{}, declined
	}
	return v.Tap, nil
}

// take is a tap until it is proven.
func (r *Reader) take(ctx context.Context, card apdu.Transmitter, v *visit) error {
	if err := r.identify(ctx, card, &v.Tap); err != nil {
		return err
	}
	if v.Phone = r.cfg.Policy.phone(v.ASN); v.Phone {
		if err := r.present(ctx, card, v); err != nil {
			return err
		}
	}
	if err := r.initialize(ctx, card, &v.Tap); err != nil {
		return err
	}
	if v.Phone {
		if err := r.afford(v); err != nil {
			return err
		}
	}
	return r.purchase(ctx, card, &v.Tap)
}

// ask asks the service where that is the custom. A service that said yes has
// the tap, also if this process dies before it keeps its own record; one that
// said no has it as a tap without service.
func (r *Reader) ask(ctx context.Context, t Tap) error {
	if r.cfg.Class != deny.Merchant || r.cfg.Online == nil || !t.Phone {
		return nil
	}
	if err := r.cfg.Online.Authorize(ctx, t); errors.Is(err, Declined) {
		return err
	}
	return nil
}

// identify selects the application and reads file 0015.
func (r *Reader) identify(ctx context.Context, card apdu.Transmitter, t *Tap) error {
	if _, err := apdu.Send(ctx, card, r.selection()); err != nil {
		return refuseCard(err)
	}
	f, err := apdu.Exchange(ctx, card, apdu.Command{INS: 0xB0, P1: 0x95, Ne: 28}, 28)
	if err != nil {
		return refuseCard(err)
	}
	t.Issuer, t.ASN = [8]byte(f), [10]byte(f[10:])
	for _, b := range t.ASN {
		if b>>4 > 9 || b&0x0F > 9 {
			return Unreadable
		}
	}
	return nil
}

func (r *Reader) selection() apdu.Command {
	return apdu.Command{INS: 0xA4, P1: 4, Data: r.cfg.Policy.AID, Ne: 256}
}

// refuseCard tells a card that refuses from one that is gone or talks nonsense.
func refuseCard(err error) error {
	var s apdu.StatusError
	if errors.As(err, &s) {
		return because(Card, err)
	}
	return because(Unreadable, err)
}
