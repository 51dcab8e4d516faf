package trail

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Filter chooses entries of a record. What is empty chooses all.
type Filter struct {
	From, Until time.Time // From is in, Until is not
	Caller      string
	Action      string
	Object      string
	Outcome     string
	Request     string
}

func (f Filter) chooses(l line) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return (f.From.IsZero() || !l.Time.Before(f.From)) && (f.Until.IsZero() || l.Time.Before(f.Until)) &&
		is(f.Caller, l.Caller) && is(f.Action, l.Action) && is(f.Object, l.Object) && is(f.Outcome, l.Outcome) && is(f.Request, l.Request)
}

var errEnough = errors.New("all lines were seen")

// Select hands over the chosen ones of the lines that [Verify] found good, byte
// for byte and without their ends. A file that was changed since is an error of
// kind ErrBroken; the lines before the change were handed over.
func Select(path string, good Summary, f Filter, each func(line []byte) error) error {
	if good.Lines == 0 {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the audit trail: %w", err)
	}
	defer file.Close()
	n := uint64(0)
	again, err := verify(file, func(l line, b []byte) error {
		if f.chooses(l) {
			if err := each(b); err != nil {
				return err
			}
		}
		if n++; n == good.Lines {
			return errEnough
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errEnough) && again != good:
		return fmt.Errorf("%w: it was changed while it was read", ErrBroken)
	case errors.Is(err, errEnough):
		return nil
	}
	return err
}
