package wire

import (
	"strings"
	"time"
)

// Assurance is a Token Assurance Method and its data.
type Assurance struct {
	Method string `json:"method"`         // 2 digits, or 2 spaces for none
	Data   string `json:"data,omitempty"` // up to 140 printable characters
}

var assurance = table[Assurance]{
	{"method", must, func(d *decoder, v *Assurance) *FieldError { return word(d, &v.Method, 2, 2) }},
	{"data", may, func(d *decoder, v *Assurance) *FieldError { return note(d, &v.Data, 140) }},
}

// Controls are the domain restriction controls of a token. What is absent
// restricts nothing.
type Controls struct {
	Requestors     []string `json:"requestors,omitempty"`      // who may present it; absent: its own requestor
	Locations      []string `json:"locations,omitempty"`       // token locations
	Merchants      []string `json:"merchants,omitempty"`       // merchant ids
	TerminalGroups []string `json:"terminal_groups,omitempty"` // groups of terminals
	MCC            []string `json:"mcc,omitempty"`             // merchant category codes
	Channels       []string `json:"channels,omitempty"`        // contactless, ecommerce, inapp
	Countries      []string `json:"countries,omitempty"`       // ISO 3166-1 numeric
	MaxAmount      uint32   `json:"max_amount,omitempty"`      // fen, of one purchase; 0: no bound
	MaxSum         uint32   `json:"max_sum,omitempty"`         // fen, of all purchases; 0: no bound
	MaxCount       uint32   `json:"max_count,omitempty"`       // purchases; 0: no bound
}

// maxListed bounds each list of the controls.
const maxListed = 64

var controls = table[Controls]{
	{"requestors", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.Requestors, maxListed, digitsOf(11)) }},
	{"locations", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.Locations, maxListed, digitsOf(2)) }},
	{"merchants", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.Merchants, maxListed, party) }},
	{"terminal_groups", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.TerminalGroups, maxListed, party) }},
	{"mcc", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.MCC, maxListed, digitsOf(4)) }},
	{"channels", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.Channels, maxListed, channel) }},
	{"countries", may, func(d *decoder, v *Controls) *FieldError { return list(d, &v.Countries, maxListed, digitsOf(3)) }},
	{"max_amount", may, func(d *decoder, v *Controls) *FieldError { return unsigned(d, &v.MaxAmount) }},
	{"max_sum", may, func(d *decoder, v *Controls) *FieldError { return unsigned(d, &v.MaxSum) }},
	{"max_count", may, func(d *decoder, v *Controls) *FieldError { return unsigned(d, &v.MaxCount) }},
}

func digitsOf(n int) func(*decoder, *string) *FieldError {
	return func(d *decoder, v *string) *FieldError { return digitText(d, v, n, n) }
}

// party reads the id of a merchant, or of a group of terminals.
func party(d *decoder, v *string) *FieldError { return name(d, v, 35) }

func channel(d *decoder, v *string) *FieldError {
	return choice(d, v, "contactless", "ecommerce", "inapp")
}

// deviceID reads a requestor's name for a device.
func deviceID(d *decoder, v *string) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	if !IsName(strings.ReplaceAll(string(b), ":", "-")) {
		return wrong("must be 1 to 64 letters, digits, dots, dashes, colons and underlines, " + noCard)
	}
	*v = string(b)
	return nil
}

// maxSealed bounds a compact JWE before anything of it is decoded.
const maxSealed = 4096

// sealed reads a compact JWE: five parts of base64url.
func sealed(d *decoder, v *string) *FieldError {
	if err := compact(d, v, 5, maxSealed); err != nil {
		return wrong("must be a compact JWE of at most %d characters", maxSealed)
	}
	return nil
}

// moment reads an RFC 3339 moment in UTC. The time package also takes an hour of
// one digit, which RFC 3339 does not have.
func moment(d *decoder, v **time.Time) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	*v = new(time.Time)
	if (*v).UnmarshalText(b) != nil || b[len(b)-1] != 'Z' || b[13] != ':' {
		return wrong("must be a moment in UTC, such as 2026-07-24T19:00:00Z")
	}
	return nil
}

// Attributes is the body of POST /v1/tokens/{ref}/attributes. What is absent
// stays; controls are replaced as a whole.
type Attributes struct {
	Assurance *Assurance `json:"token_assurance,omitempty"`
	Controls  *Controls  `json:"domain_controls,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
}

var attributes = table[Attributes]{
	{"token_assurance", may, func(d *decoder, v *Attributes) *FieldError {
		v.Assurance = new(Assurance)
		return assurance.read(d, v.Assurance)
	}},
	{"domain_controls", may, func(d *decoder, v *Attributes) *FieldError {
		v.Controls = new(Controls)
		return controls.read(d, v.Controls)
	}},
	{"not_after", may, func(d *decoder, v *Attributes) *FieldError { return moment(d, &v.NotAfter) }},
}

func (q *Attributes) read(d *decoder) *FieldError {
	if err := attributes.read(d, q); err != nil {
		return err
	}
	if q.Assurance == nil && q.Controls == nil && q.NotAfter == nil {
		return wrong("must change something")
	}
	return nil
}

// Renewal is the body of POST /v1/tokens/{ref}/renew: there is nothing to say.
type Renewal struct{}

var renewal = table[Renewal]{}

func (q *Renewal) read(d *decoder) *FieldError { return renewal.read(d, q) }

// Decision is the body of POST /v1/tokens/{ref}/decision.
type Decision struct {
	Decision string `json:"decision"` // APPROVED, STEP_UP, DECLINED
}

var decision = table[Decision]{
	{"decision", must, func(d *decoder, v *Decision) *FieldError {
		return choice(d, &v.Decision, "APPROVED", "STEP_UP", "DECLINED")
	}},
}

func (q *Decision) read(d *decoder) *FieldError { return decision.read(d, q) }

// Notice is the body of POST /v1/tokens/{ref}/notice.
type Notice struct {
	Result string `json:"result"` // SUCCESS, FAILURE
	Reason string `json:"reason,omitempty"`
}

var notice = table[Notice]{
	{"result", must, func(d *decoder, v *Notice) *FieldError { return choice(d, &v.Result, "SUCCESS", "FAILURE") }},
	{"reason", may, func(d *decoder, v *Notice) *FieldError { return note(d, &v.Reason, 64) }},
}

func (q *Notice) read(d *decoder) *FieldError { return notice.read(d, q) }
