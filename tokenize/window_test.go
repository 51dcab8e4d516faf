package tokenize

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, z *time.Location, s string) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04:05.000", s+".000"[:max(0, 23-len(s))], z)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWindow(t *testing.T) {
	sh := zone(t, "Asia/Shanghai")
	cal := token.Calendar{Zone: sh, CutOver: 3 * time.Hour}
	for _, c := range []struct {
		name, now, day string // day "": none asked for
		from, to       string // "": refused
	}{
		{"noon", "2026-03-02 12:00:00.700", "", "2026-03-02 12:00:00", "2026-03-03 03:00:00"},
		{"before the cut-over it is still yesterday", "2026-03-02 01:00:00", "", "2026-03-02 01:00:00", "2026-03-02 03:00:00"},
		{"an hour is left", "2026-03-02 02:00:00", "", "2026-03-02 02:00:00", "2026-03-02 03:00:00"},
		{"less than an hour is left", "2026-03-02 02:00:00.001", "", "2026-03-02 02:00:00", "2026-03-03 03:00:00"},
		{"at the cut-over", "2026-03-02 03:00:00", "", "2026-03-02 03:00:00", "2026-03-03 03:00:00"},
		{"today by name", "2026-03-02 12:00:00", "2026-03-02", "2026-03-02 12:00:00", "2026-03-03 03:00:00"},
		{"today by name, late", "2026-03-03 02:30:00", "2026-03-02", "2026-03-03 02:30:00", "2026-03-04 03:00:00"},
		{"tomorrow", "2026-03-02 12:00:00", "2026-03-03", "2026-03-03 03:00:00", "2026-03-04 03:00:00"},
		{"tomorrow is a leap day", "2028-02-28 12:00:00", "2028-02-29", "2028-02-29 03:00:00", "2028-03-01 03:00:00"},
		{"yesterday", "2026-03-02 12:00:00", "2026-03-01", "", ""},
		{"the calendar's today, before its cut-over, is tomorrow", "2026-03-02 01:00:00", "2026-03-02", "2026-03-02 03:00:00", "2026-03-03 03:00:00"},
		{"two days ahead", "2026-03-02 12:00:00", "2026-03-04", "", ""},
		{"a year ahead", "2026-03-02 12:00:00", "2027-03-02", "", ""},
	} {
		var day *token.Day
		if c.day != "" {
			d, err := token.ParseDay(c.day)
			if err != nil {
				t.Fatal(err)
			}
			day = &d
		}
		_, from, to, err := window(cal, at(t, sh, c.now), day)
		if c.from == "" {
			if !errors.Is(err, ErrDay) {
				t.Errorf("%s: %v to %v, %v", c.name, from, to, err)
			}
			continue
		}
		if err != nil || !from.Equal(at(t, sh, c.from)) || !to.Equal(at(t, sh, c.to)) {
			t.Errorf("%s: %v to %v, %v", c.name, from, to, err)
		}
	}
}

// TestWindowIsAlwaysLongEnough: whatever the time, a token for today lives an
// hour or more, and never over two days.
func TestWindowIsAlwaysLongEnough(t *testing.T) {
	for _, name := range []string{"Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"} {
		cal := token.Calendar{Zone: zone(t, name), CutOver: 2*time.Hour + 30*time.Minute}
		for now := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC); now.Year() == 2026; now = now.Add(17*time.Minute + 13*time.Second) {
			_, from, to, err := window(cal, now, nil)
			if life := to.Sub(now); err != nil || life < time.Hour || life > 26*time.Hour || from.After(now) || now.Sub(from) >= time.Second {
				t.Fatalf("%s at %v: %v to %v, %v", name, now, from, to, err)
			}
		}
	}
}

func TestExpiry(t *testing.T) {
	sh := zone(t, "Asia/Shanghai")
	for _, c := range []struct{ closes, card, want string }{
		{"2026-03-03 03:00:00", "2912", "2603"},
		{"2026-04-01 03:00:00", "2912", "2604"}, // the window reaches into April
		{"2026-03-03 03:00:00", "2603", "2604"}, // never the card's own
		{"2026-12-31 03:00:00", "2612", "2701"},
		{"2027-01-31 03:00:00", "2701", "2702"},
	} {
		closes := at(t, sh, c.closes)
		got := expiry(closes, token.Expiry(c.card))
		if got != token.Expiry(c.want) || got.Before(closes) {
			t.Errorf("closing %s, card %s: %s, want %s", c.closes, c.card, got, c.want)
		}
	}
}
