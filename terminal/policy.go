package terminal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Range is a block of token numbers: those of Length digits that begin with
// Prefix.
type Range struct {
	Prefix string
	Length int // 13 to 19
}

// Policy is what a reader was told beforehand by those who run the scheme. It decides
// which cards are phones; a card's own word never does: otherwise a forger would show a
// token as a plain card and escape its cap, its expiry and the check of its credential.
type Policy struct {
	AID []byte // application to select; nil: A000000632010105
	// Tokens lists the ranges whose members are phones. A reader without any
	// takes every card for a plain one, and phones then refuse it.
	Tokens []Range
	// Issuers pins the keys that credentials are verified with.
	Issuers credential.Keys
	// RequireProof demands a device proof of every phone. Terminals of class
	// [deny.Vehicle] do so whatever stands here.
	RequireProof bool
	// Skew is how far clocks may disagree; 0: 120 s.
	Skew time.Duration
}

var defaultAID = []byte{0xA0, 0x00, 0x00, 0x06, 0x32, 0x01, 0x01, 0x05}

func (p *Policy) fill() error {
	if p.AID == nil {
		p.AID = defaultAID
	}
	if p.Skew == 0 {
		p.Skew = 120 * time.Second
	}
	for _, r := range p.Tokens {
		if r.Prefix == "" || r.Length < 13 || r.Length > 19 || len(r.Prefix) >= r.Length || strings.Trim(r.Prefix, "0123456789") != "" {
			return errors.New("terminal: a token range has a prefix of digits and 13 to 19 digits in all")
		}
	}
	if len(p.Tokens) > 0 && len(p.Issuers) == 0 {
		return errors.New("terminal: token ranges need a pinned issuer key")
	}
	return nil
}

// phone reports whether asn is a token number of the policy.
func (p *Policy) phone(asn [10]byte) bool {
	digits := strings.TrimLeft(hex.EncodeToString(asn[:]), "0")
	for _, r := range p.Tokens {
		if len(digits) == r.Length && strings.HasPrefix(digits, r.Prefix) {
			return true
		}
	}
	return false
}

// PolicyOf is what a signed policy tells a reader of a class.
func PolicyOf(p deny.Policy, c deny.Class) Policy {
	out := Policy{AID: p.AID, Issuers: credential.Keys(p.Issuers), RequireProof: slices.Contains(p.Proof, c), Skew: p.Tolerance}
	for _, r := range p.Ranges {
		if r.Levels == 3 {
			out.Tokens = append(out.Tokens, Range{r.Prefix, r.Length})
		}
	}
	return out
}

// Lists is where a reader finds the newest deny list that it holds, such as a
// [deny.File]. Each tap asks once and is judged by that list. It is safe for
// concurrent use.
type Lists interface{ Current() *deny.List }

// Refusal says why a reader refused a tap. It is an error that others wrap;
// errors.Is finds it.
type Refusal string

// Refusals, in the order in which a reader comes to them.
const (
	Unreadable Refusal = "unreadable" // no answer, or one that is not in its format
	Untrusted  Refusal = "untrusted"  // no pinned key vouches for the credential
	Window     Refusal = "window"     // not yet good, or no longer
	Denied     Refusal = "denied"     // on the deny list, or switched off by it
	Seen       Refusal = "seen"       // this slot paid here before
	Mismatch   Refusal = "mismatch"   // card, credential and slot do not belong together
	OverCap    Refusal = "over-cap"   // more than the slot pays, or than an old deny list allows
	NoProof    Refusal = "no-proof"   // no fresh device proof where one is demanded
	Card       Refusal = "card"       // the card answered a status other than 9000
	Module     Refusal = "module"     // the PSAM did
	BadMAC2    Refusal = "mac2"       // the card's answer does not prove a debit
	NotKept    Refusal = "not-kept"   // the tap could not be made durable
	Declined   Refusal = "declined"   // asked online, the service said no
)

// Error implements error.
func (r Refusal) Error() string { return "tap refused: " + string(r) }

// because gives a refusal its cause.
func because(r Refusal, err error) error { return fmt.Errorf("%w: %w", r, err) }
