// Package audit records who asked for what, and refuses any action it could
// not record.
package audit

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/trace"
)

// Outcome is how an action ended.
type Outcome string

// Outcomes.
const (
	Allowed Outcome = "allowed" // recorded before the action
	Refused Outcome = "refused" // with the precise reason, which the caller is not told
)

// Entry is one record. It never holds a card number, token number, key or MAC:
// Object is a token reference, a key label, a client id or a terminal id.
type Entry struct {
	Caller  access.Caller
	Action  access.Action
	Object  string
	Outcome Outcome
	Reason  string // a closed set per service, e.g. "expired", "mac2"
	Request string // request id
}

// Recorder makes entries durable.
type Recorder interface {
	// Record returns after e is durable. When it returns an error the action
	// must not happen. It is safe for concurrent use; one call may cover
	// several waiting entries.
	Record(ctx context.Context, e Entry) error
}

// Beginner is a Recorder that need not be waited for at once.
type Beginner interface {
	// Begin starts to record e. It returns a function that waits as Record does
	// and has to be called.
	Begin(ctx context.Context, e Entry) (wait func() error, err error)
}

// Gate authorises and records, in that order, before a service acts.
type Gate struct{ Recorder Recorder }

// Check is the first line of every exported service method that reads a card
// number, moves state or acts for an administrator. It returns
// [access.ErrDenied] (recorded as refused) or the recorder's error.
func (g Gate) Check(ctx context.Context, c access.Caller, a access.Action, object string) error {
	return g.CheckBecause(ctx, c, a, object, "")
}

// CheckBecause is Check for actions that are asked for with a reason, such as
// the purpose of opening a card number; the record keeps it.
func (g Gate) CheckBecause(ctx context.Context, c access.Caller, a access.Action, object, reason string) error {
	recorded, err := g.Begin(ctx, c, a, object, reason)
	if err != nil {
		return err
	}
	return recorded()
}

// Begin is CheckBecause for an action that takes as long as its record: it
// authorises, and starts to record. The caller may prepare an answer meanwhile,
// and drops it unless recorded returns nil. When err is nil, recorded has to be
// called.
func (g Gate) Begin(ctx context.Context, c access.Caller, a access.Action, object, reason string) (recorded func() error, err error) {
	if err := g.Allow(ctx, c, a, object); err != nil {
		return nil, err
	}
	e := Entry{Caller: c, Action: a, Object: object, Outcome: Allowed, Reason: reason, Request: RequestID(ctx)}
	if b, ok := g.Recorder.(Beginner); ok {
		return b.Begin(ctx, e)
	}
	if err := g.Recorder.Record(ctx, e); err != nil {
		return nil, err
	}
	return func() error { return nil }, nil
}

// Allow is Check for calls that touch no card number and change nothing, such
// as a MAC check: only a refusal is recorded.
func (g Gate) Allow(ctx context.Context, c access.Caller, a access.Action, object string) error {
	_, span := trace.Start(ctx, trace.Authorise)
	err := access.Allow(c, a)
	span.Set(trace.Action, string(a))
	span.Set(trace.Outcome, outcome(err))
	span.End()
	if err != nil {
		return g.Refuse(ctx, c, a, object, "denied", err)
	}
	return nil
}

func outcome(err error) string {
	if err != nil {
		return trace.Refused
	}
	return trace.Allowed
}

// Refuse records why an action was refused and returns err, or the recorder's
// error when the refusal could not be recorded.
func (g Gate) Refuse(ctx context.Context, c access.Caller, a access.Action, object, reason string, err error) error {
	e := Entry{Caller: c, Action: a, Object: object, Outcome: Refused, Reason: reason, Request: RequestID(ctx)}
	if rerr := g.Recorder.Record(ctx, e); rerr != nil {
		return rerr
	}
	return err
}

type requestKey struct{}

// WithRequestID returns a context that carries the request's id into records.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID returns the id that [WithRequestID] stored, or "".
func RequestID(ctx context.Context) string { id, _ := ctx.Value(requestKey{}).(string); return id }
