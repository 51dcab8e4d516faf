package trace_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/internal/trace"
)

// notes is a recording that writes down what it is told.
type notes struct {
	name string
	all  *[]string
}

func (n notes) say(s string) { *n.all = append(*n.all, n.name+" "+s) }

func (n notes) Child(s trace.Step) trace.Recording {
	n.say("has " + string(s))
	return notes{string(s), n.all}
}
func (n notes) Set(key trace.Key, value string) { n.say(string(key) + "=" + value) }
func (n notes) Waited()                         { n.say("waited") }
func (n notes) Fail()                           { n.say("fails") }
func (n notes) End()                            { n.say("ends") }

func TestSteps(t *testing.T) {
	var all []string
	ctx, root := trace.With(t.Context(), notes{"request", &all})
	inner, tx := trace.Start(ctx, trace.Transaction)
	trace.Of(inner).Waited()
	_, call := trace.Start(inner, trace.HSM)
	call.Set(trace.Usage, "mpk")
	call.Done(errors.New("no"))
	tx.Done(nil)
	trace.Of(ctx).Fail()
	root.End()
	want := []string{"request has store transaction", "store transaction waited", "store transaction has hsm", "hsm tapvault.usage=mpk",
		"hsm fails", "hsm ends", "store transaction ends", "request fails", "request ends"}
	if !slices.Equal(all, want) || !root.On() {
		t.Errorf("%q", all)
	}
}

// TestOffIsFree: without a recording nothing happens, and nothing is allocated.
func TestOffIsFree(t *testing.T) {
	type other struct{}
	ctx := context.WithValue(t.Context(), other{}, 1)
	err := errors.New("no")
	n := testing.AllocsPerRun(1000, func() {
		inner, s := trace.Start(ctx, trace.HSM)
		s.Set(trace.Usage, "mpk")
		s.Waited()
		s.Fail()
		s.Done(err)
		s.End()
		if s.On() || trace.Of(inner).On() || inner != ctx {
			t.Error("something is recorded")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
