package guess

import (
	"context"
	"errors"
	"strconv"
	"testing"
)

var errFull = errors.New("no space left")

// full counts, unless there is no space.
type full struct {
	Counts
	err   error
	total map[string]int
}

func (f *full) Standing(_ context.Context, client string) (Standing, error) {
	return Standing{Total: f.total[client], Most: f.total[client]}, nil
}

func (f *full) Miss(_ context.Context, client string, _ Name) (Standing, bool, error) {
	if f.err == nil {
		f.total[client]++
	}
	return Standing{}, false, f.err
}

// guessing shows one wrong MAC of a thing, if it may.
func guessing(t *testing.T, g *Guard, client, thing string) (judged bool, err error) {
	t.Helper()
	_, leave, err := g.Enter(t.Context(), client, map[string]int{thing: 1})
	if err != nil {
		return false, err
	}
	defer leave()
	return true, g.Missed(t.Context(), client, thing, func(context.Context) (Name, error) { return Name{}, nil })
}

// TestWhatCouldNotBeCounted: while no guess can be counted, a caller has one judged of
// a thing, not more; others are not held up, and it counts as soon as it can.
func TestWhatCouldNotBeCounted(t *testing.T) {
	counts := &full{err: errFull, total: map[string]int{}}
	g := New(counts, nil, nil)
	for i := range 3 {
		if judged, err := guessing(t, g, "thief", "card"); judged != (i == 0) || !errors.Is(err, errFull) {
			t.Errorf("guess %d: judged %v, %v", i+1, judged, err)
		}
	}
	for _, other := range [][2]string{{"gate", "card"}, {"thief", "another"}} {
		if _, leave, err := g.Enter(t.Context(), other[0], map[string]int{other[1]: 1}); err != nil {
			t.Errorf("%v is held up: %v", other, err)
		} else {
			leave()
		}
	}
	counts.err = nil
	for i := range 3 {
		if judged, err := guessing(t, g, "thief", "card"); !judged || err != nil || counts.total["thief"] != i+2 {
			t.Errorf("when there is space: %d counted, judged %v, %v", counts.total["thief"], judged, err)
		}
	}
}

// TestDebtsAreBounded: of too many everybody pays, and memory is not theirs.
func TestDebtsAreBounded(t *testing.T) {
	counts := &full{err: errFull, total: map[string]int{}}
	g := New(counts, nil, nil)
	for i := range mostSeen + 10 {
		if _, err := guessing(t, g, strconv.Itoa(i), "card"); !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
	if n := len(g.debts.of); n != mostSeen {
		t.Errorf("%d are remembered", n)
	}
	if judged, err := guessing(t, g, "somebody", "card"); judged || !errors.Is(err, errFull) {
		t.Errorf("judged %v, %v", judged, err)
	}
	counts.err = nil
	if judged, err := guessing(t, g, "somebody", "card"); !judged || err != nil || len(counts.total) != mostSeen+1 || g.debts.all {
		t.Errorf("judged %v, %v, %d were counted", judged, err, len(counts.total))
	}
}

// TestCountingThatPanics: what was judged and not counted is owed, whatever kept it
// from being counted.
func TestCountingThatPanics(t *testing.T) {
	g := New(&full{total: map[string]int{}}, nil, nil)
	broken := true
	name := func(context.Context) (Name, error) {
		if broken {
			panic("broken")
		}
		return Name{}, nil
	}
	func() {
		defer func() { _ = recover() }()
		_ = g.Missed(t.Context(), "thief", "card", name)
	}()
	broken = false
	if judged, err := guessing(t, g, "thief", "card"); !judged || err != nil {
		t.Errorf("judged %v, %v", judged, err)
	}
	if s, err := g.counts.Standing(t.Context(), "thief"); err != nil || s.Total != 2 {
		t.Errorf("%d of 2 are counted, %v", s.Total, err)
	}
}
