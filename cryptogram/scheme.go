package cryptogram

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Card names a card by what its file 0015 says.
type Card struct {
	Issuer [8]byte  // issuer identifier, bytes 0 to 7
	ASN    [10]byte // application serial number, bytes 10 to 19
}

// ASN8 is the last 8 bytes of the serial number: the factor of the card itself.
func (c Card) ASN8() keyref.Factor { return keyref.Factor(c.ASN[2:]) }

// FactorRule says how one level of diversification gets its factor from a
// card. Its text form, used in configuration, is one of
//
//	issuer8                 the issuer identifier as it is
//	issuer4x2               the first 4 bytes of the issuer identifier, twice
//	asn8                    the last 8 bytes of the serial number
//	fixed:0123456789ABCDEF  the same 8 bytes for every card
type FactorRule struct {
	kind  factorKind
	fixed keyref.Factor
}

type factorKind uint8

const (
	_ factorKind = iota
	factorIssuer8
	factorIssuer4x2
	factorASN8
	factorFixed
)

var factorNames = map[string]factorKind{"issuer8": factorIssuer8, "issuer4x2": factorIssuer4x2, "asn8": factorASN8}

const fixedPrefix = "fixed:"

// ParseFactorRule reads the text form.
func ParseFactorRule(text string) (FactorRule, error) {
	if k, ok := factorNames[text]; ok {
		return FactorRule{kind: k}, nil
	}
	digits, ok := strings.CutPrefix(text, fixedPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != 8 {
		return FactorRule{}, fmt.Errorf("%w: a factor is issuer8, issuer4x2, asn8 or fixed: and 16 hex digits", ErrMalformed)
	}
	return FactorRule{kind: factorFixed, fixed: keyref.Factor(b)}, nil
}

// UnmarshalText is [ParseFactorRule].
func (r *FactorRule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseFactorRule(string(text))
	return err
}

// MarshalText prints the text form.
func (r FactorRule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String prints the text form.
func (r FactorRule) String() string {
	for name, k := range factorNames {
		if k == r.kind {
			return name
		}
	}
	return fixedPrefix + strings.ToUpper(hex.EncodeToString(r.fixed[:]))
}

// of returns the factor of card c.
func (r FactorRule) of(c Card) (f keyref.Factor) {
	switch r.kind {
	case factorIssuer8:
		return keyref.Factor(c.Issuer)
	case factorIssuer4x2:
		copy(f[:4], c.Issuer[:4])
		copy(f[4:], c.Issuer[:4])
		return f
	case factorASN8:
		return c.ASN8()
	default:
		return r.fixed
	}
}

// given reports whether c has what the factor is made of: none of it is zero on
// a card, so it was left away.
func (r FactorRule) given(c Card) bool {
	switch r.kind {
	case factorIssuer8, factorIssuer4x2:
		return c.Issuer != [8]byte{}
	case factorASN8:
		return c.ASN != [10]byte{}
	}
	return true
}

// What cards compute.
const (
	TDES = "3des"
	SM4  = "sm4"
)

// Scheme is one realm of cards: what its issuer decided where the standard
// leaves a choice.
type Scheme struct {
	Realm string // name that keys of this realm carry

	// Factors, root first, up to three. None means that the stored keys are
	// the keys of one card.
	Factors []FactorRule

	// Algorithms maps the algorithm identifier a card answers to what it
	// computes ("3des" or "sm4"). Cards disagree with the standard here, so it is stated.
	Algorithms map[byte]string

	// KeyVersions maps the key version a card answers to the version of the
	// master in the HSM.
	KeyVersions map[byte]uint8

	// Follow answers instead, where key ceremonies change the versions while the
	// service runs; nil: KeyVersions always.
	Follow func(u keyref.Usage, keyVer byte) (version uint8, ok bool)

	TAC          TACMode // purchases and loads
	OverdraftTAC TACMode // overdraft updates: sources disagree, so it has its own setting
	AuthCode     bool    // purchases may carry the 9-byte code in MAC1; otherwise it is refused
}

// Validate reports what is wrong with s. Its messages are for whoever writes
// the configuration.
func (s Scheme) Validate() error {
	probe := keyref.Ref{Realm: s.Realm, Usage: keyref.PurchaseMaster, Version: 1}
	switch {
	case !probe.Valid():
		return fmt.Errorf("%w: realm name %q: lower-case letters, digits and hyphens, up to 32", ErrMalformed, s.Realm)
	case len(s.Factors) > keyref.MaxLevels:
		return fmt.Errorf("%w: realm %s: at most %d factors", ErrMalformed, s.Realm, keyref.MaxLevels)
	case len(s.Algorithms) == 0 || len(s.KeyVersions) == 0:
		return fmt.Errorf("%w: realm %s: no algorithms or no key versions", ErrMalformed, s.Realm)
	case !s.TAC.Valid() || !s.OverdraftTAC.Valid():
		return fmt.Errorf("%w: realm %s: a TAC mode is fold, direct or refuse", ErrMalformed, s.Realm)
	}
	for _, r := range s.Factors {
		if r.kind == 0 {
			return fmt.Errorf("%w: realm %s: empty factor", ErrMalformed, s.Realm)
		}
	}
	for id, a := range s.Algorithms {
		if a != TDES && a != SM4 {
			return fmt.Errorf("%w: realm %s: algorithm %q of id %d is not computed here", ErrMalformed, s.Realm, a, id)
		}
	}
	for v, m := range s.KeyVersions {
		if m == 0 {
			return fmt.Errorf("%w: realm %s: key version %d maps to master version 0; they start at 1", ErrMalformed, s.Realm, v)
		}
	}
	return nil
}

// Purchase reports whether p can be a purchase in this scheme.
func (s Scheme) Purchase(p Purchase) error {
	if p.AuthCode != nil && !s.AuthCode {
		return fmt.Errorf("%w: cards of this realm have no authentication code", ErrTransaction)
	}
	return p.Validate()
}

// Keyed is what of c its keys are made of, and nothing else: two that it is the
// same of have the same keys.
func (s Scheme) Keyed(c Card) (out Card) {
	for _, r := range s.Factors {
		switch r.kind {
		case factorIssuer8:
			out.Issuer = c.Issuer
		case factorIssuer4x2:
			copy(out.Issuer[:4], c.Issuer[:4])
		case factorASN8:
			copy(out.ASN[2:], c.ASN[2:])
		}
	}
	return out
}

// Key returns the path to the key of usage u of card c, for a card that
// answered keyVer and algID. [ErrNoKey] says that the scheme has none.
func (s Scheme) Key(u keyref.Usage, c Card, keyVer, algID byte) (keyref.Path, error) {
	ok := true
	switch s.Algorithms[algID] {
	case TDES:
	case SM4:
		u, ok = u.SM4()
	default:
		ok = false
	}
	if !ok {
		return keyref.Path{}, fmt.Errorf("%w: algorithm id %d", ErrNoKey, algID)
	}
	version, ok := s.version(u, keyVer)
	if !ok {
		return keyref.Path{}, fmt.Errorf("%w: key version %d", ErrNoKey, keyVer)
	}
	p := keyref.Path{Key: keyref.Ref{Realm: s.Realm, Usage: u, Version: version}}
	for _, r := range s.Factors {
		if !r.given(c) {
			return keyref.Path{}, fmt.Errorf("%w: the card's %s is needed", ErrMalformed, r)
		}
		var err error
		if p, err = p.Append(r.of(c)); err != nil {
			return keyref.Path{}, err
		}
	}
	return p, nil
}

func (s Scheme) version(u keyref.Usage, keyVer byte) (uint8, bool) {
	if s.Follow != nil {
		return s.Follow(u, keyVer)
	}
	v, ok := s.KeyVersions[keyVer]
	return v, ok
}

// TACKey returns the path to the TAC key of card c under mode m. A scheme
// without levels stores that key in the form its mode needs.
func (s Scheme) TACKey(m TACMode, c Card, keyVer, algID byte) (keyref.Path, error) {
	u := keyref.TACMaster
	switch {
	case m == TACRefuse:
		return keyref.Path{}, fmt.Errorf("%w: the realm computes no such TAC", ErrNoKey)
	case len(s.Factors) == 0 && m == TACFold:
		u = keyref.FoldedTAC
	case len(s.Factors) == 0:
		u = keyref.RetailTAC
	}
	return s.Key(u, c, keyVer, algID)
}
