// Package digits tells where a text that is kept, in a record, a log or the
// database, may hold a card number. It is the one home of that rule.
package digits

import (
	"regexp"
	"strings"
	"unicode"
)

// Most is how many digits may stand where a card number must not: the shortest
// card number has one more.
const Most = 11

// longest is how many digits the longest card number has.
const longest = 19

// TooMany reports whether texts that are kept together hold more than [Most]
// digits, of any script and however they are spread: a card number can stand in
// two texts.
func TooMany(texts ...string) bool {
	n := 0
	for _, s := range texts {
		for _, r := range s {
			if unicode.IsDigit(r) {
				n++
			}
		}
	}
	return n > Most
}

// InName reports whether a name may hold a card number: more than [Most] digits
// without a letter between. Moments do not count, nor do UUIDs, ULIDs and hashes. Whether
// the check digit holds is not asked: names that are counted on would then be
// refused one in ten times.
func InName(s string) bool {
	if !row(s) { // most names
		return false
	}
	s = uuid.ReplaceAllString(s, "${1}x${2}")
	s = day.ReplaceAllString(s, "${1}.${2}")
	return row(word.ReplaceAllStringFunc(s, func(w string) string {
		switch {
		case drawn(w), ulid.MatchString(w) && strings.ContainsFunc(w, unicode.IsLetter):
			return "x"
		case moment.MatchString(w):
			return "."
		}
		return w
	}))
}

// row reports whether more than Most digits stand in s without a letter between. Zeros
// in front, with which counters are filled up, do not count: no card number has any.
func row(s string) bool {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case n == 0 && c == '0':
		case isDigit(c):
			if n++; n > Most {
				return true
			}
		case isLetter(c):
			n = 0
		}
	}
	return false
}

// Parts of moments.
const (
	month = `(?:0[1-9]|1[0-2])`
	dom   = `(?:0[1-9]|[12][0-9]|3[01])`
	hour  = `(?:[01][0-9]|2[0-3])`
	sixty = `[0-5][0-9]`
)

var (
	word = regexp.MustCompile(`[0-9A-Za-z]+`)
	uuid = regexp.MustCompile(`(?i)(^|[^0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}($|[^0-9a-z])`)
	// A day, and behind it perhaps a time to seconds, milliseconds or microseconds. No
	// card number begins with 20, and none is grouped by 4, 2 and 2, or by 8 and 6.
	day = regexp.MustCompile(`(^|[^0-9])20[0-9]{2}(?:` + month + dom + `|[-._]` + month + `[-._]` + dom + `)` +
		`(?:[-._Tt]` + hour + `(?:` + sixty + sixty + `|[-._]` + sixty + `[-._]` + sixty + `)(?:\.?[0-9]{3}|\.?[0-9]{6})?)?($|[^0-9])`)
	// A day and the time without anything between, with milliseconds or without; or
	// milliseconds since 1970, from 2017 to 2033.
	moment = regexp.MustCompile(`^(?:20[0-9]{2}` + month + dom + `(?:` + hour + sixty + sixty + `(?:[0-9]{3})?)?|1[5-9][0-9]{11})$`)
	ulid   = regexp.MustCompile(`^[0-7](?:[0-9A-HJKMNP-TV-Z]{25}|[0-9a-hjkmnp-tv-z]{25})$`)
	hex    = regexp.MustCompile(`^(?:[0-9]*[a-f][0-9a-f]*|[0-9]*[A-F][0-9A-F]*)$`)
)

// drawn reports whether a word is of the size and form of what machines draw or
// compute, in hex. A card number that is filled up with F is not.
func drawn(w string) bool {
	switch len(w) {
	case 16, 24, 32, 40, 64:
		return hex.MatchString(strings.TrimRight(w, "fF"))
	}
	return false
}

// separated is what people put between the groups of a card number.
const separated = " .-_/:"

// Withhold replaces what could be a card number or a token number in a text that
// is kept as it comes: 13 to 19 digits that stand together, or in groups with the
// same character between them, when their check digit holds. Numbers that stand
// side by side in a sentence stay.
func Withhold(s string) string {
	if !many(s) { // few texts have as many
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		if end := cardAt(s, i); end > i {
			out.WriteString("[digits withheld]")
			i = end
			continue
		}
		out.WriteByte(s[i])
		i++
	}
	return out.String()
}

// shortest is how many digits are withheld: a terminal's number has 12.
const shortest = 13

// many reports whether s holds as many digits in all as a card number has.
func many(s string) bool {
	n := 0
	for i := range len(s) {
		if isDigit(s[i]) {
			if n++; n == shortest {
				return true
			}
		}
	}
	return false
}

// cardAt returns where the longest card number ends that begins at i, or 0. It
// begins and ends where a group does.
func cardAt(s string, i int) (end int) {
	if !isDigit(s[i]) || i > 0 && partOfWord(s[i-1]) {
		return 0
	}
	all, sep := make([]byte, 0, longest), byte(0)
	for j := i; ; {
		from := j
		for j < len(s) && isDigit(s[j]) {
			j++
		}
		if j == from || len(all)+j-from > longest {
			return end
		}
		first := len(all) == 0
		all = append(all, s[from:j]...)
		whole := j == len(s) || !partOfWord(s[j])
		if whole && len(all) >= shortest && (first || CheckDigit(string(all[:len(all)-1])) == all[len(all)-1]) {
			end = j
		}
		// Groups of a card number have three digits or more, except the last.
		if j-from < 3 || j == len(s) || !strings.ContainsRune(separated, rune(s[j])) || sep != 0 && sep != s[j] {
			return end
		}
		sep = s[j]
		j++
	}
}

// InKey reports whether digits of a caller's key can be the number of a card or a
// token: 13 to 19 of them that stand together, since not every token has a check
// digit, or such that stand together, or with one character between that is no
// letter, and have one. Of such a key something else is kept. It errs to the safe
// side: a moment to milliseconds is one, and an order number of 16 digits.
func InKey(key string) bool {
	if rowOf(key, shortest, longest) {
		return true
	}
	all := make([]byte, 0, len(key))
	for i := 0; i <= len(key); i++ {
		switch {
		case i < len(key) && isDigit(key[i]):
			all = append(all, key[i])
		case i+1 < len(key) && !isLetter(key[i]) && isDigit(key[i+1]): // 6222-0212-3456-7894
		default:
			if anyCard(string(all)) {
				return true
			}
			all = all[:0]
		}
	}
	return false
}

// rowOf reports whether so many digits stand together in s, and no more.
func rowOf(s string, least, most int) bool {
	n := 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && isDigit(s[i]):
			n++
		case n >= least && n <= most:
			return true
		default:
			n = 0
		}
	}
	return false
}

// anyCard reports whether some of the digits that follow each other are a card
// number.
func anyCard(digits string) bool {
	for from := range digits {
		for to := from + Most + 1; to <= min(from+longest, len(digits)); to++ {
			if CheckDigit(digits[from:to-1]) == digits[to-1] {
				return true
			}
		}
	}
	return false
}

// CheckDigit returns the digit that completes the digits of s, by Luhn.
func CheckDigit(s string) byte {
	sum, double := 0, true
	for i := len(s) - 1; i >= 0; i-- {
		n := int(s[i] - '0')
		if double {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum, double = sum+n, !double
	}
	return byte('0' + (10-sum%10)%10)
}

func isDigit(c byte) bool    { return c >= '0' && c <= '9' }
func isLetter(c byte) bool   { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func partOfWord(c byte) bool { return isDigit(c) || isLetter(c) }
