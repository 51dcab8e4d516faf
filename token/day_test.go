package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
)

func calendar(t testing.TB, zone string, cutOver time.Duration) token.Calendar {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return token.Calendar{Zone: z, CutOver: cutOver}
}

func TestDayOf(t *testing.T) {
	for _, c := range []struct {
		zone    string
		cutOver time.Duration
		at      string // RFC 3339
		want    string
	}{
		{"Asia/Shanghai", 3 * time.Hour, "2026-03-02T12:00:00+08:00", "2026-03-02"},
		{"Asia/Shanghai", 3 * time.Hour, "2026-03-02T03:00:00+08:00", "2026-03-02"},
		{"Asia/Shanghai", 3 * time.Hour, "2026-03-02T02:59:59.999999999+08:00", "2026-03-01"},
		{"Asia/Shanghai", 3 * time.Hour, "2026-03-02T00:00:00+08:00", "2026-03-01"},
		{"Asia/Shanghai", 3 * time.Hour, "2026-03-01T20:00:00Z", "2026-03-02"},
		{"Asia/Shanghai", 0, "2026-03-02T00:00:00+08:00", "2026-03-02"},
		{"Asia/Shanghai", 3 * time.Hour, "2028-03-01T02:00:00+08:00", "2028-02-29"},
		{"Asia/Shanghai", 3 * time.Hour, "2026-01-01T01:00:00+08:00", "2025-12-31"},
		{"Asia/Shanghai", 23*time.Hour + 59*time.Minute, "2026-03-02T23:58:00+08:00", "2026-03-01"},
		// Berlin skips 02:00 to 03:00 on 29 March 2026: a cut-over of 02:30 is at 03:30.
		{"Europe/Berlin", 2*time.Hour + 30*time.Minute, "2026-03-29T01:59:59+01:00", "2026-03-28"},
		{"Europe/Berlin", 2*time.Hour + 30*time.Minute, "2026-03-29T03:30:00+02:00", "2026-03-29"},
		// So is one in New York, which skips the same on 8 March,
		{"America/New_York", 2*time.Hour + 30*time.Minute, "2026-03-08T01:59:59-05:00", "2026-03-07"},
		{"America/New_York", 2*time.Hour + 30*time.Minute, "2026-03-08T03:29:59-04:00", "2026-03-07"},
		{"America/New_York", 2*time.Hour + 30*time.Minute, "2026-03-08T03:30:00-04:00", "2026-03-08"},
		// and midnight in Santiago, which is skipped on 6 September, is at 01:00.
		{"America/Santiago", 0, "2026-09-05T23:59:59-04:00", "2026-09-05"},
		{"America/Santiago", 0, "2026-09-06T01:00:00-03:00", "2026-09-06"},
		// Berlin has 02:00 to 03:00 twice on 25 October.
		{"Europe/Berlin", 4 * time.Hour, "2026-10-25T02:30:00+01:00", "2026-10-24"},
		{"Europe/Berlin", 4 * time.Hour, "2026-10-25T04:00:00+01:00", "2026-10-25"},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := calendar(t, c.zone, c.cutOver).DayOf(at); got.String() != c.want {
			t.Errorf("%s, cut-over %v, %s: %v, want %s", c.zone, c.cutOver, c.at, got, c.want)
		}
	}
}

func TestWindowLengths(t *testing.T) {
	for _, c := range []struct {
		zone, day string
		want      time.Duration
	}{
		{"Asia/Shanghai", "2026-03-02", 24 * time.Hour},
		{"Asia/Shanghai", "2028-02-29", 24 * time.Hour},
		{"Europe/Berlin", "2026-03-28", 23 * time.Hour},
		{"Europe/Berlin", "2026-10-24", 25 * time.Hour},
		{"Australia/Lord_Howe", "2026-10-03", 23*time.Hour + 30*time.Minute},
	} {
		d, err := token.ParseDay(c.day)
		if err != nil {
			t.Fatal(err)
		}
		from, to := calendar(t, c.zone, 3*time.Hour).Window(d)
		if to.Sub(from) != c.want {
			t.Errorf("%s %s: %v to %v", c.zone, c.day, from, to)
		}
	}
}

// TestDaysTile: every moment is in exactly one service day, in every zone and
// at every cut-over, clock changes included.
func TestDaysTile(t *testing.T) {
	for _, zone := range []string{"UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Santiago", "Africa/Cairo", "Asia/Beirut"} {
		for _, cutOver := range []time.Duration{0, 2*time.Hour + 30*time.Minute, 3 * time.Hour, 23*time.Hour + 59*time.Minute} {
			cal := calendar(t, zone, cutOver)
			d := token.Day{Year: 2027, Month: time.December, Day: 30}
			_, last := cal.Window(d)
			for range 800 {
				d = cal.Next(d)
				from, to := cal.Window(d)
				if !from.Equal(last) || !from.Before(to) {
					t.Fatalf("%s %v: %v begins at %v, the day before ended at %v", zone, cutOver, d, from, last)
				}
				last = to
				for _, at := range []time.Time{from, from.Add(to.Sub(from) / 2), to.Add(-1)} {
					if got := cal.DayOf(at); got != d {
						t.Fatalf("%s %v: %v is in %v, its window says %v", zone, cutOver, at, got, d)
					}
				}
			}
		}
	}
}

func FuzzParseDay(f *testing.F) {
	for _, s := range []string{"2026-03-02", "2028-02-29", "2026-02-29", "0000-01-01", "2026-3-2", "", "20260302"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := token.ParseDay(s)
		if err != nil {
			if !errors.Is(err, token.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if d.String() != s {
			t.Fatalf("%q prints as %q", s, d)
		}
	})
}
