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

// ErrSpent reports a token that has made all the cryptograms it can.
var ErrSpent = fault.New(fault.CounterSpent, "the token has no counters left for cryptograms")

// What token cryptograms and phones need kept. What it returns is durable.
type (
	// Uses keeps token cryptograms, each for one use.
	Uses interface {
		// Next makes the next value of a name, good for a time; the same attempt
		// again gets the same.
		Next(ctx context.Context, client string, a access.Attempt, name [32]byte, good time.Duration) (uint16, error)
		// Use uses a value up, once. It returns [ErrReplayed] for one that was
		// used, never made, or is no longer good.
		Use(ctx context.Context, client string, a access.Attempt, name [32]byte, value uint16) error
	}
	// PINTries counts tries of PINs.
	PINTries interface {
		// Known reports whether a tap was settled under the same attempt before.
		Known(ctx context.Context, client string, a access.Attempt) (bool, error)
		// Try takes a try, unless most were taken since the last right one.
		Try(ctx context.Context, name [32]byte, most int) (bool, error)
		// Settle takes the counter of a tap as [Counters.Spend] does, and settles its try
		// with it: a right PIN forgets all, a wrong one keeps its own, and the same attempt
		// again gives the try that it took back.
		Settle(ctx context.Context, client string, a access.Attempt, t Settled) error
		// GiveBack gives a try back that came to no verdict.
		GiveBack(ctx context.Context, name [32]byte) error
	}
)

// Purchase is what a token cryptogram is bound to.
type Purchase struct {
	Token     Payer // by number or reference
	Profile   string
	Amount    uint64 // minor units
	Currency  uint16 // ISO 4217, its three digits
	Requestor token.Requestor
}

// cryptogramGood is how long a token cryptogram may be used after it was made.
const cryptogramGood = 24 * time.Hour

// Made is a token cryptogram and the token that it is sent with.
type Made struct {
	Number     token.Number
	Expiry     token.Expiry
	Cryptogram string // 28 characters
}

// Cryptogram makes the cryptogram of one purchase without a reader, for the
// token's own requestor. The same attempt again gets the same.
func (s *Service) Cryptogram(ctx context.Context, c access.Caller, p Purchase, a access.Attempt) (Made, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVToken, "emv"); err != nil {
		return Made{}, err
	}
	f, name, err := s.forPurchase(ctx, c, access.EMVToken, p)
	if err != nil {
		return Made{}, err
	}
	if err := s.cfg.Gate.Check(ctx, c, access.EMVToken, f.object); err != nil {
		return Made{}, err
	}
	value, err := s.cfg.Uses.Next(ctx, c.ID, a, name, cryptogramGood)
	if err != nil {
		return Made{}, err
	}
	t := emv.TokenCryptogram{KeyIndex: f.master.Version, ATC: [2]byte{byte(value >> 8), byte(value)}}
	un, err := s.cfg.Names.HMAC(ctx, s.cfg.NameKey, append([]byte("issuerhost/un\x00"), append(name[:], t.ATC[:]...)...))
	if err != nil {
		return Made{}, fmt.Errorf("drawing an unpredictable number: %w", err)
	}
	copy(t.UN[:], un[:])
	if t, err = f.profile.Token(ctx, s.cfg.Keys, f.master, f.card, t, p.data(f.token.Requestor)); err != nil {
		return Made{}, err
	}
	return Made{f.token.Number, f.token.Expiry, t.String()}, nil
}

// UseCryptogram checks the cryptogram of a purchase and uses it up. The token's
// controls are judged then.
func (s *Service) UseCryptogram(ctx context.Context, c access.Caller, p Purchase, text string, a access.Attempt) error {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "emv"); err != nil {
		return err
	}
	t, err := emv.ParseToken(text)
	if err != nil {
		return err
	}
	f, name, err := s.forPurchase(ctx, c, access.EMVVerify, p)
	if err != nil {
		return err
	}
	if !slices.Contains(f.issuer.Versions, t.KeyIndex) {
		return f.refuse(ctx, "key-version", ErrRefused)
	}
	f.master.Version = t.KeyIndex
	err = f.guarded(ctx, name, func(ctx context.Context) error {
		return f.profile.VerifyToken(ctx, s.cfg.Keys, f.master, f.card, t, p.data(p.Requestor))
	})
	if err != nil {
		return err
	}
	value := uint16(t.ATC[0])<<8 | uint16(t.ATC[1])
	err = s.cfg.Uses.Use(ctx, c.ID, a, name, value)
	if errors.Is(err, ErrReplayed) {
		return f.refuse(ctx, "cryptogram-used", ErrReplayed)
	}
	if err != nil {
		return err
	}
	return f.controlled(ctx, name, value, p.Amount, p.Currency, remote(f.token.Controls, p.Requestor))
}

// forPurchase finds the token of a purchase. Cards have no such cryptograms.
func (s *Service) forPurchase(ctx context.Context, c access.Caller, a access.Action, p Purchase) (f subject, name [32]byte, err error) {
	if !p.Token.PAN.IsZero() {
		return f, name, fmt.Errorf("%w: a token cryptogram is of a token", emv.ErrMalformed)
	}
	if f, err = s.find(ctx, c, a, Transaction{Payer: p.Token, Profile: p.Profile}); err != nil {
		return f, name, err
	}
	name, err = f.name(ctx, "token")
	return f, name, err
}

