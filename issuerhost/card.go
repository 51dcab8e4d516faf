package issuerhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Payer names who pays: a card by its number and sequence number, or a token by
// its number or reference. Exactly one of them is set.
type Payer struct {
	PAN    token.PAN
	PSN    string // of a card, two digits; "" is 00. A token has its own
	Number token.Number
	Ref    token.Ref
}

// Transaction is a cryptogram and what it was made over.
type Transaction struct {
	Payer   Payer
	Profile string
	Version uint8 // of the issuer's key; 0: whichever fits, and the issuer's first for what is made
	Data    emv.Data
	AC      [8]byte
}

// subject is a payer that was found, for one call that passed the gate.
type subject struct {
	*Service
	caller  access.Caller
	action  access.Action
	object  string // what records say of it: a reference, or the issuer
	issuer  Issuer
	profile emv.Profile
	card    emv.Card
	master  keyref.Ref
	tries   []uint8      // versions of master that may be the card's
	token   *token.Token // nil: a card
}

// find finds the payer, its issuer, profile and key. What it refuses is
// recorded.
func (s *Service) find(ctx context.Context, c access.Caller, a access.Action, t Transaction) (subject, error) {
	f := subject{Service: s, caller: c, action: a}
	number, psn, err := f.number(ctx, t.Payer)
	if err != nil {
		return f, err
	}
	var ok bool
	if f.issuer, ok = s.issuer(number); !ok {
		return f, f.refuse(ctx, "issuer", ErrIssuer)
	}
	if f.object == "" {
		f.object = f.issuer.Realm
	}
	if len(f.issuer.Requestors) > 0 && !slices.Contains(f.issuer.Requestors, c.Requestor) {
		return f, f.refuse(ctx, "other-issuer", ErrIssuer)
	}
	if !slices.Contains(f.issuer.Profiles, t.Profile) {
		return f, f.refuse(ctx, "profile", ErrProfile)
	}
	f.profile = s.profiles[t.Profile]
	f.tries = f.issuer.Versions
	if t.Version == 0 {
		t.Version = f.issuer.Versions[0]
	} else {
		f.tries = []uint8{t.Version}
	}
	if !slices.Contains(f.issuer.Versions, t.Version) {
		return f, f.refuse(ctx, "key-version", ErrIssuer)
	}
	f.master = keyref.Ref{Realm: f.issuer.Realm, Usage: f.profile.Usage(), Version: t.Version}
	f.card, err = emv.NewCard(number, psn)
	return f, err
}

// underEach runs a check under each version that may be the card's, until one
// does not end in [emv.ErrMismatch]; f then has that version.
func (f *subject) underEach(check func() error) (err error) {
	for _, v := range f.tries {
		f.master.Version = v
		if err = check(); !errors.Is(err, emv.ErrMismatch) {
			return err
		}
	}
	return err
}

// number returns the digits that keys are made from.
func (f *subject) number(ctx context.Context, p Payer) (number, psn string, err error) {
	named := 0
	for _, is := range []bool{!p.PAN.IsZero(), !p.Number.IsZero(), p.Ref != ""} {
		if is {
			named++
		}
	}
	if named != 1 || p.PSN != "" && p.PAN.IsZero() {
		return "", "", fmt.Errorf("%w: name one card or one token; a token has its own sequence number", emv.ErrMalformed)
	}
	if !p.PAN.IsZero() {
		digits := p.PAN.Reveal()
		if f.cfg.Ranges.IsToken(asn(digits)) {
			return "", "", f.refuse(ctx, "card-is-token", ErrCardIsToken)
		}
		return digits, p.PSN, nil
	}
	t, reason, err := f.find1(ctx, p)
	if err != nil {
		return "", "", err
	}
	if reason != "" {
		return "", "", f.refuse(ctx, reason, ErrRefused)
	}
	f.token = &t
	return t.Number.Digits(), t.PSN, nil
}

// find1 reads the token and says why it may not pay, or "".
func (f *subject) find1(ctx context.Context, p Payer) (t token.Token, reason string, err error) {
	now := f.cfg.Now()
	if p.Ref != "" {
		t, err = f.cfg.Tokens.Token(ctx, p.Ref)
	} else {
		t, err = f.cfg.Tokens.ByNumber(ctx, p.Number, now)
	}
	if fault.KindOf(err) == fault.TokenUnknown {
		return t, "unknown", nil
	}
	if err != nil {
		return t, "", fmt.Errorf("reading a token: %w", err)
	}
	f.object = string(t.Ref)
	switch {
	case f.caller.Requestor != string(t.Requestor):
		return t, "other-requestor", nil
	case t.State == token.Suspended, len(t.Suspenders) > 0:
		return t, "suspended", nil
	case t.State == token.Deleted:
		return t, "deleted", nil
	case !t.Decision.Allows():
		return t, "undecided", nil
	case now.Before(t.NotBefore):
		return t, "future", nil
	case !now.Before(t.NotAfter):
		return t, "expired", nil
	}
	return t, "", nil
}

// refuse records why and returns err.
func (f subject) refuse(ctx context.Context, reason string, err error) error {
	return f.cfg.Gate.Refuse(ctx, f.caller, f.action, f.object, reason, err)
}

// tooMany refuses until the day ends, UTC: then the count begins anew.
func (f subject) tooMany(ctx context.Context, reason string) error {
	const day = 24 * time.Hour
	now := f.cfg.Now()
	return f.refuse(ctx, reason, fault.After(ErrMisses, now.Truncate(day).Add(day).Sub(now)))
}

// name is what the counters of a card's key are kept under. It is of the
// digits that the key is made from and not of the whole number: numbers that
// share a key share its counters, and a number that comes back goes on where it
// was.
func (f subject) name(ctx context.Context, line string) ([32]byte, error) {
	step, err := f.profile.Master.Step(f.card)
	if err != nil {
		return [32]byte{}, err
	}
	msg := append([]byte("issuerhost/1\x00"+line+"\x00"+f.issuer.Realm+"\x00"+string(f.master.Usage)+"\x00"), step...)
	name, err := f.cfg.Names.HMAC(ctx, f.cfg.NameKey, msg)
	if err != nil {
		return name, fmt.Errorf("naming a card: %w", err)
	}
	return name, nil
}

// asn is a number as an e-purse shows it, cut to the digits that keys see.
func asn(digits string) (a [10]byte) {
	digits = digits[max(0, len(digits)-20):]
	for i := range len(digits) {
		pos := 20 - len(digits) + i
		a[pos/2] |= (digits[i] - '0') << (4 * (1 - pos%2))
	}
	return a
}
