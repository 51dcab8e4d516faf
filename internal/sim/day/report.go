package day

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/sim/plot"
	"github.com/tapvault/tapvault/token"
)

// Report is what became of a day. Money is in fen.
type Report struct {
	Seed      uint64 `json:"seed"`
	Wallets   int    `json:"wallets"`
	Terminals int    `json:"terminals"`

	Tried    int            `json:"taps_tried"`
	Accepted int            `json:"taps_accepted"`
	Refused  map[string]int `json:"taps_refused"`     // by the reader's reason
	Outcomes map[string]int `json:"records_uploaded"` // by the service's answer
	Syncs    map[string]int `json:"syncs"`            // by their result

	Fares  token.Amount `json:"fares_fen"` // of accepted taps
	Ledger Ledger       `json:"ledger"`
	Clones []Clone      `json:"clones"`
	Loss   token.Amount `json:"loss_fen"`  // what clones rode for
	Bound  token.Amount `json:"bound_fen"` // the most that they could have
	Deny   int          `json:"deny_list_largest"`
	Held   bool         `json:"held"` // no loss above its bound, and no fen unaccounted for
	Notes  []string     `json:"notes,omitempty"`

	denied, lost []plot.Point // over hours of the day
}

// Ledger is the money at the end of the day.
type Ledger struct {
	ToppedUp   token.Amount `json:"topped_up_fen"`
	Available  token.Amount `json:"available_fen"`
	Reserve    token.Amount `json:"reserve_fen"`
	Due        token.Amount `json:"due_fen"`
	Operator   token.Amount `json:"operator_payable_fen"`
	Fraud      token.Amount `json:"fraud_loss_fen"`
	Unbalanced int64        `json:"unbalanced_fen"` // 0, or money was made or lost
}

// Clone is one copied phone.
type Clone struct {
	At       float64      `json:"hour"` // when it began to ride
	Detected *float64     `json:"detected_minutes,omitempty"`
	Taps     int          `json:"taps"`
	Loss     token.Amount `json:"loss_fen"`
}

// WriteText writes the report in words.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A day with %d wallets and %d terminals, seed %d\n\n", r.Wallets, r.Terminals, r.Seed)
	fmt.Fprintf(&b, "  taps         %d tried, %d accepted, %s yuan in fares\n", r.Tried, r.Accepted, yuan(r.Fares))
	counts(&b, "refused", r.Refused)
	counts(&b, "uploaded", r.Outcomes)
	counts(&b, "syncs", r.Syncs)
	fmt.Fprintf(&b, "  deny list    %d entries at most\n", r.Deny)
	l := r.Ledger
	fmt.Fprintf(&b, "  money        %s topped up\n               = %s free + %s set aside + %s to operators\n", yuan(l.ToppedUp),
		yuan(l.Available), yuan(l.Reserve), yuan(l.Operator))
	fmt.Fprintf(&b, "               - %s lost to fraud - %s owed; off by %d fen\n", yuan(l.Fraud), yuan(l.Due), l.Unbalanced)
	for i, c := range r.Clones {
		found := "not found that day"
		if c.Detected != nil {
			found = fmt.Sprintf("found after %.1f minutes", *c.Detected)
		}
		fmt.Fprintf(&b, "  clone %-3d    from %05.2f h: %d taps, %s yuan, %s\n", i+1, c.At, c.Taps, yuan(c.Loss), found)
	}
	fmt.Fprintf(&b, "  loss         %s yuan, at most %s by the formula\n", yuan(r.Loss), yuan(r.Bound))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note         %s\n", n)
	}
	verdict := "The day held: no loss above its bound, and not a fen unaccounted for."
	if !r.Held {
		verdict = "THE DAY DID NOT HOLD."
	}
	fmt.Fprintf(&b, "\n%s\n", verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

func counts(b *strings.Builder, name string, of map[string]int) {
	if len(of) == 0 {
		return
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d %s", of[k], k))
	}
	line := fmt.Sprintf("  %-12s ", name)
	for i, p := range parts {
		if i > 0 {
			line += ", "
			if len(line)+len(p) > 79 {
				fmt.Fprintln(b, strings.TrimRight(line, " "))
				line = strings.Repeat(" ", 15)
			}
		}
		line += p
	}
	fmt.Fprintln(b, line)
}

// yuan prints an amount with its fen.
func yuan(a token.Amount) string { return fmt.Sprintf("%d.%02d", a/100, a%100) }

// charts are the pictures of the day, by the names of their files.
func (r Report) charts() map[string]plot.Chart {
	var found []plot.Point
	for _, c := range r.Clones {
		if c.Detected != nil {
			found = append(found, plot.Point{X: c.At, Y: *c.Detected})
		}
	}
	slices.SortFunc(found, func(a, b plot.Point) int {
		if a.X < b.X {
			return -1
		}
		return 1
	})
	end := plot.Point{X: 18, Y: float64(r.Bound) / 100}
	return map[string]plot.Chart{
		"detection.svg": {Title: "How soon a clone is found", X: "hour of the day at which it began", Y: "minutes",
			Series: []plot.Series{{Name: "from its first tap to its wallet's suspension", Points: found}}},
		"loss.svg": {Title: "What clones rode for", X: "hours since the day began", Y: "yuan", Series: []plot.Series{
			{Name: "accepted by readers, all clones together", Points: r.lost, Step: true},
			{Name: "the most that the formula allows", Points: []plot.Point{{X: 0, Y: end.Y}, end}}}},
		"deny-list.svg": {Title: "The deny list", X: "hours since the day began", Y: "entries",
			Series: []plot.Series{{Name: "entries, as a gate hears them", Points: r.denied, Step: true}}},
	}
}

// WritePlots writes the day's pictures into a folder and returns their names.
func (r Report) WritePlots(dir string) (names []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("writing plots: %w", err)
	}
	charts := r.charts()
	for _, name := range slices.Sorted(maps.Keys(charts)) {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("writing plots: %w", err)
		}
		_, err = charts[name].WriteTo(f)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, fmt.Errorf("writing plots: %w", err)
		}
		names = append(names, filepath.Join(dir, name))
	}
	return names, nil
}

// hours is a moment on the plots' axis.
func hours(from, at time.Time) float64 { return at.Sub(from).Hours() }
