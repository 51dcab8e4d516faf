// Package issuerhost answers for an issuer's EMV cards, and for tokens that pay
// as such: it checks the cryptograms of transactions and makes the issuer's
// answers.
//
// What a scheme decided is a profile, which is data. A transaction's counter
// is taken once it is known that its card made the cryptogram, and before the
// answer is: a crash loses an answer, never the protection against replay.
// Checks that take no counter are for cards only, since they can be repeated:
// tokens are refused there, and keys that a PIN masks cannot be named at all.
package issuerhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// Sentinels.
var (
	// ErrRefused reports a cryptogram that its card did not make over this
	// data, or a token that may not pay. Audit says which.
	ErrRefused = fault.New(fault.Refused, "the cryptogram is refused")
	// ErrProfile reports a profile that the issuer does not use.
	ErrProfile = fault.New(fault.ProfileUnknown, "this issuer uses no such profile")
	// ErrIssuer reports a number that belongs to no issuer here.
	ErrIssuer = fault.New(fault.RealmUnknown, "no issuer of this service has this number or key")
	// ErrReplayed and ErrJumped report good cryptograms with a counter that was
	// used, or is too far from the last one.
	ErrReplayed = fault.New(fault.CounterReplayed, "the transaction counter was used before")
	ErrJumped   = fault.New(fault.CounterJumped, "the transaction counter is too far from the last one")
	// ErrMisses reports a caller that has shown too many bad cryptograms.
	ErrMisses = fault.New(fault.TooFast, "too many cryptograms of this card were refused today")
	// ErrSlotToken reports a token where only cards are served.
	ErrSlotToken = fault.New(fault.SlotToken, "tokens are not judged without their counter")
	// ErrCardIsToken reports a token's number given as a card's.
	ErrCardIsToken = fault.New(fault.CardIsToken, "this card number is a token: name the token")
)

// Issuer is a family of cards or tokens that share masters.
type Issuer struct {
	Realm    string         // begins the labels of its keys
	Prefixes []string       // what its numbers begin with
	Profiles []string       // names of profiles
	Extra    []keyref.Usage // of keys that it has besides those of its profiles: see [Extras]
	Versions []uint8        // of its masters; the first makes what a request names no version for, and all check it
	// Follow returns them instead while key ceremonies change them; nil: Versions
	// always.
	Follow func() []uint8
	// Requestors are whose callers are served; empty: every caller with the right.
	Requestors []string
	Ahead      uint16 // how far a counter may jump; 0: 1000
	Behind     uint8  // how far a late one may lie behind, unused; at most 63
}

const defaultAhead = 1000

// Extras are the usages of keys that an issuer may have besides its profiles'.
var Extras = []keyref.Usage{keyref.CVK, keyref.CVC3Master, keyref.IntegrityMaster, keyref.ConfidentialityMaster, keyref.DeviceMaster, keyref.UserMaster}

// What the service needs of others.
type (
	// Tokens reads tokens. Errors for those that do not exist are of kind
	// [fault.TokenUnknown].
	Tokens interface {
		Token(ctx context.Context, ref token.Ref) (token.Token, error)
		ByNumber(ctx context.Context, n token.Number, at time.Time) (token.Token, error)
	}
	// TokenRanges tells token numbers from card numbers.
	TokenRanges interface {
		IsToken(asn [10]byte) bool
	}
	// Names makes the keyed hash that counters are kept under.
	Names interface {
		HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	}
	// Counters keeps counters. What it returns is durable, and it is safe for
	// concurrent use, of several processes too.
	Counters interface {
		// Spend takes one value of a counter within a window, at most once. The
		// same attempt again succeeds again. It returns [ErrReplayed] or
		// [ErrJumped] and then takes nothing.
		Spend(ctx context.Context, client string, a access.Attempt, name [32]byte, value uint16, w Window) error
		// Misses returns how many checks of a name a client failed today. Miss counts one
		// more, and returns how many they are then.
		Misses(ctx context.Context, client string, name [32]byte) (int, error)
		Miss(ctx context.Context, client string, name [32]byte) (int, error)
		// Take counts one more before a check is made, unless there are most already:
		// giveBack is nil then. Whoever finds that the check held gives it back.
		Take(ctx context.Context, client string, name [32]byte, most int) (giveBack func(context.Context) error, err error)
	}
)

// Config is what a [Service] is made of. Fields without a default are required.
type Config struct {
	Keys     emv.Keys
	Gate     audit.Gate
	Issuers  []Issuer
	Profiles []emv.Profile // besides the built-in ones, or instead of those of the same name
	Tokens   Tokens
	Ranges   TokenRanges
	Names    Names
	NameKey  keyref.Ref // of usage par: what it names never changes
	Counters Counters
	Controls Controls
	Uses     Uses
	PINs     PINTries
	Opener   Opener           // of sealed PINs; nil: cards get none
	Reveal   emv.Revealer     // nil: no card's key is in memory, and Visa's older rules are not served
	Now      func() time.Time // nil: time.Now
}