func (p Purchase) data(r token.Requestor) (d emv.TokenData) {
	d = emv.TokenData{Amount: p.Amount, Currency: p.Currency}
	copy(d.Requestor[:], r)
	return d
}

// Tap is what a phone whose keys a PIN masks showed: two cryptograms over one
// message.
type Tap struct {
	Token   Payer
	Profile string // for the card's key and the padding
	ATC     uint16
	Message []byte // what both cover
	User    [8]byte
	Device  [emv.DevicePart]byte
}

// maxPINs is how many wrong PINs a token may show; then it is of no more use
// here, and the holder needs another.
const maxPINs = 5

// Settled is a tap that its device made: the line and value of its counter, and what
// tries of its PIN are counted under.
type Settled struct {
	Line   [32]byte
	Value  uint16
	Window Window
	PINs   [32]byte
	Right  bool // it was the PIN
}

// Judge checks both cryptograms of a tap, takes its counter, and says whether
// the PIN was right. A tap that its device did not make is refused, and says
// nothing of the PIN. The try of the PIN is taken first.
func (s *Service) Judge(ctx context.Context, c access.Caller, t Tap, a access.Attempt) (emv.Verdict, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "emv"); err != nil {
		return emv.NotOurs, err
	}
	if !t.Token.PAN.IsZero() || len(t.Message) == 0 || len(t.Message) > 255 {
		return emv.NotOurs, fmt.Errorf("%w: a phone pays with a token, over 1 to 255 bytes", emv.ErrMalformed)
	}
	f, err := s.find(ctx, c, access.EMVVerify, Transaction{Payer: t.Token, Profile: t.Profile})
	if err != nil {
		return emv.NotOurs, err
	}
	if !slices.Contains(f.issuer.Extra, keyref.UserMaster) || !slices.Contains(f.issuer.Extra, keyref.DeviceMaster) {
		return emv.NotOurs, f.refuse(ctx, "key", ErrIssuer)
	}
	return f.judge(ctx, t, a)
}

func (f subject) judge(ctx context.Context, t Tap, a access.Attempt) (emv.Verdict, error) {
	name, err := f.name(ctx, "phone")
	if err != nil {
		return emv.NotOurs, err
	}
	again, err := f.cfg.PINs.Known(ctx, f.caller.ID, a)
	if err != nil {
		return emv.NotOurs, err
	}
	var verdict emv.Verdict
	if again {
		verdict, err = f.compare(ctx, t, name)
	} else {
		verdict, err = f.tried(ctx, t, a, name)
	}
	switch {
	case err != nil:
		return emv.NotOurs, err
	case verdict == emv.Good:
		// What both cover is not read here: no amount is known.
		return verdict, f.controlled(context.WithoutCancel(ctx), name, t.ATC, 0, unknown, token.Use{Channel: token.Contactless})
	}
	return verdict, f.refuse(ctx, "wrong-pin", nil)
}

// tried takes a try of the PIN, and has it settled when the tap is judged, whether the
// caller still waits or not: right PINs whose callers left would use the tries up.
func (f subject) tried(ctx context.Context, t Tap, a access.Attempt, name [32]byte) (emv.Verdict, error) {
	pins, err := f.name(ctx, "pin\x00"+string(f.token.Ref))
	if err != nil {
		return emv.NotOurs, err
	}
	ok, err := f.cfg.PINs.Try(ctx, pins, maxPINs)
	if err != nil {
		return emv.NotOurs, err
	}
	if !ok {
		return emv.NotOurs, f.refuse(ctx, "pin-locked", ErrRefused)
	}
	verdict, err := f.compare(ctx, t, name)
	ctx = context.WithoutCancel(ctx)
	if err == nil {
		err = f.spent(ctx, f.cfg.PINs.Settle(ctx, f.caller.ID, a, Settled{name, t.ATC, f.window(), pins, verdict == emv.Good}))
	}
	if err != nil { // no verdict on the PIN was reached, or its counter tested one before
		return emv.NotOurs, errors.Join(err, f.cfg.PINs.GiveBack(ctx, pins))
	}
	return verdict, nil
}

func (f subject) compare(ctx context.Context, t Tap, name [32]byte) (verdict emv.Verdict, err error) {
	err = f.guarded(ctx, name, func(ctx context.Context) error {
		return f.underEach(func() error { verdict, err = f.phone(ctx, t); return err })
	})
	return verdict, err
}

func (f subject) phone(ctx context.Context, t Tap) (emv.Verdict, error) {
	of := func(u keyref.Usage) keyref.Ref {
		return keyref.Ref{Realm: f.issuer.Realm, Usage: u, Version: f.master.Version}
	}
	phone := emv.Phone{Card: f.card, Rule: f.profile.Master, Device: of(keyref.DeviceMaster), User: of(keyref.UserMaster)}
	verdict, err := phone.Judge(ctx, f.cfg.Keys, emv.PhoneTap{
		ATC: [2]byte{byte(t.ATC >> 8), byte(t.ATC)}, Data: t.Message, Padding: f.profile.Padding, User: t.User, Device: t.Device,
	})
	if err == nil && verdict == emv.NotOurs {
		err = emv.ErrMismatch
	}
	return verdict, err
}
