package token

import (
	"fmt"
	"time"
)

// Day is a service day: a civil date in the operator's zone. A service day
// starts at the cut-over of its date and ends at the next day's cut-over.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDay reads YYYY-MM-DD.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Day{}, fmt.Errorf("%w: a day is written YYYY-MM-DD", ErrMalformed)
	}
	return Day{t.Year(), t.Month(), t.Day()}, nil
}

// String prints YYYY-MM-DD.
func (d Day) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Calendar turns moments into service days and back.
type Calendar struct {
	Zone    *time.Location
	CutOver time.Duration // after civil midnight, 0 to 23h59m
}

// start is the moment d begins. A cut-over that a spring change skips moves
// forward by the change: by itself [time.Date] moves it back in some zones, at
// midnight into the day before.
func (c Calendar) start(d Day) time.Time {
	h, m := int(c.CutOver/time.Hour), int(c.CutOver%time.Hour/time.Minute)
	t := time.Date(d.Year, d.Month, d.Day, h, m, 0, 0, c.Zone)
	asked := time.Date(d.Year, d.Month, d.Day, h, m, 0, 0, time.UTC)
	shown := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	return t.Add(max(0, asked.Sub(shown)))
}

// DayOf returns the service day that holds t.
func (c Calendar) DayOf(t time.Time) Day {
	l := t.In(c.Zone)
	d := Day{l.Year(), l.Month(), l.Day()}
	if t.Before(c.start(d)) {
		return c.add(d, -1)
	}
	return d
}

// Window returns the first moment of d and the first moment after it.
func (c Calendar) Window(d Day) (from, to time.Time) { return c.start(d), c.start(c.add(d, 1)) }

// Next returns the day after d.
func (c Calendar) Next(d Day) Day { return c.add(d, 1) }

func (c Calendar) add(d Day, n int) Day {
	t := time.Date(d.Year, d.Month, d.Day+n, 12, 0, 0, 0, time.UTC)
	return Day{t.Year(), t.Month(), t.Day()}
}
