package token

import (
	"fmt"
	"regexp"
	"slices"
)

// Controls bound where, for what and how much a token may be used. An empty
// list and a zero bound allow everything; the zero value is no control at all.
type Controls struct {
	Requestors     []Requestor // who may present it; empty: its own requestor only
	Locations      []Location
	Merchants      []string // merchant ids
	TerminalGroups []string
	MCC            []string // merchant category codes, 4 digits
	Channels       []Channel
	Countries      []string // ISO 3166-1 numeric, 3 digits
	MaxAmount      Amount   // per purchase
	MaxSum         Amount   // of all purchases
	MaxCount       int      // of purchases
}

// Channel is the way by which a purchase came about.
type Channel string

// Channels.
const (
	Contactless Channel = "contactless"
	Ecommerce   Channel = "ecommerce"
	InApp       Channel = "inapp"
)

// maxListed bounds each list of the controls.
const maxListed = 64

var (
	partyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,35}$`)
	digits3 = regexp.MustCompile(`^[0-9]{3}$`)
	digits4 = regexp.MustCompile(`^[0-9]{4}$`)
)

// IsZero reports whether c controls nothing.
func (c Controls) IsZero() bool {
	return len(c.Requestors)+len(c.Locations)+len(c.Merchants)+len(c.TerminalGroups)+len(c.MCC)+len(c.Channels)+len(c.Countries) == 0 &&
		c.MaxAmount == 0 && c.MaxSum == 0 && c.MaxCount == 0
}

// Validate refuses controls whose entries are not what they should be, or
// appear twice.
func (c Controls) Validate() error {
	for _, err := range []error{
		listed("requestors", c.Requestors, func(r Requestor) bool { _, err := ParseRequestor(string(r)); return err == nil }),
		listed("locations", c.Locations, func(l Location) bool { _, err := ParseLocation(string(l)); return err == nil }),
		listed("merchants", c.Merchants, partyID.MatchString),
		listed("terminal groups", c.TerminalGroups, partyID.MatchString),
		listed("category codes", c.MCC, digits4.MatchString),
		listed("channels", c.Channels, func(ch Channel) bool { return ch == Contactless || ch == Ecommerce || ch == InApp }),
		listed("countries", c.Countries, digits3.MatchString),
	} {
		if err != nil {
			return err
		}
	}
	if c.MaxCount < 0 || c.MaxCount > 1<<30 {
		return fmt.Errorf("%w: controls: a count is not negative and below a thousand million", ErrMalformed)
	}
	if c.MaxSum != 0 && c.MaxAmount > c.MaxSum {
		return fmt.Errorf("%w: controls: one purchase cannot be allowed more than all of them", ErrMalformed)
	}
	return nil
}

// listed checks one list of the controls.
func listed[T comparable](name string, list []T, good func(T) bool) error {
	if len(list) > maxListed {
		return fmt.Errorf("%w: controls: more than %d %s", ErrMalformed, maxListed, name)
	}
	for i, x := range list {
		if !good(x) || slices.Contains(list[:i], x) {
			return fmt.Errorf("%w: controls: one of the %s is malformed or there twice", ErrMalformed, name)
		}
	}
	return nil
}

// Use is one purchase as the controls see it. What is not known is left empty;
// a control on it then refuses.
type Use struct {
	Requestor   Requestor // who presents the token; empty: its own requestor
	Location    Location
	Merchant    string
	Terminal    string // the group of the terminal
	MCC         string
	Channel     Channel
	Country     string
	Amount      Amount
	SumBefore   uint64 // of the token's purchases so far, without this one
	CountBefore int
}

// Judge returns "" when c allows u, and otherwise the reason for the record,
// one of a closed set: "control-" and the first control that refuses.
func (c Controls) Judge(u Use) (reason string) {
	switch {
	case u.Requestor != "" && len(c.Requestors) > 0 && !slices.Contains(c.Requestors, u.Requestor):
		return "control-requestor"
	case refuses(c.Locations, u.Location):
		return "control-location"
	case refuses(c.Merchants, u.Merchant):
		return "control-merchant"
	case refuses(c.TerminalGroups, u.Terminal):
		return "control-terminal"
	case refuses(c.MCC, u.MCC):
		return "control-mcc"
	case refuses(c.Channels, u.Channel):
		return "control-channel"
	case refuses(c.Countries, u.Country):
		return "control-country"
	case c.MaxAmount != 0 && u.Amount > c.MaxAmount:
		return "control-amount"
	case c.MaxSum != 0 && (u.SumBefore > uint64(c.MaxSum) || u.SumBefore+uint64(u.Amount) > uint64(c.MaxSum)):
		return "control-sum"
	case c.MaxCount != 0 && u.CountBefore >= c.MaxCount:
		return "control-count"
	}
	return ""
}

// refuses reports whether a list of what is allowed leaves x out.
func refuses[T comparable](allowed []T, x T) bool {
	return len(allowed) > 0 && !slices.Contains(allowed, x)
}
