package tokenize

import (
	"time"

	"github.com/tapvault/tapvault/token"
)

// Bounds of a token's life. With less than the shortest left of the day, a
// token for today lives on to the end of the next one.
const (
	shortest = time.Hour
	longest  = 7 * 24 * time.Hour
)

// order turns a request into what the vault is to make, or says why not.
func (s *Service) order(ref token.Ref, r Request) (token.Order, error) {
	day, from, to, err := window(s.cfg.Calendar, s.cfg.Now(), r.Day)
	if err != nil {
		return token.Order{}, err
	}
	only := day.String()
	if r.Lifetime != 0 {
		if r.Lifetime < shortest || r.Lifetime > s.lifetime(r.FormFactor) {
			return token.Order{}, ErrLifetime
		}
		only, to = onlyLifetime, from.Add(r.Lifetime)
	}
	if r.PANExpiry.Before(from.In(s.cfg.Calendar.Zone)) {
		return token.Order{}, ErrCardExpired
	}
	policy := s.cfg.Policies[r.Requestor]
	o := token.Order{
		Ref: ref, Requestor: r.Requestor, PAN: r.PAN, CardExpiry: r.PANExpiry, PSN: r.PSN, Location: r.Location,
		Expiry:    expiry(to.In(s.cfg.Calendar.Zone), r.PANExpiry),
		NotBefore: from, NotAfter: to,
		Assurance: r.Assurance, FormFactor: r.FormFactor, Device: r.Device, Controls: r.Controls, Decision: policy.first(),
	}
	if policy.Duplicates == SameToken {
		o.Only, o.Until = only, from.Add(to.Sub(from)/enough)
		if only == onlyLifetime {
			o.Since = from
		}
	}
	return o, nil
}

// enough is which part of the life that is asked for has to be left of a token
// that lives already, for it to be the same: a half.
const enough = 2

// onlyLifetime is what there may be one of when no service day was asked for.
const onlyLifetime = "lifetime"

// lifetime is the longest life of a token of a form factor.
func (s *Service) lifetime(f token.FormFactor) time.Duration {
	if f == token.FormCardOnFile {
		return s.cfg.OnFile
	}
	return longest
}

// first is the decision that a new token begins with.
func (p Policy) first() token.Decision {
	if p.Decide {
		return token.DecisionPending
	}
	return token.DecisionApproved
}

// window returns when a token asked for at now begins and ends, and its service
// day. A token for today begins at once, on a whole second.
func window(cal token.Calendar, now time.Time, day *token.Day) (d token.Day, from, to time.Time, err error) {
	today := cal.DayOf(now)
	tomorrow := cal.Next(today)
	if day == nil {
		day = &today
	}
	switch *day {
	case today:
		_, to = cal.Window(today)
		if to.Sub(now) < shortest {
			_, to = cal.Window(tomorrow)
		}
		return today, now.Truncate(time.Second), to, nil
	case tomorrow:
		from, to = cal.Window(tomorrow)
		return tomorrow, from, to, nil
	}
	return token.Day{}, time.Time{}, time.Time{}, ErrDay
}

// expiry is a token's expiry date: the month in which its window closes, or
// the month after it if that were the card's own.
func expiry(closes time.Time, card token.Expiry) token.Expiry {
	e := token.ExpiryCovering(closes)
	if e == card {
		e = e.Next()
	}
	return e
}
