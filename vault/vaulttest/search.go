package vaulttest

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

func finding(t *testing.T, f *Fixture) {
	var made []token.Token
	for i := range 7 {
		o := f.Order(t, i%2)
		o.Requestor = token.Requestor([]string{"12345678901", "99999999999"}[i/5])
		tok, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, tok)
		if i%2 == 0 {
			f.Clock.Add(time.Millisecond) // others are made in the same moment
		}
	}
	if _, err := change(t, f, token.Change{Ref: made[0].Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    token.Filter
		want []int
	}{
		"all":          {token.Filter{}, []int{0, 1, 2, 3, 4, 5, 6}},
		"a reference":  {token.Filter{Ref: made[3].Ref}, []int{3}},
		"a card":       {token.Filter{PAR: made[0].PAR}, []int{0, 2, 4, 6}},
		"last four":    {token.Filter{Last4: made[1].PANLast4}, []int{1, 3, 5}},
		"a requestor":  {token.Filter{Requestor: "99999999999"}, []int{5, 6}},
		"two at once":  {token.Filter{Requestor: "99999999999", PAR: made[0].PAR}, []int{6}},
		"a state":      {token.Filter{State: token.Deleted}, []int{0}},
		"another":      {token.Filter{State: token.Requested, Requestor: "12345678901"}, []int{1, 2, 3, 4}},
		"none expired": {token.Filter{State: token.Expired}, nil},
		"nobody's":     {token.Filter{Requestor: "00000000000"}, nil},
	} {
		want := make([]token.Ref, 0, len(c.want))
		for _, i := range c.want {
			want = append(want, made[i].Ref)
		}
		for _, limit := range []int{1, 2, 100} {
			if got := pages(t, f, c.f, limit); !sameRefs(got, want) {
				t.Errorf("%s by %d: %d tokens, want %d", name, limit, len(got), len(want))
			}
		}
	}
	f.Clock.Add(24 * time.Hour)
	if got := pages(t, f, token.Filter{State: token.Expired}, 2); len(got) != 6 {
		t.Errorf("%d expired by time", len(got))
	}
	if got := pages(t, f, token.Filter{State: token.Requested}, 2); len(got) != 0 {
		t.Errorf("%d still requested", len(got))
	}
}

// pages reads all that f describes, limit at a time, and holds it to its order.
func pages(t testing.TB, f *Fixture, filter token.Filter, limit int) (refs []token.Ref) {
	t.Helper()
	var mark token.Mark
	for {
		found, more, err := f.Reader().Find(t.Context(), filter, mark, limit)
		if err != nil || len(found) > limit || more && len(found) == 0 {
			t.Fatalf("%d tokens, %v, %v", len(found), more, err)
		}
		for _, tok := range found {
			if mark.Ref != "" && (tok.CreatedAt.After(mark.CreatedAt) || tok.CreatedAt.Equal(mark.CreatedAt) && tok.Ref >= mark.Ref) {
				t.Fatalf("%s is out of order", tok.Ref)
			}
			mark = token.Mark{CreatedAt: tok.CreatedAt, Ref: tok.Ref}
			refs = append(refs, tok.Ref)
		}
		if !more {
			return refs
		}
	}
}

func sameRefs(a, b []token.Ref) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
