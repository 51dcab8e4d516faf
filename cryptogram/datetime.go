package cryptogram

import (
	"fmt"
	"time"
)

// DateTime is the civil date and time of a transaction, 7 bytes of BCD:
// YYYYMMDD then hhmmss, in the terminal's or host's zone.
type DateTime [7]byte

const dateTimeLayout = "20060102150405"

var errNoDate = fmt.Errorf("%w: no such date or time", ErrMalformed)

// ParseDateTime reads a date "YYYYMMDD" and a time "hhmmss" that exist.
func ParseDateTime(date, clock string) (DateTime, error) {
	if len(date) != 8 || len(clock) != 6 {
		return DateTime{}, fmt.Errorf("%w: a date is YYYYMMDD and a time is HHMMSS", ErrMalformed)
	}
	t, err := time.Parse(dateTimeLayout, date+clock)
	if err != nil {
		return DateTime{}, errNoDate
	}
	return DateTimeOf(t), nil
}

// DateTimeOf returns the civil date and time of t in its own zone.
func DateTimeOf(t time.Time) (d DateTime) {
	text := t.Format(dateTimeLayout)
	for i := range d {
		d[i] = (text[2*i]-'0')<<4 | (text[2*i+1] - '0')
	}
	return d
}

// In returns the moment that d names in zone loc; it refuses bytes that are
// not BCD or no date.
func (d DateTime) In(loc *time.Location) (time.Time, error) {
	var n [len(d)]int
	for i, b := range d {
		tens, ones := int(b>>4), int(b&15)
		if tens > 9 || ones > 9 {
			return time.Time{}, errNoDate
		}
		n[i] = 10*tens + ones
	}
	year, month, day, hour, minute, second := 100*n[0]+n[1], time.Month(n[2]), n[3], n[4], n[5], n[6]
	if hour > 23 || minute > 59 || second > 59 || !exists(year, month, day) {
		return time.Time{}, errNoDate
	}
	return time.Date(year, month, day, hour, minute, second, 0, loc), nil
}

// exists reports whether the calendar has such a day. Another one of two digits is
// carried over, and always into another month.
func exists(year int, month time.Month, day int) bool {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Month() == month
}

// Moments returns the moments that d names in zone loc: one, or, in the hour that
// clocks show twice when they are set back, two of which the later comes first.
// What lies after by cannot have been written down yet, and is left out where
// another is left.
func (d DateTime) Moments(loc *time.Location, by time.Time) ([]time.Time, error) {
	t, err := d.In(loc)
	if err != nil {
		return nil, err
	}
	first, last := t, t
	start, end := t.ZoneBounds()
	if o := same(t, start.Add(-1)); !start.IsZero() && o.Before(t) {
		first = o
	}
	if o := same(t, end); !end.IsZero() && o.After(t) {
		last = o
	}
	if first.Equal(last) {
		return []time.Time{t}, nil
	}
	if last.After(by) {
		return []time.Time{first}, nil
	}
	return []time.Time{last, first}, nil
}

// same is the other moment at which clocks show what they show at t, by the offset
// that is in force at then; t when there is none.
func same(t, then time.Time) time.Time {
	_, here := t.Zone()
	_, there := then.Zone()
	o := t.Add(time.Duration(here-there) * time.Second)
	if _, offset := o.Zone(); offset == there {
		return o
	}
	return t
}

// Valid reports whether d is BCD of a date and time that exist.
func (d DateTime) Valid() bool { _, err := d.In(time.UTC); return err == nil }

// Date returns YYYYMMDD.
func (d DateTime) Date() string { return d.digits()[:8] }

// Clock returns hhmmss.
func (d DateTime) Clock() string { return d.digits()[8:] }

// String returns YYYYMMDDhhmmss.
func (d DateTime) String() string { return d.digits() }

func (d DateTime) digits() string { return fmt.Sprintf("%X", d[:]) }
