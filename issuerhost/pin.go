package issuerhost

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"io"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/internal/fault"
)

// ErrPIN reports text that is no PIN sealed for this service by this caller. All
// ways to be wrong look alike.
var ErrPIN = fault.New(fault.Intake, "this is no PIN sealed to the intake key")

// Opener opens what was sealed to the HSM. The caller wipes it. What is not
// sealed right is of kind [fault.Intake].
type Opener interface {
	Plain(ctx context.Context, sealed string) ([]byte, error)
}

// newPIN is what a sender seals. It names the sender, so that nobody else can
// send what was caught.
type newPIN struct {
	New     string `json:"new_pin"`
	Current string `json:"current_pin"`
	Client  string `json:"client_id"`
}

// pinBlock opens a sealed PIN and returns the block in which the card gets it: by
// Visa's rule one that holds a part of the card's key, otherwise format 2 of
// ISO 9564.
func (f subject) pinBlock(ctx context.Context, q Script, sealed string) (b [8]byte, err error) {
	if f.cfg.Opener == nil {
		return b, f.refuse(ctx, "no-intake", ErrIssuer)
	}
	plain, err := f.cfg.Opener.Plain(ctx, sealed)
	defer clear(plain)
	if fault.KindOf(err) == fault.Intake {
		return b, f.refuse(ctx, "sealed", ErrPIN)
	}
	if err != nil {
		return b, err
	}
	p, ok := readPIN(plain, f.caller.ID)
	if !ok || q.Rule != RuleVisa && p.Current != "" {
		return b, f.refuse(ctx, "pin-text", ErrPIN)
	}
	if q.Rule == RuleVisa {
		ac := f.master
		card, cerr := f.profile.Card(ac, f.card)
		if cerr != nil {
			return b, cerr
		}
		b, err = emv.VisaPIN(ctx, f.cfg.Reveal, card, p.New, p.Current)
	} else {
		b, err = emv.PINBlock2(p.New)
	}
	if fault.KindOf(err) == fault.Malformed {
		err = f.refuse(ctx, "pin-text", ErrPIN)
	}
	return b, err
}

// readPIN reads what was sealed, and nothing after it.
func readPIN(plain []byte, client string) (p newPIN, ok bool) {
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil || subtle.ConstantTimeCompare([]byte(p.Client), []byte(client)) != 1 {
		return newPIN{}, false
	}
	if _, err := d.Token(); err != io.EOF {
		return newPIN{}, false
	}
	return p, true
}
