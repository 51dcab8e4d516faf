package cryptogram_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
)

// TestMoments: in the hour that is there twice a date and time name two moments,
// in zones on either side of Greenwich, and the later is none while it is to come.
func TestMoments(t *testing.T) {
	for _, c := range []struct {
		zone, text string
		first      string
		between    time.Duration // 0: there is one
	}{
		{"Asia/Shanghai", "20261025023000", "2026-10-24T18:30:00Z", 0},
		{"Europe/Berlin", "20261025015959", "2026-10-24T23:59:59Z", 0},
		{"Europe/Berlin", "20261025020000", "2026-10-25T00:00:00Z", time.Hour},
		{"Europe/Berlin", "20261025025959", "2026-10-25T00:59:59Z", time.Hour},
		{"Europe/Berlin", "20261025030000", "2026-10-25T02:00:00Z", 0},
		{"America/New_York", "20261101005959", "2026-11-01T04:59:59Z", 0},
		{"America/New_York", "20261101013000", "2026-11-01T05:30:00Z", time.Hour},
		{"America/New_York", "20261101020000", "2026-11-01T07:00:00Z", 0},
		{"Australia/Lord_Howe", "20260405014500", "2026-04-04T14:45:00Z", 30 * time.Minute},
		{"UTC", "20261231235959", "2026-12-31T23:59:59Z", 0},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		first, err := time.Parse(time.RFC3339, c.first)
		if err != nil {
			t.Fatal(err)
		}
		d, err := cryptogram.ParseDateTime(c.text[:8], c.text[8:])
		if err != nil {
			t.Fatal(err)
		}
		last := first.Add(c.between)
		for by, want := range map[time.Time][]time.Time{
			first.Add(24 * time.Hour): {last, first}, last: {last, first}, last.Add(-1): {first},
		} {
			if c.between == 0 {
				want = []time.Time{first}
			}
			got, err := d.Moments(zone, by)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s %s: %v, %v", c.zone, d, got, err)
			}
			for i := range got {
				if !got[i].Equal(want[i]) || cryptogram.DateTimeOf(got[i].In(zone)) != d {
					t.Errorf("%s %s: %v, want %v", c.zone, d, got, want)
				}
			}
		}
	}
	if _, err := (cryptogram.DateTime{0xAA}).Moments(time.UTC, time.Now()); !errors.Is(err, cryptogram.ErrMalformed) {
		t.Errorf("what is no date: %v", err)
	}
}
