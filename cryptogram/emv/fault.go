package emv

import "fmt"

// FieldError is an [ErrMalformed] that says which field of a transaction is
// wrong and what would do. It tells what the profile says, and nothing of the
// field's value.
type FieldError struct {
	Field string // tag or name
	Wants string // "have 2 bytes"
}

func (e *FieldError) Error() string { return e.Field + ": must " + e.Wants }

// Unwrap makes it one of [ErrMalformed].
func (e *FieldError) Unwrap() error { return ErrMalformed }

// lengths says how long f has to be.
func (f Field) lengths() string {
	switch {
	case f.Least != f.Most:
		return fmt.Sprintf("have %d to %d bytes", f.Least, f.Most)
	case f.Least == 1:
		return "have 1 byte"
	}
	return fmt.Sprintf("have %d bytes", f.Least)
}
