// Package token names the things the whole service talks about: card numbers,
// tokens, days, amounts, and the controls on them.
//
// Names, codes and lengths follow the EMVCo Payment Tokenisation Framework.
package token

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// Number is a payment token: digits that stand in for a card number. Like a
// card number it prints as its last four; [Number.Digits] gives all of them.
type Number struct{ digits *string }

// ParseNumber reads a token number of 13 to 19 digits that does not start
// with 0. Whether the check digit must hold is the range's business.
func ParseNumber(s string) (Number, error) {
	if len(s) < 13 || len(s) > 19 || !allDigits(s) || s[0] == '0' {
		return Number{}, fmt.Errorf("%w: a token has 13 to 19 digits and never starts with 0", ErrMalformed)
	}
	d := s
	return Number{&d}, nil
}

// Digits returns all digits.
func (n Number) Digits() string {
	if n.digits == nil {
		return ""
	}
	return *n.digits
}

// IsZero reports whether n holds no number.
func (n Number) IsZero() bool { return n.digits == nil }

// Last4 is what may be shown of a token.
func (n Number) Last4() string { return last4(n.Digits()) }

// String shows the last four digits.
func (n Number) String() string { return "token(…" + n.Last4() + ")" }

// Format keeps every verb from printing digits.
func (n Number) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(n.String())) }

// LogValue shows the last four digits.
func (n Number) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText refuses: the wire types take digits on purpose.
func (n Number) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("a token number is not marshalled; use Digits")
}

// ASN returns the application serial number a phone shows for this token: the
// digits right-aligned in 10 bytes of BCD, filled with zeros.
func (n Number) ASN() [10]byte {
	var a [10]byte
	d := n.Digits()
	for i := range len(d) {
		pos := 20 - len(d) + i
		a[pos/2] |= (d[i] - '0') << (4 * (1 - pos%2))
	}
	return a
}

// Ref is the token reference id: opaque, stable for the token's life, safe to
// log and to store where the number is not. Text from outside is safe to log
// only if [Ref.Valid].
type Ref string

// idDigits is base32 of 16 bytes without padding, after the prefix of an id.
const idDigits = 26

// DrawRef draws a reference of 128 random bits.
func DrawRef(rand io.Reader) (Ref, error) {
	s, err := drawID("tr", rand)
	return Ref(s), err
}

// Valid reports whether r looks like a reference, and so not like a card number
// that somebody put in its place.
func (r Ref) Valid() bool { return validID("tr", string(r)) }

// Object names the token in the audit record. What is no reference is not repeated
// there: it may be a card number that somebody put in the wrong place.
func (r Ref) Object() string {
	if !r.Valid() {
		return "malformed-reference"
	}
	return string(r)
}

// Requestor is a Token Requestor ID: 11 digits.
type Requestor string

// ParseRequestor reads a Token Requestor ID.
func ParseRequestor(s string) (Requestor, error) {
	if len(s) != 11 || !allDigits(s) {
		return "", fmt.Errorf("%w: a token requestor id has 11 digits", ErrMalformed)
	}
	return Requestor(s), nil
}

// PAR is a payment account reference: 29 upper-case letters and digits, one
// per card, the same for all its tokens.
type PAR string

// Valid reports whether p looks like a payment account reference.
func (p PAR) Valid() bool {
	for _, b := range []byte(p) {
		if (b < 'A' || b > 'Z') && (b < '0' || b > '9') {
			return false
		}
	}
	return len(p) == 29
}

// Expiry is an expiry date as cards print it, year and month (YYMM).
type Expiry string

// ParseExpiry reads four digits, YYMM, month 01 to 12.
func ParseExpiry(s string) (Expiry, error) {
	if len(s) != 4 || !allDigits(s) || s[2:] < "01" || s[2:] > "12" {
		return "", fmt.Errorf("%w: an expiry date is YYMM with a month from 01 to 12", ErrMalformed)
	}
	return Expiry(s), nil
}

// ExpiryCovering returns the month that holds t: a token's own expiry date,
// which is never before the token's last moment.
func ExpiryCovering(t time.Time) Expiry { return Expiry(t.Format("0601")) }

