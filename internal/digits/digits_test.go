package digits

import (
	"strings"
	"testing"
)

func TestTooMany(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  bool
	}{
		{[]string{"case 11720261129"}, false},
		{[]string{"6222-0212 3456"}, true},
		{[]string{"card 6222 0212", "3456-7894"}, true},
		{[]string{"６２２２０２１２３４５６"}, true},
		{[]string{"", "a", "12345678901"}, false},
	} {
		if got := TooMany(c.texts...); got != c.want {
			t.Errorf("%q: %t", c.texts, got)
		}
	}
}

// TestInName: names that may hold a card number, and such as callers make.
func TestInName(t *testing.T) {
	for name, want := range map[string]bool{
		"6222021234567894": true, "6222-0212-3456-7894": true, "6222.0212.3456.7894": true, "6222-0212-3456-7890-123": true, "622202-12345678-94": true,
		"card6222021234567894": true, "6222021234567894x9": true, "pay-6222_0212_3456_7894": true, "6222--0212--3456--7894": true,
		"6222021234567890": true, "20261129-6222021234567894": true, "2026-11-29-6222-0212-3456-7894": true, "6222-2026-1129-7894": true,
		"6222021234567894FFFFFFFFFFFFFFFF": true, "622202123456789F": true, "4222222222222": true, "622202123456": true,
		"tap-6222021234567894-9b2d8a54-6c3f-4a7e-8e21-f0a1b2c3d4e5": true, "20261329044200": true,

		"12345678901": false, "till-7-0001": false, "2026-11-29": false, "20261129T044200Z": false, "2026-11-29T04-42-00": false, "20261129044200": false,
		"20261129044200123": false, "till-7-20261129-000123": false, "2026-11-29-000123": false, "order-1764390120123": false,
		"9b2d8a54-6c3f-4a7e-8e21-f0a1b2c3d4e5": false, "12345678-1234-4234-8234-123456789012": false, "evt_12345678-1234-4234-8234-123456789012": false,
		"01KB7TZ2E4MQ7Z8X3J5V6W9YAD": false, "0a12345678901234567890123456789f": false, "1234567890123d4f": false, "": false,
		"12345678901a12345678901": false, "event-0000000000000041": false, "000000000000-12345678901": false,
		"20261129-112700-000123": false, "20261129T112700-000123": false, "till-7_20261129_112700_000123": false, "20261129T112700123456Z": false,
		"2026-11-29T11-27-00.123456": false, "2026-11-29_11-27-00-000123": false, "2026-11-29T11.27.00-000123-41": false, "20261129.112700.123-00041": false,
		"01512345678901236XYZKMNPQR": false, "01kb7123456789012345xyzkmn": false,
		"20261129-622202-123456-7894": true, "20261129-1127-6222021234567894": true, "20261129-112700-6222-0212-3456-7894": true, "2026-11-29-112760-000123": true,
		"20261129-1127006222021234567894": true, "2026-11-29T11-27-006222021234567894": true, "4006381333931": true, "8613800138000": true,
		"event-00006222021234567894": true, "0000-6222-0212-3456-7894": true, "622200000000": true,
	} {
		if got := InName(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

// TestWithhold: a card number in the wrong place is not kept, however it is
// spaced, and what only resembles one is.
func TestWithhold(t *testing.T) {
	const gone = "[digits withheld]"
	for in, want := range map[string]string{
		"6228480402564890018":              gone,
		"suspend: card 6228481234567894!":  "suspend: card " + gone + "!",
		"/v1/tokens/6228481234567890":      "/v1/tokens/" + gone,
		"card 6222 0212 3456 7894 called":  "card " + gone + " called",
		"6222-0212-3456-7894":              gone,
		"6222-0212-3456-7894-2912":         gone + "-2912",
		"12-6222.0212.3456.7894":           "12-" + gone,
		"622202_1234567894_x":              gone + "_x",
		"_6222021234567894_":               "_" + gone + "_",
		"6222 0212-3456 7894":              "6222 0212-3456 7894", // two characters: side by side
		"6222-0212-3456-7890":              "6222-0212-3456-7890", // no check digit makes it one
		"000000000007":                     "000000000007",        // a terminal
		"12345678901":                      "12345678901",         // a requestor
		"0a12345678901234567890123456789f": "0a12345678901234567890123456789f",
		"1 of 22, 333 444":                 "1 of 22, 333 444",
		"transit.mpk.v1":                   "transit.mpk.v1",
		strings.Repeat("1", 20):            strings.Repeat("1", 20),
		"":                                 "",
	} {
		if got := Withhold(in); got != want {
			t.Errorf("%q is kept as %q", in, got)
		}
	}
}

func FuzzInName(f *testing.F) {
	f.Add("6222", "0212-3456", "7894")
	f.Fuzz(func(t *testing.T, before, mid, after string) {
		for _, s := range []string{before + "6222-0212-3456-7894" + after, before + mid} {
			_, _ = InName(s), Withhold(s)
		}
		if got := Withhold(before + " x6222021234567894 6222021234567894 x" + after); strings.Contains(got, " 6222021234567894 ") {
			t.Errorf("%q is kept", got)
		}
	})
}
