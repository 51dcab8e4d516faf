package vault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tapvault/tapvault/token"
)

// Range is a range of token numbers: prefix, permuted serial, and a check
// digit if Luhn is set. Once numbers were given out of it, those never change.
type Range struct {
	Name   string // 1 to 32 of a-z, 0-9 and -, first a letter
	Prefix string // digits, the first not 0
	Length int    // digits of a number in all, 13 to 19
	Luhn   bool
	// Requestor is whom it is kept for; "": for everybody.
	Requestor token.Requestor
	// Scheme is whose cards it is kept for, as card ranges name it; "": for all
	// cards.
	Scheme string
}

// CardRange is a range of card numbers or application serial numbers.
type CardRange struct {
	Prefix string
	Length int    // 12 to 19, or 20 for serial numbers that fill their field
	Scheme string // whose cards these are; "" when no token range asks
}

// shape is what numbers hang on: the part of a range that is stored. Whom it
// is kept for is configuration.
func (r Range) shape() Range {
	return Range{Name: r.Name, Prefix: r.Prefix, Length: r.Length, Luhn: r.Luhn}
}

// keptFor reports whether r is for tokens of a requestor and of cards of a
// scheme.
func (r Range) keptFor(requestor token.Requestor, scheme string) bool {
	return (r.Requestor == "" || r.Requestor == requestor) && (r.Scheme == "" || r.Scheme == scheme)
}

// schemeOf says whose card this is, by the most precise card range.
func (v *Vault) schemeOf(pan token.PAN) (scheme string) {
	best := -1
	for _, c := range v.cfg.CardRanges {
		if pan.Len() == c.Length && len(c.Prefix) > best && strings.HasPrefix(pan.Reveal(), c.Prefix) {
			best, scheme = len(c.Prefix), c.Scheme
		}
	}
	return scheme
}

// schemeOfCard says whose card this is, for the token that follows another of
// it. The range of that one need not be configured any more. The card is opened
// only where it matters.
func (v *Vault) schemeOfCard(ctx context.Context, row cardRow) (string, error) {
	if !slices.ContainsFunc(v.cfg.Ranges, func(r Range) bool { return r.Scheme != "" }) {
		return "", nil
	}
	pan, _, err := v.unseal(ctx, row)
	if err != nil {
		return "", err
	}
	return v.schemeOf(pan), nil
}

// minSerialDigits keeps a range over the smallest domain FF1 is good for;
// maxSerialDigits keeps serials inside 64 bits.
const (
	minSerialDigits = 6
	maxSerialDigits = 18
)

// The cuts that keys see of a number: e-purse masters the last 16 digits, EMV
// masters the last 14 (and the card sequence number).
var cuts = [...]int{16, 14}

var (
	rangeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	onlyDigit = regexp.MustCompile(`^[0-9]+$`)

	requestorID = regexp.MustCompile(`^[0-9]{11}$`)
)

// serialDigits is how many digits of a number are permuted serial.
func (r Range) serialDigits() int {
	n := r.Length - len(r.Prefix)
	if r.Luhn {
		n--
	}
	return n
}

func (r Range) check() error {
	switch d := r.serialDigits(); {
	case !rangeName.MatchString(r.Name):
		return fmt.Errorf("token range %q: a name has 1 to 32 of a-z, 0-9 and -, and begins with a letter", r.Name)
	case r.Length < 13 || r.Length > 19:
		return fmt.Errorf("token range %s: length %d is not between 13 and 19", r.Name, r.Length)
	case !onlyDigit.MatchString(r.Prefix) || r.Prefix[0] == '0':
		return fmt.Errorf("token range %s: the prefix must be digits and not begin with 0", r.Name)
	case r.Requestor != "" && !requestorID.MatchString(string(r.Requestor)):
		return fmt.Errorf("token range %s: a requestor has 11 digits", r.Name)
	case d < minSerialDigits || d > maxSerialDigits:
		return fmt.Errorf("token range %s: %d digits are left for the serial, %d to %d are needed",
			r.Name, d, minSerialDigits, maxSerialDigits)
	}
	for _, cut := range cuts {
		if r.Length-cut >= len(r.Prefix) {
			return fmt.Errorf("token range %s: of the last %d digits, which are all a key may see, none belongs to the prefix",
				r.Name, cut)
		}
	}
	return nil
}

