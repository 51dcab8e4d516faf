package guess

import (
	"context"
	"strconv"
	"testing"
)

// blameless knows nobody who got anything wrong.
type blameless struct{ Counts }

func (blameless) Standing(context.Context, string) (Standing, error) { return Standing{}, nil }

// TestSeenIsBounded: however many callers there are, memory is not theirs.
func TestSeenIsBounded(t *testing.T) {
	g := New(blameless{}, nil, nil)
	for i := range mostSeen + 10 {
		if _, err := g.Standing(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.seen); n != 10 {
		t.Errorf("%d callers are remembered", n)
	}
}

// slow counts misses, and holds up who reads how a caller stands.
type slow struct {
	Counts
	total   int
	reading chan struct{} // closed once somebody has read
	goOn    chan struct{}
}

func (s *slow) Standing(context.Context, string) (Standing, error) {
	read := Standing{Total: s.total}
	close(s.reading)
	<-s.goOn
	s.reading = make(chan struct{})
	return read, nil
}

func (s *slow) Miss(context.Context, string, Name) (Standing, bool, error) {
	s.total++
	return Standing{}, false, nil
}

// TestAnOldLookIsNotKept: who was read as clean while its first miss was being
// counted is not taken for clean afterwards.
func TestAnOldLookIsNotKept(t *testing.T) {
	counts := &slow{reading: make(chan struct{}), goOn: make(chan struct{})}
	g := New(counts, nil, nil)
	began, done := counts.reading, make(chan error)
	go func() {
		_, err := g.Standing(t.Context(), "thief")
		done <- err
	}()
	<-began
	if err := g.Missed(t.Context(), "thief", "", func(context.Context) (Name, error) { return Name{}, nil }); err != nil {
		t.Fatal(err)
	}
	close(counts.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s, err := g.Standing(t.Context(), "thief"); err != nil || s.Total != 1 {
		t.Errorf("it got %d wrong, %v", s.Total, err)
	}
}

// leaving counts what it is told of, as long as the context lives.
type leaving struct {
	Counts
	total int
}

func (l *leaving) Miss(ctx context.Context, _ string, _ Name) (Standing, bool, error) {
	if ctx.Err() == nil {
		l.total++
	}
	return Standing{}, false, ctx.Err()
}

func (l *leaving) Once(ctx context.Context, client string, _ []Miss) (Standing, bool, error) {
	return l.Miss(ctx, client, Name{})
}

// TestHangingUp: what did not hold counts, though its caller is gone.
func TestHangingUp(t *testing.T) {
	counts := &leaving{}
	g := New(counts, nil, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	err := g.Missed(ctx, "thief", "", func(ctx context.Context) (Name, error) { return Name{}, ctx.Err() })
	if err != nil || counts.total != 1 {
		t.Errorf("%d counted, %v", counts.total, err)
	}
	if err := g.Once(ctx, "thief", make([]Miss, 1)); err != nil || counts.total != 2 {
		t.Errorf("%d counted, %v", counts.total, err)
	}
}
