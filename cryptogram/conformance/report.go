package conformance

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report counts vectors.
type Report struct {
	Passed    int                 `json:"passed"`
	Failed    int                 `json:"failed"`
	Skipped   int                 `json:"skipped"`
	Functions map[string]Function `json:"functions"`
	// Failures says which vectors failed, and in what. It holds no key.
	Failures []Failure `json:"-"`
}

// Function counts the vectors of one function.
type Function struct {
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
	Reason  string `json:"reason,omitempty"` // why vectors were skipped
	Note    string `json:"note,omitempty"`   // what a pass does not show
}

// Failure is one vector that did not pass.
type Failure struct {
	ID  string
	Err error
}

func (r *Report) add(function, id string, err error) {
	f := r.Functions[function]
	if err != nil {
		r.Failed++
		f.Failed++
		r.Failures = append(r.Failures, Failure{readable(id), err})
	} else {
		r.Passed++
		f.Passed++
	}
	r.Functions[function] = f
}

func (r *Report) skip(function string, n int, reason string) {
	f := r.Functions[function]
	r.Skipped += n
	f.Skipped += n
	f.Reason = reason
	r.Functions[function] = f
}

func (r *Report) note(function, text string) {
	f := r.Functions[function]
	f.Note = text
	r.Functions[function] = f
}

// skipReason says why a function is not run.
func skipReason(function string) string {
	switch {
	case strings.HasPrefix(function, "epurse_"):
		return "this purse function is not known to this release"
	default:
		return "this function is not known to this release"
	}
}

// WriteTable prints r for people.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FUNCTION\tPASSED\tFAILED\tSKIPPED\tNOTE")
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(r.Functions)) {
		f := r.Functions[name]
		number := ""
		if note := f.Reason + f.Note; note != "" {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
			number = strconv.Itoa(slices.Index(notes, note) + 1)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", readable(name), f.Passed, f.Failed, f.Skipped, number)
	}
	fmt.Fprintf(t, "total\t%d\t%d\t%d\t\n", r.Passed, r.Failed, r.Skipped)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	for i, note := range notes {
		if _, err := fmt.Fprintf(w, "note %d: %s\n", i+1, strings.ReplaceAll(note, "; ", ";\n        ")); err != nil {
			return fmt.Errorf("printing the report: %w", err)
		}
	}
	for _, f := range r.Told() {
		if _, err := fmt.Fprintf(w, "failed: %s\n", f); err != nil {
			return fmt.Errorf("printing the report: %w", err)
		}
	}
	return nil
}

// Told lists the failures for people, a line each. Neighbours that failed alike
// share a line.
func (r Report) Told() (lines []string) {
	for all := r.Failures; len(all) > 0; {
		text, n := all[0].Err.Error(), 1
		for n < len(all) && all[n].Err.Error() == text {
			n++
		}
		ids := all[0].ID
		if n > 1 {
			ids = fmt.Sprintf("%s to %s (%d)", ids, all[n-1].ID, n)
		}
		lines = append(lines, ids+": "+strings.ReplaceAll(text, "\n", "; "))
		all = all[n:]
	}
	return lines
}
