package store

import "time"

// Millis is a moment as rows keep it: milliseconds of Unix time, and 0 for none. [Moment]
// is its inverse, down to the millisecond.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Moment reads what [Millis] made; it is in UTC, and zero for 0.
func Moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
