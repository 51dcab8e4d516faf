package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/tapvault/tapvault/token"
)

// Place is what is known of where terminals stand. What is not known is empty.
type Place struct {
	Merchant string
	MCC      string // merchant category code, 4 digits
	Country  string // ISO 3166-1 numeric, 3 digits
}

// Bounds are a token's controls and the use that they are asked about.
type Bounds struct {
	Controls token.Controls
	Use      token.Use
}

// Judge returns "" when the use is allowed after what the token has paid
// before, and otherwise the reason for the record.
func (b Bounds) Judge(sum uint64, count int) (reason string) {
	b.Use.SumBefore, b.Use.CountBefore = sum, count
	return b.Controls.Judge(b.Use)
}

// place is what is known of purchases at a terminal, or in a group of them.
func (s *Service) place(terminal string) token.Use {
	p := s.cfg.Places[terminal]
	return token.Use{Terminal: terminal, Merchant: p.Merchant, MCC: p.MCC, Country: p.Country}
}

// bind judges a tap by what its token's controls say without the totals; the
// journal asks them again, with the totals, in the transaction that posts it. What
// speaks against the tap besides may be excused, and then the controls still count.
func (v *verdict) bind(t Tap, where token.Use) {
	if v.token.Controls.IsZero() {
		return
	}
	where.Location, where.Amount = v.token.Location, t.Amount
	if where.Channel == "" {
		where.Channel = token.Contactless
	}
	v.bounds = &Bounds{v.token.Controls, where}
	v.control = v.bounds.Judge(0, 0)
	if v.reason == "" {
		v.reason = v.bound()
	}
}

// bound reports what the controls say, without the totals.
func (v verdict) bound() Reason {
	if v.control != "" {
		return NotAllowed
	}
	return ""
}

// precise is the reason for the record: callers are told only that the controls
// refuse, or they would learn the controls by trying.
func (r Result) precise() Reason {
	if r.Control != "" {
		return Reason(r.Control)
	}
	return r.Reason
}

// errUse reports a use without a name that can be stored.
var errUse = errors.New("a use is named by 1 to 64 printable characters")

var useID = regexp.MustCompile(`^[!-~]{1,64}$`)

// Spend judges a use of t that no tap proves, and counts it once for each id:
// it returns the reason for the record when the controls refuse. It is for
// services that have passed a gate of their own.
func (s *Service) Spend(ctx context.Context, t token.Standing, use token.Use, id string) (reason string, err error) {
	if !useID.MatchString(id) {
		return "", errUse
	}
	use.Location = t.Location
	b := Bounds{t.Controls, use}
	// Without the totals, of one that was counted before, too: under the name of a use
	// that was allowed another may come, from elsewhere.
	if reason := b.Judge(0, 0); reason != "" {
		return reason, nil
	}
	reason, err = s.cfg.Journal.Spend(ctx, t.Ref, id, b)
	if err != nil {
		return "", fmt.Errorf("counting a use: %w", err)
	}
	return reason, nil
}
