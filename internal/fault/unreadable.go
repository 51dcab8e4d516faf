package fault

import "errors"

// unreadable is an error of one stored row.
type unreadable struct{ error }

func (u unreadable) Unwrap() error { return u.error }

// Unreadable says of an error that one stored row is its reason, which is damaged, was
// changed by hand or cannot be opened: what needs no such row can be done all the same.
// What the error says goes to logs, so it names the row and holds nothing of it.
func Unreadable(err error) error {
	if err == nil {
		return nil
	}
	return unreadable{err}
}

// IsUnreadable reports whether [Unreadable] said so of err, or of what it wraps.
func IsUnreadable(err error) bool {
	var u unreadable
	return errors.As(err, &u)
}
