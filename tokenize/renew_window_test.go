package tokenize

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
)

func TestNext(t *testing.T) {
	sh, ny := zone(t, "Asia/Shanghai"), zone(t, "America/New_York")
	for _, c := range []struct {
		name             string
		zone             *time.Location
		now, begin, end  string // of the old token
		form             token.FormFactor
		only, from, to   string // from "": refused
		cutOver, overlap time.Duration
	}{
		{"tomorrow's", sh, "2026-03-02 20:00:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-03", "2026-03-03 02:50:00", "2026-03-04 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"without overlap", sh, "2026-03-02 20:00:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-03", "2026-03-03 03:00:00", "2026-03-04 03:00:00", 3 * time.Hour, 0},
		{"a leap day", sh, "2028-02-28 20:00:00", "2028-02-28 12:00:00", "2028-02-29 03:00:00", "", "2028-02-29", "2028-02-29 02:50:00", "2028-03-01 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"in the last minutes", sh, "2026-03-03 02:55:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-03", "2026-03-03 02:55:00", "2026-03-04 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"at the cut-over", sh, "2026-03-03 03:00:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-03", "2026-03-03 03:00:00", "2026-03-04 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"long after", sh, "2026-03-09 12:00:00.500", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-09", "2026-03-09 12:00:00", "2026-03-10 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"long after, late in the day", sh, "2026-03-10 02:30:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-09", "2026-03-10 02:30:00", "2026-03-11 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"long after, an hour before the cut-over", sh, "2026-03-10 02:00:00", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-09", "2026-03-10 02:00:00", "2026-03-10 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"long after, less than an hour before it", sh, "2026-03-10 02:00:00.001", "2026-03-02 12:00:00", "2026-03-03 03:00:00", "", "2026-03-09", "2026-03-10 02:00:00", "2026-03-11 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"one that lives over to the next day", sh, "2026-03-03 02:30:00", "2026-03-03 02:30:00", "2026-03-04 03:00:00", "", "2026-03-04", "2026-03-04 02:50:00", "2026-03-05 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"its successor, in the same hour", sh, "2026-03-03 02:30:00", "2026-03-04 02:50:00", "2026-03-05 03:00:00", "", "", "", "", 3 * time.Hour, 10 * time.Minute},
		{"tomorrow's, an hour and a second before the cut-over", sh, "2026-03-03 01:59:59", "2026-03-03 01:00:00", "2026-03-04 03:00:00", "", "", "", "", 3 * time.Hour, 10 * time.Minute},
		{"and a day on", sh, "2026-03-03 12:00:00", "2026-03-03 02:30:00", "2026-03-04 03:00:00", "", "2026-03-04", "2026-03-04 02:50:00", "2026-03-05 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"tomorrow's own successor", sh, "2026-03-02 20:00:00", "2026-03-03 03:00:00", "2026-03-04 03:00:00", "", "", "", "", 3 * time.Hour, 10 * time.Minute},
		{"the day that New York's clocks go forward", ny, "2026-03-07 20:00:00", "2026-03-07 12:00:00", "2026-03-08 03:00:00", "", "2026-03-08", "2026-03-08 01:50:00", "2026-03-09 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"the day that they go back", ny, "2026-10-31 20:00:00", "2026-10-31 12:00:00", "2026-11-01 03:00:00", "", "2026-11-01", "2026-11-01 02:50:00", "2026-11-02 03:00:00", 3 * time.Hour, 10 * time.Minute},
		{"an hour", sh, "2026-03-02 12:30:00", "2026-03-02 12:00:00", "2026-03-02 13:00:00", "", "", "2026-03-02 12:50:00", "2026-03-02 13:50:00", 3 * time.Hour, 10 * time.Minute},
		{"an hour, over", sh, "2026-03-02 18:00:00", "2026-03-02 12:00:00", "2026-03-02 13:00:00", "", "", "2026-03-02 18:00:00", "2026-03-02 19:00:00", 3 * time.Hour, 10 * time.Minute},
		{"a week, on its last day", sh, "2026-03-08 20:00:00", "2026-03-02 12:00:00", "2026-03-09 12:00:00", "", "", "2026-03-09 11:50:00", "2026-03-16 11:50:00", 3 * time.Hour, 10 * time.Minute},
		{"a week, too early", sh, "2026-03-05 20:00:00", "2026-03-02 12:00:00", "2026-03-09 12:00:00", "", "", "", "", 3 * time.Hour, 10 * time.Minute},
		{"a card on file, a month ahead", sh, "2026-03-02 12:00:00", "2025-04-01 12:00:00", "2026-04-01 12:00:00", token.FormCardOnFile, "", "2026-04-01 11:50:00", "2027-04-01 11:50:00", 3 * time.Hour, 10 * time.Minute},
		{"a card on file, longer ahead", sh, "2026-03-02 11:59:59", "2025-04-01 12:00:00", "2026-04-01 12:00:00", token.FormCardOnFile, "", "", "", 3 * time.Hour, 10 * time.Minute},
	} {
		cal := token.Calendar{Zone: c.zone, CutOver: c.cutOver}
		old := token.Token{NotBefore: at(t, c.zone, c.begin), NotAfter: at(t, c.zone, c.end), FormFactor: c.form}
		only, from, to, err := next(cal, at(t, c.zone, c.now), c.overlap, old)
		if c.from == "" {
			if !errors.Is(err, ErrDay) {
				t.Errorf("%s: %v to %v, %v", c.name, from, to, err)
			}
			continue
		}
		if err != nil || only != c.only || !from.Equal(at(t, c.zone, c.from)) || !to.Equal(at(t, c.zone, c.to)) {
			t.Errorf("%s: %q, %v to %v, %v", c.name, only, from, to, err)
		}
	}
}

// TestRenewalsLeaveNoGap: a token that is renewed every day, at any time of it
// and across changes of the clocks, is followed without a gap, and each of the
// chain ends with its day.
func TestRenewalsLeaveNoGap(t *testing.T) {
	for _, name := range []string{"Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"} {
		for _, cutOver := range []time.Duration{0, 2*time.Hour + 30*time.Minute, 3 * time.Hour} {
			cal := token.Calendar{Zone: zone(t, name), CutOver: cutOver}
			now := time.Date(2027, 12, 30, 9, 0, 0, 0, time.UTC)
			_, from, to, err := window(cal, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			old := token.Token{NotBefore: from, NotAfter: to}
			for i := range 400 {
				// Somewhere in the window, but not before its last service day.
				now = old.NotAfter.Add(-time.Duration(i%22)*time.Hour - time.Minute)
				_, from, to, err := next(cal, now, 10*time.Minute, old)
				if err != nil {
					t.Fatalf("%s %v: renewing the token until %v at %v: %v", name, cutOver, old.NotAfter, now, err)
				}
				if from.After(old.NotAfter) || !to.After(old.NotAfter) || to.Sub(from) > 26*time.Hour || from.Before(now.Add(-time.Second)) {
					t.Fatalf("%s %v: until %v, then %v to %v", name, cutOver, old.NotAfter, from, to)
				}
				if first, _ := cal.Window(cal.DayOf(to)); !first.Equal(to) {
					t.Fatalf("%s %v: %v is no cut-over", name, cutOver, to)
				}
				if e := expiry(to.In(cal.Zone), "2801"); e.Before(to.In(cal.Zone)) || e == "2801" {
					t.Fatalf("expiry %s of a window until %v", e, to)
				}
				old = token.Token{NotBefore: from, NotAfter: to}
			}
		}
	}
}

// TestCursors: a cursor is of this version, whole, and goes on after a token.
func TestCursors(t *testing.T) {
	filter := token.Filter{Requestor: "12345678901"}
	good := token.Mark{CreatedAt: time.UnixMilli(1_772_000_000_000).UTC(), Ref: "trAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	text := formatCursor(good, filter)
	if m, err := parseCursor(text, filter); err != nil || m != good {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, s := range map[string]string{
		"another version":  "Ag" + text[2:],
		"a character less": text[:len(text)-1],
		"four less":        text[:len(text)-4],
		"a character more": text + "A",
		"four more":        text + "AAAA",
		"no base64":        "!" + text[1:],
		"its end spoilt":   text[:len(text)-1] + "!",
		"no reference":     formatCursor(token.Mark{CreatedAt: good.CreatedAt, Ref: "xxAAAAAAAAAAAAAAAAAAAAAAAAAA"}, filter),
	} {
		if m, err := parseCursor(s, filter); !errors.Is(err, ErrCursor) || m != (token.Mark{}) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	filter := token.Filter{Requestor: "12345678901", State: token.Active}
	m := token.Mark{CreatedAt: time.UnixMilli(1_772_000_000_000).UTC(), Ref: "trAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	f.Add(formatCursor(m, filter))
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseCursor(s, filter)
		if err != nil {
			if !errors.Is(err, token.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if s != "" && formatCursor(m, filter) != s {
			t.Fatalf("%q reads as %+v", s, m)
		}
		if _, err := parseCursor(s, token.Filter{}); s != "" && err == nil {
			t.Fatal("a cursor serves another filter")
		}
	})
}
