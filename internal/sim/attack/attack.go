// Package attack plays the attacks that the scheme was designed against, and
// holds what each of them got to the bound that the design gives.
//
// Each is played by software against the real service, handsets and readers, on
// a service day of its own. What no software can do (open a phone's key store,
// extract a PSAM's master) is granted to the attacker as done.
package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tapvault/tapvault/token"
)

// Result is what one attack came to. Money is in fen.
type Result struct {
	Row   string       `json:"row"`
	What  string       `json:"what"`
	Bound token.Amount `json:"bound_fen"`
	Loss  token.Amount `json:"loss_fen"`
	Held  bool         `json:"held"`
}

// Config says which attacks to play, and how.
type Config struct {
	Seed uint64
	// Rows names the rows to play; nil: all.
	Rows []string
	// Played is told of each row before and after it; may be nil.
	Played func(done, total int, row string)
}

// row is one attack. play returns the most that it may get and what it got.
type row struct {
	name, what string
	play       func(context.Context, *stage) (bound, loss token.Amount, err error)
}

// Play plays the attacks of c. An attack that could not be played is an error:
// it says nothing about its bound.
func Play(ctx context.Context, c Config) (results []Result, err error) {
	chosen, err := choose(c.Rows)
	if err != nil {
		return nil, err
	}
	s, err := newStage(ctx, c.Seed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i, r := range chosen {
		if c.Played != nil {
			c.Played(i, len(chosen), r.name)
		}
		if err := s.tomorrow(ctx, r.name); err != nil {
			return results, fmt.Errorf("row %s: %w", r.name, err)
		}
		bound, loss, err := r.play(ctx, s)
		if err != nil {
			return results, fmt.Errorf("row %s: %w", r.name, err)
		}
		results = append(results, Result{Row: r.name, What: r.what, Bound: bound, Loss: loss, Held: loss <= bound})
	}
	if c.Played != nil {
		c.Played(len(chosen), len(chosen), "")
	}
	return results, nil
}

// Names lists every row, in order.
func Names() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// Check reports names that no row has.
func Check(names []string) error {
	_, err := choose(names)
	return err
}

func choose(names []string) (chosen []row, err error) {
	if len(names) == 0 {
		return rows, nil
	}
	for _, name := range names {
		found := false
		for _, r := range rows {
			if r.name == name {
				chosen, found = append(chosen, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("attack: there is no row %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	return chosen, nil
}

// Held reports whether every attack stayed within its bound.
func Held(results []Result) bool {
	for _, r := range results {
		if !r.Held {
			return false
		}
	}
	return true
}

// WriteTable writes the results for people, in 80 columns.
func WriteTable(w io.Writer, results []Result) error {
	const what = 46
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %-*s %8s %8s  %s\n", "ROW", what, "ATTACK", "BOUND", "LOSS", "HELD")
	for _, r := range results {
		held := "yes"
		if !r.Held {
			held = "NO"
		}
		for i, line := range fold(r.What, what) {
			if i > 0 {
				fmt.Fprintf(&b, "%-8s %s\n", "", line)
				continue
			}
			fmt.Fprintf(&b, "%-8s %-*s %8s %8s  %s\n", r.Row, what, line, yuan(r.Bound), yuan(r.Loss), held)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fold breaks text between words.
func fold(text string, columns int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > columns {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func yuan(a token.Amount) string { return fmt.Sprintf("%d.%02d", a/100, a%100) }
