package cardhost_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/internal/fault"
)

// late begins records that are durable, or fail, when ended says so.
type late struct {
	*record
	begun chan struct{}
	ended chan error
}

func (l late) Begin(_ context.Context, e audit.Entry) (func() error, error) {
	l.mu.Lock()
	l.entries = append(l.entries, e)
	l.mu.Unlock()
	l.begun <- struct{}{}
	return func() error { return <-l.ended }, nil
}

// TestAnswerWaitsForItsRecord: a load host is told nothing before its request is
// recorded, whatever the MAC, and nothing at all when it could not be.
func TestAnswerWaitsForItsRecord(t *testing.T) {
	keys, scheme := new(softkey.Ring), realm("transit", cryptogram.TACFold, "issuer8", "asn8")
	_, r := service(t, keys, scheme)
	l := late{r, make(chan struct{}, 1), make(chan error)}
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: l}, Realms: []cryptogram.Scheme{scheme}, Tokens: prefix(0x91)})
	if err != nil {
		t.Fatal(err)
	}
	down := fault.New(fault.AuditDown, "no room")
	for _, c := range calls(t.Context()) {
		if c.action != access.LoadHost {
			continue
		}
		for _, end := range []error{nil, down} {
			answered := make(chan error, 1)
			go func() { answered <- c.do(s, issuer, card) }()
			<-l.begun
			select {
			case err := <-answered:
				t.Fatalf("%s: answered before its record: %v", c.name, err)
			case l.ended <- end:
			}
			if err := <-answered; errors.Is(err, down) != (end != nil) {
				t.Errorf("%s: the record ended with %v, the call with %v", c.name, end, err)
			}
			if e := l.last(); (e.Reason == "mac1" || e.Reason == "mac3") != (end == nil) {
				t.Errorf("%s: the record ended with %v, and then came %+v", c.name, end, e)
			}
		}
	}
}
