package account_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/token"
)

// TestHourThatIsThereTwice: where clocks are set back, the time on a record names two
// moments. It is taken for one that its token allows, and never for one that is
// still to come.
func TestHourThatIsThereTwice(t *testing.T) {
	l := newLab(t)
	for i, c := range []struct {
		name, zone, now string
		begins, ends    time.Duration // of the token, from now
		tap             time.Duration // from now
		outcome         account.Outcome
		why             account.Reason
	}{
		{"first hour, at once", "Europe/Berlin", "2026-10-25T00:30:00Z", -20 * time.Hour, 10 * time.Minute, 0, account.Posted, ""},
		{"first hour, told of later", "Europe/Berlin", "2026-10-25T04:30:00Z", -24 * time.Hour, -4 * time.Hour, -245 * time.Minute, account.Posted, ""},
		{"the token was over", "Europe/Berlin", "2026-10-25T04:30:00Z", -24 * time.Hour, -4 * time.Hour, -235 * time.Minute, account.Rejected, account.OutsideWindow},
		{"second hour, at once", "America/New_York", "2026-11-01T06:30:00Z", -10 * time.Minute, 24 * time.Hour, 0, account.Posted, ""},
		{"the token was still to come", "America/New_York", "2026-11-01T06:30:00Z", -10 * time.Minute, 24 * time.Hour, -20 * time.Minute, account.Rejected, account.OutsideWindow},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			l.vault.Clock.Add(now.Sub(l.vault.Clock.Now()))
			in := *l
			in.t = t
			in.Service, err = account.New(account.Config{Tokens: l.vault.Writer(), Keys: l.hsm, Journal: l.flaky, Gate: audit.Gate{Recorder: l.log},
				Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: zone, Now: l.vault.Clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			in.tok = issueFor(t, &in, i+2, now.Add(c.begins), now.Add(c.ends))
			in.want(c.name, in.one(in.tap(0, 0, func(x *account.Tap) { x.At = cryptogram.DateTimeOf(now.Add(c.tap).In(zone)) })), c.outcome, c.why)
		})
	}
}

// issueFor is a token for the nth card, good from one moment to another.
func issueFor(t *testing.T, l *lab, n int, from, to time.Time) token.Token {
	t.Helper()
	o := l.vault.Order(t, n)
	o.NotBefore, o.NotAfter, o.Expiry = from, to, token.ExpiryCovering(to)
	return l.deliver(o)
}
