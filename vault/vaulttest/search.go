package vaulttest

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store/storetest"
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

// findUnreadable: tokens that cannot be read are named, and keep no other of their page back,
// whatever is damaged and wherever they stand in it.
func findUnreadable(t *testing.T, f *Fixture) {
	var made []token.Ref
	for range 7 {
		made = append(made, issue(t, f, 1).Ref)
		f.Clock.Add(time.Millisecond)
	}
	damage := map[int]string{0: "ctr_next = 70000", 2: "controls = '{'", 3: "ctr_first = -1", 5: "not_after = 1000000000000000000", 6: "controls = '{'"}
	var bad, good []token.Ref
	for i, ref := range made {
		if d := damage[i]; d != "" {
			storetest.Exec(t, f.DB, "UPDATE tokens SET "+d+" WHERE ref = ?", string(ref))
			bad = append(bad, ref)
		} else {
			good = append(good, ref)
		}
	}
	for _, limit := range []int{1, 2, 3, 7, 100} {
		var got, unread []token.Ref
		before := f.Unreadable()
		for mark := (token.Mark{}); ; {
			page, err := f.Reader().Find(t.Context(), token.Filter{}, mark, limit)
			if n := len(page.Tokens) + len(page.Unreadable); err != nil || n > limit || page.Next.Ref != "" && n != limit {
				t.Fatalf("by %d: %d tokens, %v", limit, n, err)
			}
			for _, tok := range page.Tokens {
				got = append(got, tok.Ref)
			}
			unread = append(unread, page.Unreadable...)
			if mark = page.Next; mark.Ref == "" {
				break
			}
		}
		if !sameRefs(got, good) || !sameRefs(unread, bad) || f.Unreadable()-before != uint64(len(bad)) {
			t.Errorf("by %d: %d tokens, and %d that cannot be read, of which %d are counted", limit, len(got), len(unread), f.Unreadable()-before)
		}
	}
}

// pages reads all that f describes, limit at a time, and holds it to its order.
func pages(t testing.TB, f *Fixture, filter token.Filter, limit int) (refs []token.Ref) {
	t.Helper()
	var mark token.Mark
	for {
		page, err := f.Reader().Find(t.Context(), filter, mark, limit)
		more := page.Next.Ref != ""
		if n := len(page.Tokens) + len(page.Unreadable); err != nil || n > limit || more && n == 0 {
			t.Fatalf("%d tokens, %v, %v", n, more, err)
		}
		for _, tok := range page.Tokens {
			if mark.Ref != "" && (tok.CreatedAt.After(mark.CreatedAt) || tok.CreatedAt.Equal(mark.CreatedAt) && tok.Ref >= mark.Ref) {
				t.Fatalf("%s is out of order", tok.Ref)
			}
			mark = token.Mark{CreatedAt: tok.CreatedAt, Ref: tok.Ref}
			refs = append(refs, tok.Ref)
		}
		if !more {
			return refs
		}
		mark = page.Next
	}
}

func sameRefs(a, b []token.Ref) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
