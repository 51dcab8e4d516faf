package detokenize_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestWhatAServiceNeeds: without any of what it stands on there is no service.
func TestWhatAServiceNeeds(t *testing.T) {
	l := newLab(t)
	for name, take := range map[string]func(*detokenize.Config){
		"opener":   func(c *detokenize.Config) { c.Opener = nil },
		"evidence": func(c *detokenize.Config) { c.Evidence = nil },
		"recorder": func(c *detokenize.Config) { c.Gate = audit.Gate{} },
		"zone":     func(c *detokenize.Config) { c.Zone = nil },
	} {
		cfg := l.cfg
		take(&cfg)
		if s, err := detokenize.New(cfg); err == nil || s != nil {
			t.Errorf("without %s", name)
		}
	}
}

// TestTwoMinutesOfSkew: a tap is in its token's window by the terminal's clock, give or take
// two minutes, and by no more than that ahead of the service's.
func TestTwoMinutesOfSkew(t *testing.T) {
	l := newLab(t)
	const skew = 2 * time.Minute
	begin, end, late := l.tok.NotBefore, l.tok.NotAfter, l.tok.NotAfter.Add(time.Hour)
	for _, tc := range []struct {
		name    string
		now, at time.Time
		outside bool
	}{
		{"before the beginning", late, begin.Add(-skew), false},
		{"a second more", late, begin.Add(-skew - time.Second), true},
		{"after the end", late, end.Add(skew - time.Second), false},
		{"a second more", late, end.Add(skew), true},
		{"ahead", begin.Add(time.Hour), begin.Add(time.Hour + skew), false},
		{"a second more", begin.Add(time.Hour), begin.Add(time.Hour + skew + time.Second), true},
	} {
		l.vault.Clock.Set(tc.now)
		tap := l.tap(l.tok, 0, 5)
		tap.At = cryptogram.DateTimeOf(tc.at.In(shanghai)) // its MACs do not hold, in the window or not
		_, err := l.Verify(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &tap})
		reason := l.notes.last().Reason
		if fault.KindOf(err) != fault.Refused || (reason == "outside-window") != tc.outside {
			t.Errorf("%s: %v, for %q", tc.name, err, reason)
		}
	}
}

// TestConfiguredTimes: what is configured counts, and not what would count without it.
func TestConfiguredTimes(t *testing.T) {
	l := newLab(t)
	q := detokenize.Query{Ref: l.tok.Ref, TapID: l.upload(l.tap(l.tok, 0, 5))}
	l.with(func(c *detokenize.Config) { c.Skew, c.Late = time.Minute, 24*time.Hour })
	l.vault.Clock.Set(l.tok.NotAfter.Add(24 * time.Hour))
	if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); err != nil {
		t.Errorf("a day after the end: %v", err)
	}
	for sec, outside := range map[int]bool{60: false, 61: true} {
		tap := l.tap(l.tok, 1, 5)
		tap.At = cryptogram.DateTimeOf(l.tok.NotBefore.Add(-time.Duration(sec) * time.Second).In(shanghai))
		_, err := l.Verify(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &tap})
		if reason := l.notes.last().Reason; err == nil || (reason == "outside-window") != outside {
			t.Errorf("%d seconds before its window: %v, for %q", sec, err, reason)
		}
	}
	l.vault.Clock.Add(time.Nanosecond)
	if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); fault.KindOf(err) != fault.Refused {
		t.Errorf("later: %v", err)
	}
}

// TestPurposeBeforeTheLimit: a purpose that there is not uses up nothing.
func TestPurposeBeforeTheLimit(t *testing.T) {
	l := newLab(t)
	limit := &quota{left: 1}
	l.with(func(c *detokenize.Config) { c.Limiter = limit })
	q := detokenize.Query{Ref: l.tok.Ref}
	_, one := l.Detokenize(t.Context(), bank, q, "curiosity")
	_, direct := l.Direct(t.Context(), bank, q, "curiosity")
	_, batch := l.Batch(t.Context(), bank, []detokenize.Query{q}, "curiosity")
	for _, err := range []error{one, direct, batch} {
		if !errors.Is(err, detokenize.ErrPurpose) || limit.left != 1 {
			t.Errorf("%v, and %d left", err, limit.left)
		}
	}
}

// lost is a limiter that fails, and says how long to wait all the same.
type lost time.Duration

