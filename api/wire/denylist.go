package wire

import "time"

// DenyOrder is the body of POST /v1/denylist/entries: an entry or the circuit
// breaker, one of them.
type DenyOrder struct {
	Entry  *DenyEntry  `json:"entry,omitempty"`
	Policy *DenyPolicy `json:"policy,omitempty"`
	Reason string      `json:"reason"`
}

// DenyEntry is an entry that an operator orders. Tokens are denied by suspending
// or deleting them.
type DenyEntry struct {
	Kind     string     `json:"kind"`                         // KID, MIN_CTR or SAM
	KeyID    uint16     `json:"key_id,omitempty"`             // of KID
	Ref      string     `json:"token_reference_id,omitempty"` // of MIN_CTR
	MinCtr   uint16     `json:"min_ctr,omitempty"`            // of MIN_CTR: the first counter that pays
	Terminal *Hex6      `json:"terminal,omitempty"`           // of SAM
	Until    *time.Time `json:"until"`                        // a moment that has passed lifts the order
}

// DenyPolicy says what is off for every reader. What is absent is on.
type DenyPolicy struct {
	Profiles    []string `json:"profiles,omitempty"`     // P, X
	Classes     []string `json:"classes,omitempty"`      // of slots: E, S, M, X
	KeyVersions []uint8  `json:"key_versions,omitempty"` // of slot masters, 1 to 15
	Cap         uint32   `json:"cap_fen,omitempty"`      // most that one tap pays; 0: as the slot says
}

// The kinds of [DenyEntry].
const (
	DenyKeyID  = "KID"
	DenyMinCtr = "MIN_CTR"
	DenySAM    = "SAM"
)

var denyEntry = table[DenyEntry]{
	{"kind", must, func(d *decoder, v *DenyEntry) *FieldError { return choice(d, &v.Kind, DenyKeyID, DenyMinCtr, DenySAM) }},
	{"key_id", may, func(d *decoder, v *DenyEntry) *FieldError { return unsigned(d, &v.KeyID) }},
	{"token_reference_id", may, func(d *decoder, v *DenyEntry) *FieldError { return name(d, &v.Ref, 64) }},
	{"min_ctr", may, func(d *decoder, v *DenyEntry) *FieldError { return unsigned(d, &v.MinCtr) }},
	{"terminal", may, func(d *decoder, v *DenyEntry) *FieldError { return optional(d, &v.Terminal) }},
	{"until", must, func(d *decoder, v *DenyEntry) *FieldError { return moment(d, &v.Until) }},
}

// read also refuses what the kind does not ask for: an order that says more than
// it does was meant otherwise.
func (e *DenyEntry) read(d *decoder) *FieldError {
	if err := denyEntry.read(d, e); err != nil {
		return err
	}
	has := map[string]bool{DenyKeyID: e.KeyID != 0, DenyMinCtr: e.Ref != "" && e.MinCtr != 0, DenySAM: e.Terminal != nil}
	given := 0
	for _, one := range []bool{e.KeyID != 0, e.Ref != "" || e.MinCtr != 0, e.Terminal != nil} {
		if one {
			given++
		}
	}
	if !has[e.Kind] || given != 1 {
		return wrong("must name a key_id, a token_reference_id with min_ctr, or a terminal, as its kind asks")
	}
	return nil
}

var denyPolicy = table[DenyPolicy]{
	{"profiles", may, func(d *decoder, v *DenyPolicy) *FieldError {
		return list(d, &v.Profiles, 2, func(d *decoder, s *string) *FieldError { return choice(d, s, "P", "X") })
	}},
	{"classes", may, func(d *decoder, v *DenyPolicy) *FieldError {
		return list(d, &v.Classes, 4, func(d *decoder, s *string) *FieldError { return choice(d, s, "E", "S", "M", "X") })
	}},
	{"key_versions", may, func(d *decoder, v *DenyPolicy) *FieldError {
		return list(d, &v.KeyVersions, 15, func(d *decoder, n *uint8) *FieldError {
			if err := unsigned(d, n); err != nil {
				return err
			}
			if *n < 1 || *n > 15 {
				return wrong("must be a whole number from 1 to 15")
			}
			return nil
		})
	}},
	{"cap_fen", may, func(d *decoder, v *DenyPolicy) *FieldError { return unsigned(d, &v.Cap) }},
}

var denyOrder = table[DenyOrder]{
	{"entry", may, func(d *decoder, v *DenyOrder) *FieldError { v.Entry = new(DenyEntry); return v.Entry.read(d) }},
	{"policy", may, func(d *decoder, v *DenyOrder) *FieldError {
		v.Policy = new(DenyPolicy)
		return denyPolicy.read(d, v.Policy)
	}},
	{"reason", must, func(d *decoder, v *DenyOrder) *FieldError { return note(d, &v.Reason, 64) }},
}

func (q *DenyOrder) read(d *decoder) *FieldError {
	if err := denyOrder.read(d, q); err != nil {
		return err
	}
	if (q.Entry == nil) == (q.Policy == nil) {
		return wrong("must hold an entry or a policy, one of them")
	}
	return nil
}

// DenyVersion is the answer to [DenyOrder]: the list as it is now.
type DenyVersion struct {
	Version     uint64    `json:"version"`
	PublishedAt time.Time `json:"published_at"`
}

// Authorize is the body of POST /v1/terminals/{terminal}/authorize: a tap that
// was just made.
type Authorize struct {
	Tap Tap `json:"tap"`
}

var authorize = table[Authorize]{
	{"tap", must, func(d *decoder, v *Authorize) *FieldError { return tap.read(d, &v.Tap) }},
}

func (q *Authorize) read(d *decoder) *FieldError { return authorize.read(d, q) }

// Authorized is the answer to [Authorize].
type Authorized struct {
	Decision string `json:"decision"` // ACCEPTED or DECLINED
	TapResult
	Wallet string `json:"wallet_state,omitempty"` // ACTIVE, RESTRICTED, SUSPENDED or CLOSED; absent: the token is in no wallet
	Script string `json:"script,omitempty"`       // for the device, in hex; the terminal carries it
}
