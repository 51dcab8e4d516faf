package webhook

import (
	"context"
	"errors"
	"time"
)

// Rest is how an endpoint fared of late, whichever process asked it.
type Rest struct {
	Failures int       // how often in a row it took nothing
	Until    time.Time // it is sent nothing before; zero: it does not rest
}

// An endpoint that took nothing rests, longer and longer, and is then sent one
// event by one process. What is due meanwhile is put off as if it had been sent
// in vain, without a signature of the HSM or a connection.
const (
	patience    = 3 // failures in a row before it rests
	firstRest   = 2 * time.Second
	longestRest = time.Minute // an event is not later by more, if the endpoint is well again
)

// restFor is how long an endpoint rests after so many failures in a row.
func restFor(failures int) time.Duration {
	if failures < patience {
		return 0
	}
	return min(longestRest, firstRest<<min(failures-patience, 8))
}

// over reports whether r does not last. One that lasts too long is of a clock
// that was wrong.
func (r Rest) over(now time.Time) bool {
	return !now.Before(r.Until) || r.Until.Sub(now) > max(lease, longestRest)
}

// spare sends what is due, unless the endpoint rests.
func (d *Dispatcher) spare(ctx context.Context, e Endpoint, due []Delivery) error {
	rest, err := d.cfg.Queue.Rest(ctx, e)
	switch {
	case err != nil || rest.Failures < patience: // whoever cannot be known to rest is sent it
		heard, serr := d.all(ctx, e, due)
		_, nerr := d.note(ctx, e, rest, heard)
		return errors.Join(err, serr, nerr)
	case rest.over(d.cfg.Now()):
		return d.probe(ctx, e, rest, due)
	}
	return d.hold(ctx, e, due, rest.Until)
}

// probe sends one event, if no other process does, and the others if it was taken.
func (d *Dispatcher) probe(ctx context.Context, e Endpoint, rest Rest, due []Delivery) error {
	probing := Rest{rest.Failures, d.cfg.Now().Add(lease)}
	mine, err := d.cfg.Queue.Change(ctx, e, rest, probing)
	if err != nil || !mine {
		return errors.Join(err, d.hold(ctx, e, due, time.Time{}))
	}
	heard, err := d.all(ctx, e, due[:1])
	until, nerr := d.note(ctx, e, probing, heard)
	if err = errors.Join(err, nerr); heard != took {
		return errors.Join(err, d.hold(ctx, e, due[1:], until))
	}
	_, serr := d.all(ctx, e, due[1:])
	return errors.Join(err, serr)
}

// note keeps how an endpoint fared, and returns until when it rests. If somebody
// else kept it meanwhile, theirs holds.
func (d *Dispatcher) note(ctx context.Context, e Endpoint, was Rest, heard word) (until time.Time, err error) {
	is := Rest{Failures: was.Failures}
	switch heard {
	case took:
		is.Failures = 0
	case failed:
		is.Failures++
		if rest := restFor(is.Failures); rest > 0 {
			is.Until = d.cfg.Now().Add(rest)
			d.cfg.Log.WarnContext(ctx, "webhook endpoint rests", "endpoint", e.Name, "failures", is.Failures, "until", is.Until)
		}
	}
	if is == was {
		return is.Until, nil
	}
	_, err = d.cfg.Queue.Change(context.WithoutCancel(ctx), e, was, is)
	return is.Until, err
}

// errRests is why an event was not sent.
var errRests = errors.New("the endpoint rests")

// hold puts off what is due to an endpoint that rests.
func (d *Dispatcher) hold(ctx context.Context, e Endpoint, due []Delivery, until time.Time) error {
	errs := make([]error, len(due))
	for i, one := range due {
		errs[i] = d.again(context.WithoutCancel(ctx), e, one, until, errRests)
	}
	return errors.Join(errs...)
}