// image is what is fixed of the last cut digits of numbers that begin with
// prefix; the rest of them may be anything. Shorter numbers are filled with
// zeros on the left, as keys see them.
func image(prefix string, length, cut int) string {
	if length <= cut {
		return strings.Repeat("0", cut-length) + prefix
	}
	return prefix[min(len(prefix), length-cut):]
}

// meet reports whether two images of one cut have a number in common.
func meet(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// CheckRanges refuses ranges whose numbers can look the same to a key; its error joins
// everything that is wrong. [Open] calls it with the stored ranges too; a
// configuration can be checked with it before there is a database.
func CheckRanges(ranges []Range, cards []CardRange) error {
	var wrong []error
	for _, c := range cards {
		if c.Length < 12 || c.Length > 20 || !onlyDigit.MatchString(c.Prefix) || len(c.Prefix) > c.Length {
			wrong = append(wrong, fmt.Errorf("card range %q: a prefix of digits and a length from 12 to 20 are needed", c.Prefix))
		}
	}
	for _, r := range ranges {
		if err := r.check(); err != nil {
			wrong = append(wrong, err)
		}
		if r.Scheme != "" && !slices.ContainsFunc(cards, func(c CardRange) bool { return c.Scheme == r.Scheme }) {
			wrong = append(wrong, fmt.Errorf("token range %s: no card range is of the scheme %q", r.Name, r.Scheme))
		}
	}
	if len(wrong) > 0 { // what such ranges hold cannot be compared
		return errors.Join(wrong...)
	}
	for i, r := range ranges {
		wrong = append(wrong, r.overlaps(ranges[:i], cards)...)
	}
	return errors.Join(wrong...)
}

// overlaps says which other ranges hold numbers that look like those of r to a key,
// each once.
func (r Range) overlaps(ranges []Range, cards []CardRange) (wrong []error) {
	for _, o := range ranges {
		if cut, ok := r.meets(o.Prefix, o.Length); ok {
			wrong = append(wrong, fmt.Errorf("token ranges %s and %s overlap in their last %d digits", o.Name, r.Name, cut))
		}
	}
	for _, c := range cards {
		if cut, ok := r.meets(c.Prefix, c.Length); ok {
			wrong = append(wrong, fmt.Errorf("token range %s overlaps the card range %s… of %d digits in their last %d digits",
				r.Name, c.Prefix, c.Length, cut))
		}
	}
	return wrong
}

// meets returns the longest cut in which a number of r and one of another range look
// the same.
func (r Range) meets(prefix string, length int) (cut int, ok bool) {
	for _, cut := range cuts {
		if meet(image(r.Prefix, r.Length, cut), image(prefix, length, cut)) {
			return cut, true
		}
	}
	return 0, false
}

// holds reports whether a number with these digits would look like one of r
// to an e-purse master.
func (r Range) holds(digits string) bool {
	return strings.HasPrefix(image(digits, len(digits), cuts[0]), image(r.Prefix, r.Length, cuts[0]))
}

// isTokenPAN reports whether a card of this number would look like a token to
// an e-purse master.
func (v *Vault) isTokenPAN(pan token.PAN) bool {
	return slices.ContainsFunc(v.ranges.all(), func(n *numbering) bool { return n.holds(pan.Reveal()) })
}

// IsToken reports whether a card with this application serial number would
// look like a token to an e-purse master.
func (v *Vault) IsToken(asn [10]byte) bool {
	digits := hex.EncodeToString(asn[2:]) // the last 16
	for _, n := range v.ranges.all() {
		if strings.HasPrefix(digits, image(n.Prefix, n.Length, cuts[0])) {
			return true
		}
	}
	return false
}

// Ranges lists every range that numbers were or are issued from, by this process
// or by others, as far as it has met theirs.
func (v *Vault) Ranges() []Range {
	ranges := v.ranges.all()
	rs := make([]Range, len(ranges))
	for i, n := range ranges {
		rs[i] = n.Range
	}
	return rs
}
