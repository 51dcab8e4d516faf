package account_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/token"
)

// TestActivationIsRecorded: a first purchase makes a token active only when that
// is in the record, and a batch that ended there is finished when it comes again.
func TestActivationIsRecorded(t *testing.T) {
	l := newLab(t)
	activated := func(reason string) bool { return strings.HasPrefix(reason, "activated") }
	tap := l.tap(0, 5)
	l.log.failing = activated
	if _, err := l.Upload(t.Context(), gate, "gate-7", []account.Tap{tap}); !errors.Is(err, errFlaky) {
		t.Fatalf("without a record: %v", err)
	}
	if s := l.state(); s != token.Delivered {
		t.Errorf("the token is %s without a record", s)
	}
	l.log.reasons()
	l.log.failing = nil
	l.want("again", l.one(tap), account.Duplicate, "")
	if s := l.state(); s != token.Active {
		t.Errorf("the token is %s", s)
	}
	var told []audit.Entry
	for _, e := range l.log.entries {
		if activated(e.Reason) {
			told = append(told, e)
		}
	}
	if len(told) != 1 || told[0].Object != string(l.tok.Ref) || told[0].Outcome != audit.Allowed {
		t.Errorf("recorded %+v", told)
	}
}
