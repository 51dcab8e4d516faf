package lab_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/lab"
)

// TestEventsAreFollowed: a requestor follows its own tokens, goes on where it
// stopped, and hears nothing of others.
func TestEventsAreFollowed(t *testing.T) {
	l := lab.New(t, lab.Options{})
	issuer, other := l.Client(t, "issuer"), l.Client(t, "other-issuer")
	tok := newToken(t, l, cardRequest())
	if _, err := other.RequestToken(t.Context(), cardRequest()); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []string
	cursor := ""
	until := func(last string) func(wire.Event, string) error {
		return func(e wire.Event, at string) error {
			if seen, cursor = append(seen, e.Type), at; e.Ref != tok.Ref || e.Seq != int64(len(seen)) {
				t.Errorf("event %d of another token or out of order", e.Seq)
			}
			if e.Type == last {
				return enough
			}
			return nil
		}
	}
	if err := issuer.Stream(ctx, cursor, until("token.issued")); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() { followed <- issuer.Stream(ctx, cursor, until("token.resumed")) }()
	for _, f := range []func(context.Context, string, string) (wire.Token, error){issuer.Suspend, issuer.Resume} {
		if _, err := f(ctx, tok.Ref, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-followed; !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if want := []string{"token.issued", "token.suspended", "token.resumed"}; !slices.Equal(seen, want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}
