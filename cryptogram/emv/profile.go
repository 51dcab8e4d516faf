package emv

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

// Data holds the fields of one transaction by tag, in upper-case hex, and by
// name where a field has no tag of its own (CVR, COUNTERS, LUK).
type Data map[string][]byte

// Field is one field of a cryptogram's input: a name and how long it may be.
// Its text form is name:length, or name:least-most.
type Field struct {
	Name        string
	Least, Most int
}

// ParseField reads the text form.
func ParseField(text string) (f Field, err error) {
	name, length, ok := strings.Cut(text, ":")
	least, most, span := strings.Cut(length, "-")
	if !span {
		most = least
	}
	var err2 error
	f.Name = name
	f.Least, err = strconv.Atoi(least)
	f.Most, err2 = strconv.Atoi(most)
	if !ok || err != nil || err2 != nil || f.String() != text || !f.valid() {
		return Field{}, fmt.Errorf("%w: a field is name:length or name:least-most", ErrMalformed)
	}
	return f, nil
}

func (f Field) valid() bool {
	if f.Name == "" || len(f.Name) > 16 || f.Least < 1 || f.Most < f.Least || f.Most > 255 {
		return false
	}
	for _, c := range f.Name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// String prints the text form.
func (f Field) String() string {
	if f.Most == f.Least {
		return fmt.Sprintf("%s:%d", f.Name, f.Least)
	}
	return fmt.Sprintf("%s:%d-%d", f.Name, f.Least, f.Most)
}

// UnmarshalText is [ParseField].
func (f *Field) UnmarshalText(text []byte) (err error) {
	*f, err = ParseField(string(text))
	return err
}

// MarshalText prints the text form.
func (f Field) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Padding says how the input of a Triple DES cryptogram is filled up.
type Padding uint8

// Paddings of ISO 9797-1. AES-CMAC pads by itself: 0.
const (
	PadZeros  Padding = 1
	PadMarker Padding = 2
)

// pad fills msg up to blocks of 8.
func (p Padding) pad(msg []byte) ([]byte, error) {
	switch p {
	case PadZeros:
		return mac.Pad1(msg, 8), nil
	case PadMarker:
		return mac.Pad2(msg, 8), nil
	}
	return nil, fmt.Errorf("%w: padding %d", ErrMalformed, p)
}

// Response says how the issuer answers a cryptogram.
type Response struct {
	Method int  `json:"method"` // 1: with the authorisation response code; 2: with card status updates
	Master bool `json:"master"` // under the card's key, not the transaction's
}

// Profile is what a scheme decided about application cryptograms. Its JSON form
// is how a scheme is added.
type Profile struct {
	Name     string      `json:"name"`
	Master   MasterRule  `json:"master"`
	Session  SessionRule `json:"session"`
	Fields   []Field     `json:"fields"`
	Padding  Padding     `json:"padding"`
	Response Response    `json:"response"`
	// IAD says how 9F10 is divided, where fields are parts of it. Empty: it is not.
	IAD IADLayout `json:"iad,omitempty"`
}

// ParseProfile reads the JSON form, strictly.
func ParseProfile(text []byte) (p Profile, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("%w: reading a profile: %w", ErrMalformed, err)
	}
	if d.More() {
		return Profile{}, fmt.Errorf("%w: something follows the profile", ErrMalformed)
	}
	if err := p.Validate(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

// Validate reports what is wrong with p.
func (p Profile) Validate() error {
	switch {
	case p.Name == "" || len(p.Fields) == 0 || len(p.Fields) > 64:
		return fmt.Errorf("%w: a profile has a name and 1 to 64 fields", ErrMalformed)
	case !p.Master.Valid() || !p.Session.Valid():
		return fmt.Errorf("%w: profile %s: no such rule for the card's or the transaction's key", ErrMalformed, p.Name)
	case p.Master.AES() != (p.Padding == 0) || p.Padding > PadMarker:
		return fmt.Errorf("%w: profile %s: padding is 1 or 2, and 0 for AES", ErrMalformed, p.Name)
	case p.Response.Method < 0 || p.Response.Method > 2 || p.Master.AES() && p.Response.Method == 1:
		return fmt.Errorf("%w: profile %s: an answer is by method 1 or 2, or none; for AES by method 2", ErrMalformed, p.Name)
	case p.Master.AES() && p.Session != SessionCommon && p.Session != SessionNone:
		return fmt.Errorf("%w: profile %s: AES has the common session key only", ErrMalformed, p.Name)
	}
	if p.IAD != "" && p.IAD != IADVisa1 && p.IAD != IADVisa2 && p.IAD != IADMChip {
		return fmt.Errorf("%w: profile %s: no such layout of 9F10", ErrMalformed, p.Name)
	}
	for _, f := range p.Fields {
		if !f.valid() {
			return fmt.Errorf("%w: profile %s: bad field", ErrMalformed, p.Name)
		}
	}
	return nil
}

// Input puts the fields of d together in the order of p.
func (p Profile) Input(d Data) (msg []byte, err error) {
	msg = make([]byte, 0, usual)
	for _, f := range p.Fields {
		v := d[f.Name]
		if len(v) < f.Least || len(v) > f.Most {
			return nil, &FieldError{f.Name, f.lengths()}
		}
		msg = append(msg, v...)
	}
	return msg, nil
}

// usual is as long as the data of most cryptograms is, and a little more.
const usual = 64

// Divide adds the parts of 9F10 that fields of p are, where d lacks them.
func (p Profile) Divide(d Data) error {
	if p.IAD == "" || len(d["9F10"]) == 0 || len(d["CVR"]) > 0 || !p.uses("CVR") && !p.uses("COUNTERS") {
		return nil
	}
	parts, err := SplitIAD(p.IAD, d["9F10"])
	if err != nil {
		return err
	}
	parts.Fill(d)
	return nil
}

func (p Profile) uses(name string) bool {
	return slices.ContainsFunc(p.Fields, func(f Field) bool { return f.Name == name })
}

// Usage is what the issuer's key of p is for. Keys that a PIN masks have other
// usages, so no profile reaches them.
func (p Profile) Usage() keyref.Usage {
	switch {
	case p.Master.AES():
		return keyref.ACMasterAES
	case p.Session == SessionLimited:
		return keyref.LimitedUseMaster
	}
	return keyref.ACMaster
}

// Card leads from an issuer's key to that of a card.
func (p Profile) Card(master keyref.Ref, c Card) (keyref.Chain, error) {
	step, err := p.Master.Step(c)
	if err != nil {
		return keyref.Chain{}, err
	}
	return keyref.Chain{Key: master}.Then(step), nil
}

// Transaction leads from a card's key to that of a transaction.
func (p Profile) Transaction(card keyref.Chain, d Data) (keyref.Chain, error) {
	step, ok, err := p.Session.Step(p.Master.keySize(), d)
	if err != nil || !ok {
		return card, err
	}
	return card.Then(step), nil
}

// common are the ten fields that most profiles begin with.
var common = fields("9F02:6", "9F03:6", "9F1A:2", "95:5", "5F2A:2", "9A:3", "9C:1", "9F37:4", "82:2", "9F36:2")

func fields(texts ...string) (fs []Field) {
	for _, t := range texts {
		f, err := ParseField(t)
		if err != nil {
			panic(err)
		}
		fs = append(fs, f)
	}
	return fs
}

func with(texts ...string) []Field {
	return append(common[:len(common):len(common)], fields(texts...)...)
}

// Profiles are the ones that this build knows by name. CVR and COUNTERS are
// parts of 9F10, which [SplitIAD] finds.
var Profiles = map[string]Profile{
	"visa-10":     {"visa-10", OptionA, SessionNone, with("CVR:4"), PadZeros, Response{1, true}, IADVisa1},
	"visa-18":     {"visa-18", OptionB, SessionCommon, with("9F10:7"), PadMarker, Response{2, false}, IADVisa1},
	"visa-22":     {"visa-22", OptionB, SessionCommon, with("9F10:32"), PadMarker, Response{2, false}, IADVisa2},
	"visa-luk":    {"visa-luk", OptionA, SessionLimited, with("CVR:4"), PadMarker, Response{2, false}, IADVisa1},
	"mchip-16":    {"mchip-16", OptionA, SessionMChip, with("CVR:6"), PadMarker, Response{1, true}, IADMChip},
	"mchip-17":    {"mchip-17", OptionA, SessionMChip, with("CVR:6", "COUNTERS:8-16"), PadMarker, Response{1, true}, IADMChip},
	"mchip-20":    {"mchip-20", OptionA, SessionCommon, with("CVR:6"), PadMarker, Response{1, false}, IADMChip},
	"mchip-21":    {"mchip-21", OptionA, SessionCommon, with("CVR:6", "COUNTERS:8-16"), PadMarker, Response{1, false}, IADMChip},
	"interac-133": {"interac-133", OptionA, SessionMChip, with("9F10:7-32"), PadMarker, Response{1, false}, ""},
	"emv-aes-128": {"emv-aes-128", OptionC128, SessionCommon, with("9F10:1-32"), 0, Response{2, false}, ""},
	"emv-aes-192": {"emv-aes-192", OptionC192, SessionCommon, with("9F10:1-32"), 0, Response{2, false}, ""},
	"emv-aes-256": {"emv-aes-256", OptionC256, SessionCommon, with("9F10:1-32"), 0, Response{2, false}, ""},
}