var errLost = errors.New("lost")

func (l lost) Take(context.Context, string, int) (time.Duration, error) {
	return time.Duration(l), errLost
}
func (l lost) Would(context.Context, string, int) (time.Duration, error) {
	return time.Duration(l), errLost
}

// TestLimiterThatFails: it is told of, as no caller's fault, and no card is opened.
func TestLimiterThatFails(t *testing.T) {
	l := newLab(t)
	q := detokenize.Query{Ref: l.tok.Ref, TapID: l.upload(l.tap(l.tok, 0, 5))}
	for _, wait := range []lost{-1, 0, lost(time.Second)} {
		l.with(func(c *detokenize.Config) { c.Limiter = wait })
		if a, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); !errors.Is(err, errLost) || !a.PAN.IsZero() {
			t.Errorf("%v: %v", time.Duration(wait), err)
		}
	}
	if l.opener.opens() != 0 {
		t.Error("a card was opened")
	}
}

// TestUnnamedPurchases: a bound on the sum, or on the count, makes a purchase need a name:
// one that is not counted would be none of it. Nor does it matter what a caller leaves out.
func TestUnnamedPurchases(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct {
		controls token.Controls
		reason   string
	}{
		"a bound on the sum":     {token.Controls{MaxSum: 1000}, "unnamed-purchase"},
		"a bound on the count":   {token.Controls{MaxCount: 5}, "unnamed-purchase"},
		"a bound on the amount":  {token.Controls{MaxAmount: 1000}, ""},
		"its own location":       {token.Controls{Locations: []token.Location{l.tok.Location}}, ""},
		"another location":       {token.Controls{Locations: []token.Location{token.LocationShared}}, "control-location"},
		"its own requestor":      {token.Controls{Requestors: []token.Requestor{bankID}}, ""},
		"another requestor only": {token.Controls{Requestors: []token.Requestor{"99999999999"}}, "control-requestor"},
	} {
		tok := l.issue(3, c.controls)
		q := detokenize.Query{Ref: tok.Ref, Where: token.Use{Amount: 1}}
		_, err := l.Direct(t.Context(), bank, q, detokenize.Authorisation)
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v, for %q", name, err, l.notes.last().Reason)
			}
			continue
		}
		if e := l.notes.last(); fault.KindOf(err) != fault.Refused || e.Reason != c.reason || e.Object != string(tok.Ref) {
			t.Errorf("%s: %v, for %q", name, err, e.Reason)
		}
		// By its number, the record still says which token it was.
		_, err = l.Direct(t.Context(), bank, detokenize.Query{Number: tok.Number, Where: q.Where}, detokenize.Authorisation)
		if e := l.notes.last(); fault.KindOf(err) != fault.Refused || e.Object != string(tok.Ref) {
			t.Errorf("%s, by number: %v, recorded of %s", name, err, e.Object)
		}
	}
	_, err := l.Verify(t.Context(), bank, detokenize.Query{Number: l.tok.Number, TapID: "none"})
	if e := l.notes.last(); fault.KindOf(err) != fault.Refused || e.Reason != "no-tap" || e.Object != string(l.tok.Ref) {
		t.Errorf("a tap that there is not: %v, recorded %+v", err, e)
	}
}

// judged is evidence whose judging ends with an error.
type judged struct {
	detokenize.Evidence
	err error
}

func (j judged) Judge(context.Context, access.Caller, account.Tap, token.Use) (account.Result, token.Token, error) {
	return account.Result{}, token.Token{}, j.err
}

// TestJudgingThatFails: what proves nothing is refused, who shows too much of it is told to
// wait, and what could not be judged is nobody's refusal.
func TestJudgingThatFails(t *testing.T) {
	l := newLab(t)
	evidence := l.cfg.Evidence
	tap := l.tap(l.tok, 0, 5)
	for kind, recorded := range map[fault.Kind]string{fault.Refused: "bad-tap", fault.TooFast: "misses", fault.StoreDown: "judge-tap"} {
		l.with(func(c *detokenize.Config) { c.Evidence = judged{evidence, fault.New(kind, "so it ends")} })
		_, err := l.Verify(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &tap})
		if e := l.notes.last(); fault.KindOf(err) != kind || e.Reason != recorded {
			t.Errorf("%s: %v, recorded %+v", kind, err, e)
		}
	}
}
