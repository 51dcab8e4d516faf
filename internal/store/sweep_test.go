package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/store"
)

// sweeping is a sweep over n rows, three at a time, of which some fail.
type sweeping struct {
	n    int
	fail func(names []string) error
	done []string
}

func (s *sweeping) run() (int, error) {
	page := func(after store.Place) (out []store.Place, _ error) {
		for i := max(0, int(after.At)+1); i < s.n && len(out) < 3; i++ {
			out = append(out, store.Place{At: int64(i), Name: fmt.Sprint("r", i)})
		}
		return out, nil
	}
	return store.Sweep(page, func(names []string) (int, error) {
		if err := s.fail(names); err != nil {
			return len(names), err
		}
		s.done = append(s.done, names...)
		return len(names), nil
	})
}

// TestSweep: rows that fail or panic hold up no others, the first few are named, and a
// database that is away ends it.
func TestSweep(t *testing.T) {
	bad := errors.New("bad")
	has := func(err error, which ...string) func([]string) error {
		return func(names []string) error {
			if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(which, n) }) {
				return err
			}
			return nil
		}
	}
	for _, c := range []struct {
		name  string
		fail  func([]string) error
		n     int
		named []string
		is    error
	}{
		{"all well", has(nil), 10, nil, nil},
		{"some fail", has(bad, "r0", "r2", "r9"), 7, []string{"r0: bad", "r2: bad", "r9: bad"}, bad},
		{"all fail", func([]string) error { return bad }, 0, []string{"r0: ", "r7: "}, bad},
		{"only together", func(names []string) error {
			if len(names) > 1 {
				return bad
			}
			return nil
		}, 10, nil, nil},
		{"away at the second page", has(store.ErrUnavailable, "r4"), 3, nil, store.ErrUnavailable},
		{"full at the second page", has(store.ErrFull, "r4"), 3, nil, store.ErrFull},
		{"away at one alone", func(names []string) error {
			if len(names) > 1 {
				return bad
			}
			return has(store.ErrReadOnly, "r1")(names)
		}, 1, nil, store.ErrReadOnly},
		{"a panic", func(names []string) error {
			if slices.Contains(names, "r5") {
				panic("4761739001010010")
			}
			return nil
		}, 9, []string{"r5: a panic of type string"}, nil},
	} {
		s := &sweeping{n: 10, fail: c.fail}
		n, err := s.run()
		if n != c.n || len(s.done) != c.n || c.is != nil && !errors.Is(err, c.is) || (c.is == nil && c.named == nil) != (err == nil) {
			t.Errorf("%s: %d, %v, %v", c.name, n, s.done, err)
		}
		for _, want := range c.named {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: %q is not told of: %v", c.name, want, err)
			}
		}
		if text := fmt.Sprint(err); strings.Contains(text, "r8: ") || strings.Contains(text, "4761") {
			t.Errorf("%s: told too much: %v", c.name, err)
		}
	}
}
