package store

import (
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/internal/fault"
)

// Place is where a row stands in the order that a sweep goes by.
type Place struct {
	At   int64
	Name string
}

// told bounds how many failures a sweep tells of.
const told = 8

// Sweep goes through rows, some at a time: those that page finds behind a place, in order,
// until it finds none. It has do change them together, by their names. Where that fails, or
// panics, each is changed by itself: what cannot be read of one must hold up none of the
// others, and the next sweep comes back to it. The error names those that failed, the first
// few. Where the database itself is away nothing more is tried.
//
// To page it is left to ask for nothing but places: what else a row holds may be what
// cannot be read.
func Sweep(page func(after Place) ([]Place, error), do func(names []string) (int, error)) (n int, err error) {
	var errs []error
	for last := (Place{At: -1 << 63}); ; {
		places, err := page(last)
		if err != nil || len(places) == 0 {
			return n, errors.Join(append(errs, err)...)
		}
		last = places[len(places)-1]
		names := make([]string, len(places))
		for i, p := range places {
			names[i] = p.Name
		}
		some, failed, err := apart(names, do)
		n += some
		errs = append(errs, failed[:min(len(failed), told-min(told, len(errs)))]...)
		if err != nil {
			return n, errors.Join(append(errs, err)...)
		}
	}
}

// apart does a thing to all rows together, or to each by itself. An error, beside those of
// single rows, is the database's.
func apart(names []string, do func(names []string) (int, error)) (n int, failed []error, err error) {
	safely := func(names []string) (n int, err error) {
		err = fault.Safely(func() (err error) { n, err = do(names); return err })
		if err != nil {
			n = 0
		}
		return n, err
	}
	n, err = safely(names)
	for i := 0; i < len(names) && err != nil && !down(err); i++ {
		k, alone := safely(names[i : i+1])
		if n += k; alone != nil && down(alone) {
			return n, failed, alone
		}
		if alone != nil {
			failed = append(failed, fmt.Errorf("%s: %w", names[i], alone))
		}
	}
	if err != nil && !down(err) {
		err = nil
	}
	return n, failed, err
}

// down reports whether an error is the database's, and not that of a row.
func down(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) || errors.Is(err, ErrReadOnly)
}