// Next is the month after e.
func (e Expiry) Next() Expiry {
	t, err := time.Parse("0601", string(e))
	if err != nil {
		return e
	}
	return ExpiryCovering(t.AddDate(0, 1, 0))
}

// Before reports whether the month of e ended before t, in t's zone.
func (e Expiry) Before(t time.Time) bool { return string(e) < t.Format("0601") }

// Location is where a token is kept, by its EMVCo code.
type Location string

// Token locations.
const (
	LocationUnspecified   Location = "00"
	LocationRemote        Location = "01"
	LocationSecureElement Location = "02"
	LocationDevice        Location = "03" // HCE
	LocationTEE           Location = "04"
	LocationRemoteSecured Location = "05"
	LocationShared        Location = "06"
	LocationTemporary     Location = "07"
)

// ParseLocation reads an EMVCo token location code, 00 to 07.
func ParseLocation(s string) (Location, error) {
	if len(s) != 2 || s[0] != '0' || s[1] < '0' || s[1] > '7' {
		return "", fmt.Errorf("%w: a token location is 00 to 07", ErrMalformed)
	}
	return Location(s), nil
}

// Amount is money in minor units (fen).
type Amount uint32

// Token is one payment token and what is known of it. It holds no card number.
type Token struct {
	Ref       Ref
	Number    Number
	Requestor Requestor
	PAR       PAR
	PANLast4  string
	Expiry    Expiry // Token Expiry Date
	Location  Location
	State     State
	NotBefore time.Time
	NotAfter  time.Time // the token is good before this moment
	CreatedAt time.Time
	// ChangedAt is when State last moved. A token that ends while it is held back
	// keeps the moment since when: after that, nothing it did counts.
	ChangedAt time.Time

	// CtrFirst and CtrNext bound the slot counters handed out under this token:
	// first ≤ ctr < next. A number that is used again goes on where it stopped.
	CtrFirst, CtrNext uint16

	PSN         string // card sequence number, or ""
	Assurance   Assurance
	FormFactor  FormFactor
	Device      string      // the requestor's name for the device, or ""
	Suspenders  []Suspender // who holds it back, in the order of [Suspenders]
	Decision    Decision    // the issuer's
	Controls    Controls
	Renews      Ref     // the token it follows, or ""
	RenewedBy   Ref     // the token that follows it, or ""
	Provisioned *Notice // the last word on how that went, or nil
	Revision    int64   // grows with every change: what a compare-and-swap compares
}

// Standing is what of a token decides whether it may be used, and by whom.
type Standing struct {
	Ref        Ref
	Number     Number
	Requestor  Requestor
	PAR        PAR
	Location   Location
	State      State
	NotBefore  time.Time
	NotAfter   time.Time
	Assurance  Assurance
	Suspenders []Suspender
	Decision   Decision
	Controls   Controls
}

// Standing returns how t stands.
func (t Token) Standing() Standing {
	return Standing{Ref: t.Ref, Number: t.Number, Requestor: t.Requestor, PAR: t.PAR, Location: t.Location,
		State: t.State, NotBefore: t.NotBefore, NotAfter: t.NotAfter, Assurance: t.Assurance,
		Suspenders: t.Suspenders, Decision: t.Decision, Controls: t.Controls}
}

// Live reports whether t may be used at the moment at, with the given
// tolerance for clocks that disagree. A token about which the issuer has yet to
// decide may not.
func (t Token) Live(at time.Time, skew time.Duration) bool {
	return t.State.Usable() && t.Decision.Allows() && !at.Before(t.NotBefore.Add(-skew)) && at.Before(t.NotAfter.Add(skew))
}

// May reports whether v can be done to t. Beside the table of states it asks
// the issuer's decision: before a token is approved it is neither handed out
// nor resumed, and a token that left REQUESTED with an approval keeps it.
func (t Token) May(v Verb) bool {
	if _, ok := t.State.Next(v); !ok {
		return false
	}
	switch v {
	case Deliver, Activate, Provision, Resume, Renew:
		return t.Decision.Allows()
	case Approve, StepUp, Decline:
		return t.State == Requested || !t.Decision.Allows()
	}
	return true
}

// Holds reports whether by holds t back.
func (t Token) Holds(by Suspender) bool { return slices.Contains(t.Suspenders, by) }