// Service answers for issuers. Safe for concurrent use.
type Service struct {
	cfg      Config
	profiles map[string]emv.Profile
	lanes    guess.Lanes // what is judged of a name for a caller
	debts    guess.Debts
}

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Keys == nil || c.Gate.Recorder == nil || c.Tokens == nil || c.Ranges == nil || c.Names == nil || c.Counters == nil || c.Controls == nil || c.Uses == nil || c.PINs == nil {
		return nil, errors.New("configuring issuers: keys, gate, tokens, ranges, names, counters, controls, uses and tries of PINs are required")
	}
	if c.NameKey.Usage != keyref.PARKey {
		return nil, errors.New("configuring issuers: counters are named with a key of usage par")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	profiles, err := Profiles(c.Profiles)
	if err != nil {
		return nil, err
	}
	if err := check(c.Issuers, profiles); err != nil {
		return nil, err
	}
	return &Service{cfg: c, profiles: profiles}, nil
}

// Profiles returns the built-in profiles and those of a configuration by name.
func Profiles(own []emv.Profile) (map[string]emv.Profile, error) {
	all := map[string]emv.Profile{}
	for name, p := range emv.Profiles {
		all[name] = p
	}
	seen := map[string]bool{}
	for _, p := range own {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("configuring profiles: %w", err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("configuring profiles: %s is given twice", p.Name)
		}
		seen[p.Name], all[p.Name] = true, p
	}
	return all, nil
}

// Check reports what is wrong with issuers, without keys or a database.
func Check(issuers []Issuer, own []emv.Profile) error {
	profiles, err := Profiles(own)
	if err != nil {
		return err
	}
	return check(issuers, profiles)
}

func check(issuers []Issuer, profiles map[string]emv.Profile) error {
	prefixes, realms := map[string]bool{}, map[string]bool{}
	for _, i := range issuers {
		ref := keyref.Ref{Realm: i.Realm, Usage: keyref.ACMaster, Version: 1}
		if !ref.Valid() || realms[i.Realm] {
			return fmt.Errorf("configuring issuers: realm %q is no name of a realm, or given twice", i.Realm)
		}
		realms[i.Realm] = true
		if len(i.Prefixes) == 0 || len(i.Profiles) == 0 || len(i.Versions) == 0 || slices.Contains(i.Versions, 0) || i.Behind > 63 {
			return fmt.Errorf("configuring issuers: %s needs prefixes, profiles and versions from 1, and takes counters at most 63 behind", i.Realm)
		}
		for _, p := range i.Prefixes {
			if len(p) < 2 || len(p) > 12 || strings.Trim(p, "0123456789") != "" || prefixes[p] {
				return fmt.Errorf("configuring issuers: prefix %q of %s is not 2 to 12 digits, or given twice", p, i.Realm)
			}
			prefixes[p] = true
		}
		for _, u := range i.Extra {
			if !slices.Contains(Extras, u) {
				return fmt.Errorf("configuring issuers: %s: %q is no key that an issuer has besides its profiles'", i.Realm, u)
			}
		}
		for _, name := range i.Profiles {
			if _, ok := profiles[name]; !ok {
				return fmt.Errorf("configuring issuers: %s uses the profile %q, which nobody gave", i.Realm, name)
			}
		}
	}
	return nil
}

// Keys lists the masters that issuers need, each once.
func Keys(issuers []Issuer, own []emv.Profile) ([]keyref.Ref, error) {
	profiles, err := Profiles(own)
	if err != nil {
		return nil, err
	}
	var refs []keyref.Ref
	for _, i := range issuers {
		usages := slices.Clone(i.Extra)
		for _, name := range i.Profiles {
			usages = append(usages, profiles[name].Usage())
		}
		for _, u := range usages {
			for _, v := range i.Versions {
				ref := keyref.Ref{Realm: i.Realm, Usage: u, Version: v}
				if !slices.Contains(refs, ref) {
					refs = append(refs, ref)
				}
			}
		}
	}
	return refs, nil
}

// issuer finds whose number it is, by the longest prefix.
func (s *Service) issuer(number string) (best Issuer, ok bool) {
	long := 0
	for _, i := range s.cfg.Issuers {
		for _, p := range i.Prefixes {
			if len(p) > long && strings.HasPrefix(number, p) {
				best, long, ok = i, len(p), true
			}
		}
	}
	if best.Follow != nil {
		best.Versions = best.Follow()
	}
	return best, ok
}
