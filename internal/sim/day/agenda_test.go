package day

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestAgenda(t *testing.T) {
	var a agenda
	var got []string
	begin := time.Date(2026, 5, 20, 6, 0, 0, 0, time.UTC)
	note := func(s string) func(context.Context) error {
		return func(context.Context) error { got = append(got, s); return nil }
	}
	a.plan(begin.Add(2*time.Hour), note("later"))
	a.plan(begin, note("first"))
	a.plan(begin.Add(time.Hour), func(context.Context) error {
		a.plan(begin.Add(90*time.Minute), note("planned on the way"))
		return nil
	})
	a.plan(begin, note("second"))
	for e, ok := a.next(); ok; e, ok = a.next() {
		if err := e.do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"first", "second", "planned on the way", "later"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
