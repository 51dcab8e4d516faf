// Package trace marks the steps of a request, for whoever records how long each
// of them took.
//
// Who records them is put into the context at the edge ([With]); without that,
// all of this does nothing and allocates nothing. A step has a name and
// attributes of closed sets: no key of an attribute is free, and what is set
// comes from the service's own constants, never from a caller.
package trace

import "context"

// Step is what is done.
type Step string

// Steps within a request, which is named after its operation.
const (
	Authorise   Step = "authorise"         // may the caller do this?
	Record      Step = "audit record"      // until the entry is durable
	Transaction Step = "store transaction" // until it is committed, with the wait for a turn
	HSM         Step = "hsm"               // one call, with the wait for a session
)

// Key names an attribute.
type Key string

// Attributes.
const (
	Operation Key = "tapvault.operation" // as openapi.yaml calls it
	Status    Key = "tapvault.status"    // class of the answer, such as 2xx
	Problem   Key = "tapvault.problem"   // kind of failure
	Role      Key = "tapvault.role"      // of the caller
	Action    Key = "tapvault.action"    // that is authorised
	Outcome   Key = "tapvault.outcome"   // allowed, refused, failed
	Call      Key = "tapvault.call"      // of the HSM
	Usage     Key = "tapvault.usage"     // of the HSM's key
	Wait      Key = "tapvault.wait_us"   // microseconds until it was a step's turn
)

// Outcomes.
const (
	Allowed = "allowed"
	Refused = "refused"
	Failed  = "failed"
)

// Recording is a step that is being recorded. It is safe for concurrent use.
type Recording interface {
	Child(Step) Recording
	Set(key Key, value string)
	// Waited says that the step's turn has come; only the first time counts.
	Waited()
	// Fail marks the step as one that the service failed in.
	Fail()
	End()
}

// Span is a step. The zero Span is not recorded.
type Span struct{ r Recording }

type key struct{}

// With returns a context whose steps are recorded below r, and r as a span. Its
// taker ends it.
func With(ctx context.Context, r Recording) (context.Context, Span) {
	return context.WithValue(ctx, key{}, r), Span{r}
}

// Of is the step that ctx belongs to.
func Of(ctx context.Context) Span {
	r, _ := ctx.Value(key{}).(Recording)
	return Span{r}
}

// Start begins a step within the one that ctx belongs to. Its taker ends it.
func Start(ctx context.Context, step Step) (context.Context, Span) {
	if s := Of(ctx); s.r != nil {
		return With(ctx, s.r.Child(step))
	}
	return ctx, Span{}
}

// On reports whether the step is recorded.
func (s Span) On() bool { return s.r != nil }

// Set gives the step an attribute.
func (s Span) Set(key Key, value string) {
	if s.r != nil {
		s.r.Set(key, value)
	}
}

// Waited says that the step's turn has come.
func (s Span) Waited() {
	if s.r != nil {
		s.r.Waited()
	}
}

// Fail marks the step as one that the service failed in.
func (s Span) Fail() {
	if s.r != nil {
		s.r.Fail()
	}
}

// End ends the step.
func (s Span) End() {
	if s.r != nil {
		s.r.End()
	}
}

// Done ends the step, and marks it when err is not nil.
func (s Span) Done(err error) {
	if s.r == nil {
		return
	}
	if err != nil {
		s.r.Fail()
	}
	s.r.End()
}
