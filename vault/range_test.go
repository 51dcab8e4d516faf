package vault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize/ff1"
)

func TestRangesApart(t *testing.T) {
	r := func(prefix string, length int) Range {
		return Range{Name: "r" + prefix, Prefix: prefix, Length: length, Luhn: true}
	}
	c := func(prefix string, length int) CardRange { return CardRange{Prefix: prefix, Length: length} }
	for _, x := range []struct {
		name   string
		ranges []Range
		cards  []CardRange
		want   string // part of the error; "": accepted
	}{
		{"one range", []Range{r("910001", 16)}, nil, ""},
		{"two ranges", []Range{r("910001", 16), r("910002", 16)}, []CardRange{c("622848", 16)}, ""},
		{"the same digits", []Range{r("910001", 16), {Name: "other", Prefix: "910001", Length: 16, Luhn: false}}, nil, "last 16 digits"},
		{"one inside another", []Range{r("9100", 16), r("910001", 16)}, nil, "last 16 digits"},
		{"a card range inside", []Range{r("910001", 16)}, []CardRange{c("91000155", 16)}, "last 16 digits"},
		{"inside a card range", []Range{r("910001", 16)}, []CardRange{c("91", 16)}, "last 16 digits"},
		{"a longer card whose last 16 digits are the range's", []Range{r("910001", 16)}, []CardRange{c("999910001", 19)}, "last 16 digits"},
		{"a longer card of which only wild digits remain", []Range{r("910001", 16)}, []CardRange{c("621", 19)}, "last 16 digits"},
		{"a longer card that stays apart", []Range{r("910001", 16)}, []CardRange{c("6217771", 19)}, ""},
		{"two lengths with one image", []Range{r("910001", 16), r("555910001", 19)}, nil, "last 16 digits"},
		{"apart in 16 digits, not in 14", []Range{r("910001", 16), r("920001", 16)}, nil, "last 14 digits"},
		{"a card apart in 16 digits, not in 14", []Range{r("910001", 16)}, []CardRange{c("620001", 16)}, "last 14 digits"},
		{"a shorter card, filled with zeros", []Range{r("910001", 16)}, []CardRange{c("622848", 15)}, ""},
		{"a 14-digit range under a 16-digit card that begins with zeros", []Range{r("91000122", 15)}, []CardRange{c("091000122", 16)}, "last 16 digits"},
		{"a serial number that fills its field", []Range{r("910001", 16)}, []CardRange{c("0000910001", 20)}, "last 16 digits"},
		{"a bad card range", []Range{r("910001", 16)}, []CardRange{c("62x", 16)}, "card range"},
		{"a card range without a prefix", []Range{r("910001", 16)}, []CardRange{c("", 16)}, "card range"},
		{"leading zero", []Range{r("010001", 16)}, nil, "not begin with 0"},
		{"letters", []Range{r("91000x", 16)}, nil, "digits"},
		{"no prefix", []Range{r("", 16)}, nil, "prefix"},
		{"too short", []Range{r("9", 12)}, nil, "between 13 and 19"},
		{"too long", []Range{r("910001", 20)}, nil, "between 13 and 19"},
		{"smallest domain", []Range{r("910001000", 16)}, nil, ""},
		{"smaller than that", []Range{r("9100010000", 16)}, nil, "5 digits are left"},
		{"prefix lost in the cut", []Range{r("91000", 19)}, nil, "last 14 digits"},
		{"prefix just seen", []Range{r("910001", 19)}, nil, ""},
		{"a bad name", []Range{{Name: "No", Prefix: "910001", Length: 16, Luhn: true}}, nil, "name"},
	} {
		err := CheckRanges(x.ranges, x.cards)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}

func TestHolds(t *testing.T) {
	r := Range{Name: "transit", Prefix: "910001", Length: 16, Luhn: true}
	for digits, want := range map[string]bool{
		"9100010000000000":     true,
		"9100020000000000":     false,
		"9999100010000000000":  true,  // the last 16 digits
		"9100010000000000123":  false, // a 19-digit number of that beginning
		"91000100000000":       false, // shorter: filled with zeros on the left
		"0009100010000000000":  true,
		"00009100010000000000": true,
	} {
		if r.holds(digits) != want {
			t.Errorf("%s: %v", digits, !want)
		}
	}
	v := &Vault{}
	v.ranges.add(&numbering{Range: r})
	for hex, want := range map[string]bool{
		"\x00\x00\x91\x00\x01\x00\x00\x00\x00\x00": true,
		"\x99\x99\x91\x00\x01\x00\x00\x00\x00\x00": true, // a key sees the last 16 digits only
		"\x00\x00\x91\x00\x02\x00\x00\x00\x00\x00": false,
		"\x00\x00\x00\x91\x00\x01\x00\x00\x00\x00": false,
		"\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF": false,
	} {
		if got := v.IsToken([10]byte([]byte(hex))); got != want {
			t.Errorf("%X: %v", hex, got)
		}
	}
}

// FuzzNumbering: every serial of every range is the serial of its number, and
// the number says so of itself.
func FuzzNumbering(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint8(0), int64(0))
	f.Add([]byte("0123456789abcdef"), uint8(3), int64(999_999))
	f.Add([]byte("0123456789abcdef"), uint8(1), int64(1<<62))
	ranges := []Range{{Name: "a", Prefix: "910001", Length: 16, Luhn: true}, {Name: "b", Prefix: "910001", Length: 16, Luhn: false}, {Name: "c", Prefix: "9", Length: 19, Luhn: false}, {Name: "d", Prefix: "910001000", Length: 16, Luhn: true}, {Name: "e", Prefix: "9100012", Length: 13, Luhn: false}}
	f.Fuzz(func(t *testing.T, key []byte, which uint8, serial int64) {
		c, err := ff1.New(key, 10)
		if err != nil {
			return
		}
		n := &numbering{Range: ranges[int(which)%len(ranges)], cipher: c}
		serial &= 1<<62 - 1
		serial %= n.size()
		num, err := n.number(serial)
		if err != nil {
			t.Fatal(err)
		}
		back, ok := n.serial(num)
		if d := num.Digits(); !ok || back != serial || !n.holds(d) || n.Luhn && token.LuhnDigit(d[:len(d)-1]) != d[len(d)-1] {
			t.Fatalf("serial %d comes back as %d, %v", serial, back, ok)
		}
	})
}

// TestNumbersLookUnrelated: numbers that follow in serial do not follow in digits.
func TestNumbersLookUnrelated(t *testing.T) {
	c, err := ff1.New(make([]byte, 32), 10)
	if err != nil {
		t.Fatal(err)
	}
	n := &numbering{Range: Range{Name: "a", Prefix: "910001", Length: 16, Luhn: true}, cipher: c}
	common := 0
	for serial := range int64(500) {
		a, errA := n.number(serial)
		b, errB := n.number(serial + 1)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for i := 6; i < 15; i++ {
			if a.Digits()[i] == b.Digits()[i] {
				common++
			}
		}
	}
	if share := float64(common) / (500 * 9); share > 0.15 {
		t.Errorf("%.2f of the digits of neighbours agree; chance is 0.10", share)
	}
	if fmt.Sprint(n.size()) != "1000000000" {
		t.Errorf("size %d", n.size())
	}
}
