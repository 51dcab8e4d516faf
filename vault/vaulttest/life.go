package vaulttest

import (
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// change does v to a token as it is.
func change(t testing.TB, f *Fixture, c token.Change) (token.Token, error) {
	t.Helper()
	now, err := f.Reader().Token(t.Context(), c.Ref)
	if err != nil {
		t.Fatal(err)
	}
	c.From, c.Revision, c.At = now.State, now.Revision, f.Clock.Now()
	return f.Writer().Change(t.Context(), c, "", access.Attempt{})
}

func attributes(t *testing.T, f *Fixture) {
	o := f.Order(t, 1)
	o.PSN, o.Device, o.FormFactor, o.Decision = "01", "device-1", token.FormWatch, token.DecisionPending
	o.Assurance = token.Assurance{Method: "11", Data: "asked twice"}
	o.Controls = token.Controls{Merchants: []string{"m1", "m2"}, MCC: []string{"4111"}, MaxSum: 5000, MaxCount: 3,
		Channels: []token.Channel{token.Contactless}, Locations: []token.Location{"03"}}
	made, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Again(t).Reader().Token(t.Context(), o.Ref)
	if err != nil || got.PSN != "01" || got.Device != "device-1" || got.FormFactor != token.FormWatch || got.Decision != token.DecisionPending ||
		got.Assurance != o.Assurance || !reflect.DeepEqual(got.Controls, o.Controls) || !reflect.DeepEqual(made.Controls, o.Controls) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, v := range []token.Verb{token.Deliver, token.Activate, token.Provision} {
		_, err := change(t, f, token.Change{Ref: o.Ref, Verb: v})
		kind(t, err, fault.TokenState) // nobody has decided
	}
	if _, err := change(t, f, token.Change{Ref: o.Ref, Verb: token.Approve}); err != nil {
		t.Fatal(err)
	}
	a, none := token.Assurance{Method: "14"}, token.Controls{}
	if _, err := change(t, f, token.Change{Ref: o.Ref, Verb: token.Update, Set: token.Attributes{Assurance: &a, Controls: &none}}); err != nil {
		t.Fatal(err)
	}
	_, err = change(t, f, token.Change{Ref: o.Ref, Verb: token.Fail, Notice: token.Notice{Result: token.Failure, Reason: "no room"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err = f.Reader().Token(t.Context(), o.Ref)
	want := &token.Notice{Result: token.Failure, Reason: "no room", At: f.Clock.Now()}
	if err != nil || got.Assurance != a || !got.Controls.IsZero() || !reflect.DeepEqual(got.Provisioned, want) || got.Decision != token.DecisionApproved {
		t.Fatalf("%+v, %v", got, err)
	}
}

// longerWindow: a number stays away for as long as ever after a window that was
// made longer, and for as long as before after one that was made shorter.
func longerWindow(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	freeAfter := func() (at int64) {
		t.Helper()
		if err := f.DB.Read(t.Context()).Raw("SELECT free_after FROM numbers").Scan(&at).Error; err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := freeAfter()
	for _, c := range []struct{ by, quarantine time.Duration }{{5 * 24 * time.Hour, 5 * 24 * time.Hour}, {-time.Hour, 5 * 24 * time.Hour}} {
		to := tok.NotAfter.Add(c.by)
		got, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Update, Set: token.Attributes{NotAfter: &to}, Expiry: "2604"})
		if err != nil || !got.NotAfter.Equal(to) || got.Expiry != "2604" || freeAfter()-before != c.quarantine.Milliseconds() {
			t.Fatalf("by %v: %v, %v, quarantine moved by %d ms", c.by, got.NotAfter, err, freeAfter()-before)
		}
	}
}

func expireDue(t *testing.T, f *Fixture) {
	short, long, held, gone := issue(t, f, 1), issue(t, f, 1), issue(t, f, 1), issue(t, f, 1)
	to := long.NotAfter.Add(time.Millisecond)
	for _, c := range []token.Change{
		{Ref: long.Ref, Verb: token.Update, Set: token.Attributes{NotAfter: &to}, Expiry: long.Expiry},
		{Ref: held.Ref, Verb: token.Suspend, By: token.ByIssuer}, {Ref: gone.Ref, Verb: token.Delete},
	} {
		if _, err := change(t, f, c); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(want int) {
		t.Helper()
		if moved, err := f.Writer().ExpireDue(t.Context()); err != nil || moved != want {
			t.Fatalf("moved %d, %v; want %d", moved, err, want)
		}
	}
	f.Clock.Set(short.NotAfter.Add(-time.Millisecond))
	sweep(0)
	f.Clock.Set(short.NotAfter)
	sweep(2)
	sweep(0)
	for ref, want := range map[token.Ref]token.State{short.Ref: token.Expired, long.Ref: token.Requested, held.Ref: token.Expired, gone.Ref: token.Deleted} {
		got, err := f.Reader().Token(t.Context(), ref)
		if err != nil || got.State != want {
			t.Errorf("%v, %v, want %s", got.State, err, want)
		}
		if ref == held.Ref && (!got.Holds(token.ByIssuer) || !got.ChangedAt.Equal(Start)) {
			t.Errorf("the suspension was forgotten: %+v", got)
		}
		if ref == short.Ref && !got.ChangedAt.Equal(short.NotAfter) {
			t.Errorf("expired at %v", got.ChangedAt)
		}
	}
}

func expireRace(t *testing.T, f *Fixture) {
	g := f.Again(t)
	const n = 20
	for range n {
		issue(t, f, 1)
	}
	f.Clock.Add(24 * time.Hour)
	var moved atomic.Int64
	racing(6, func(i int) {
		m, err := []*Fixture{f, g}[i%2].Writer().ExpireDue(t.Context())
		if err != nil {
			t.Error(err)
		}
		moved.Add(int64(m))
	})
	if moved.Load() != n {
		t.Fatalf("%d tokens expired %d times", n, moved.Load())
	}
}

// expireUnreadable: tokens that cannot be read hold up no other, however many they are and
// whatever is damaged, and are expired when they can be read again.
func expireUnreadable(t *testing.T, f *Fixture) {
	const good = 3
	damage := []string{"controls = '{'", "ctr_next = 70000"}
	var bad []token.Ref
	for _, d := range damage { // they end first
		ref := issue(t, f, 1).Ref
		storetest.Exec(t, f.DB, "CREATE TABLE IF NOT EXISTS whole AS SELECT * FROM tokens WHERE ref = ''")
		storetest.Exec(t, f.DB, "INSERT INTO whole SELECT * FROM tokens WHERE ref = ?", string(ref))
		storetest.Exec(t, f.DB, "UPDATE tokens SET not_after = not_after - 1000, "+d+" WHERE ref = ?", string(ref))
		bad = append(bad, ref)
	}
	var refs []token.Ref
	for range good {
		refs = append(refs, issue(t, f, 1).Ref)
	}
	f.Clock.Add(24 * time.Hour)
	for i, want := range []int{good, 0} {
		moved, err := f.Writer().ExpireDue(t.Context())
		if moved != want || err == nil {
			t.Errorf("sweep %d moved %d, %v; want %d", i, moved, err, want)
		}
		for _, ref := range bad {
			if err != nil && !strings.Contains(err.Error(), string(ref)) {
				t.Errorf("sweep %d does not name %s: %v", i, ref, err)
			}
		}
	}
	for _, ref := range refs {
		if got, err := f.Reader().Token(t.Context(), ref); err != nil || got.State != token.Expired {
			t.Errorf("%s: %v, %v", ref, got.State, err)
		}
	}
	for _, column := range []string{"controls", "ctr_next"} {
		storetest.Exec(t, f.DB, "UPDATE tokens SET "+column+" = (SELECT w."+column+" FROM whole w WHERE w.ref = tokens.ref) WHERE ref IN (SELECT ref FROM whole)")
	}
	if moved, err := f.Writer().ExpireDue(t.Context()); moved != len(bad) || err != nil {
		t.Errorf("mended, it moved %d, %v", moved, err)
	}
}
