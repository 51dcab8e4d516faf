package denylist_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/denylist/denydb"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet/credential"
)

var (
	reader   = access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
	operator = access.Caller{ID: "op", Role: access.Operator, Scopes: access.ForRole(access.Operator)}
)

// rig is a vault with what publishes its denials.
type rig struct {
	*vaulttest.Fixture
	db      *store.DB
	key     *ecdsa.PrivateKey
	pinned  deny.Keys
	service *denylist.Service
	audit   *recorder
	tokens  denylist.Tokens
}

// recorder keeps entries in memory.
type recorder struct {
	mu      sync.Mutex
	entries []audit.Entry
}

// Record implements [audit.Recorder].
func (r *recorder) Record(_ context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

func newRig(t *testing.T, db *store.DB, hsm vault.Sealer) *rig {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Fixture: vaulttest.On(t, db, hsm), db: db, key: k, pinned: deny.Keys{1: &k.PublicKey}, audit: &recorder{}}
	r.tokens = r.Reader()
	r.service = r.node(t)
	return r
}

// node is another process on the same database.
func (r *rig) node(t *testing.T) *denylist.Service {
	t.Helper()
	return r.nodeAt(t, r.Clock.Now)
}

// nodeAt is one whose clock is its own.
func (r *rig) nodeAt(t *testing.T, now func() time.Time) *denylist.Service {
	t.Helper()
	return r.nodeBy(t, now, nil)
}

// nodeBy is one that goes by another clock than its own.
func (r *rig) nodeBy(t *testing.T, now func() time.Time, clock func(context.Context) (time.Time, error)) *denylist.Service {
	t.Helper()
	db := denydb.New(r.db)
	s, err := denylist.New(denylist.Config{Tokens: r.tokens, Store: db, Orders: db, History: db, Gate: audit.Gate{Recorder: r.audit},
		Sign: func(_ context.Context, d [32]byte) (sig [64]byte, err error) {
			a, b, err := ecdsa.Sign(rand.Reader, r.key, d[:])
			if err == nil {
				a.FillBytes(sig[:32])
				b.FillBytes(sig[32:])
			}
			return sig, err
		},
		KeyID: 1, Now: now, Clock: clock,
		Policy: deny.Policy{AID: []byte{1, 2, 3, 4, 5}, Tolerance: 2 * time.Minute, Proof: []deny.Class{deny.Vehicle},
			Ranges: []deny.Range{{Prefix: "910001", Length: 16, Levels: 3}}, Issuers: map[uint16]*ecdsa.PublicKey{1: &r.key.PublicKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// each runs a test on a vault on each kind of database.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	hsm := hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()})
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { test(t, newRig(t, db(t), hsm)) })
}

// phone issues a token under which a device has three slots.
func (r *rig) phone(t *testing.T, card int) token.Token {
	t.Helper()
	tok, err := r.Writer().Issue(t.Context(), r.Order(t, card), "", access.Attempt{})
	if err == nil {
		_, err = r.Writer().TakeCounters(t.Context(), tok.Ref, 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (r *rig) move(t *testing.T, ref token.Ref, v token.Verb) {
	t.Helper()
	now, err := r.Reader().Token(t.Context(), ref)
	if err == nil {
		_, err = r.Writer().Move(t.Context(), ref, now.State, v, r.Clock.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hears takes in what a node answers to a reader that holds l.
func (r *rig) hears(t *testing.T, s *denylist.Service, l *deny.List) *deny.List {
	t.Helper()
	doc, err := s.Delta(t.Context(), reader, l.Version(), l.Tag())
	if errors.Is(err, denylist.ErrTooOld) || l.Issued().IsZero() {
		doc, err = s.Snapshot(t.Context(), reader, l.Tag())
	}
	if err != nil {
		t.Fatal(err)
	}
	if doc.Bytes == nil {
		return l
	}
	next, err := l.Take(doc.Bytes, r.pinned, r.Clock.Now())
	if errors.Is(err, deny.ErrOrder) { // as [deny.File.Update] goes on
		if doc, err = s.Snapshot(t.Context(), reader, ""); err == nil {
			next, err = l.Take(doc.Bytes, r.pinned, r.Clock.Now())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if next.Tag() != doc.Tag {
		t.Errorf("tag %s of a list that is %s", doc.Tag, next.Tag())
	}
	return next
}

// TestFollowsState: what happens to a token is on the list by the next answer,
// and off it again.
func TestFollowsState(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		a, b, other := r.phone(t, 1), r.phone(t, 2), r.node(t)
		idle, err := r.Writer().Issue(t.Context(), r.Order(t, 3), "", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		l := r.hears(t, r.service, &deny.List{})
		want := func(entries int, denied ...token.Token) {
			t.Helper()
			old := l
			l = r.hears(t, r.service, l)
			if l.Len() != entries {
				t.Errorf("%d entries, want %d", l.Len(), entries)
			}
			for _, tok := range denied {
				if !l.Denied(tok.Number, 1, r.Clock.Now()) {
					t.Errorf("%s is not denied", tok.Ref)
				}
			}
			// Another process leads a reader to the same list.
			if m := r.hears(t, other, old); m.Version() != l.Version() || fmt.Sprint(m.Entries()) != fmt.Sprint(l.Entries()) {
				t.Errorf("another process says version %d of %d entries", m.Version(), m.Len())
			}
		}
		want(0)
		if l.Version() != 0 {
			t.Errorf("version %d before anything happened", l.Version())
		}
		r.move(t, a.Ref, token.Suspend)
		r.move(t, idle.Ref, token.Suspend) // no device has keys under it
		want(1, a)
		r.move(t, b.Ref, token.Delete)
		want(2, a, b)
		r.move(t, a.Ref, token.Resume)
		want(1, b)
		r.move(t, a.Ref, token.Suspend)
		want(2, a, b)
		version := l.Version()
		r.Clock.Set(a.NotAfter)
		if _, err := r.Writer().ExpireDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		want(2, a, b) // for an hour more
		r.Clock.Add(59 * time.Minute)
		want(2, a, b)
		r.Clock.Add(2 * time.Minute)
		if l = r.hears(t, r.service, l); l.Denied(a.Number, 1, r.Clock.Now()) || l.Version() != version {
			t.Errorf("version %d; the dead entry denies: %v", l.Version(), l.Denied(a.Number, 1, r.Clock.Now()))
		}
		snapshot, err := r.service.Snapshot(t.Context(), reader, "")
		if err != nil {
			t.Fatal(err)
		}
		if fresh, err := deny.Open(snapshot.Bytes, r.pinned); err != nil || fresh.Len() != 0 {
			t.Errorf("a new reader hears of dead entries: %v", err)
		}
		for _, e := range r.audit.entries {
			if e.Outcome == audit.Refused {
				t.Errorf("refused: %+v", e)
			}
		}
	})
}

// TestWindowMadeShorter: a token whose window was made shorter is denied when that has ended,
// until the one has that devices hold keys for.
func TestWindowMadeShorter(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok := r.phone(t, 1)
		short := r.Clock.Now().Add(2 * time.Hour)
		c := token.Change{Ref: tok.Ref, From: tok.State, Verb: token.Update, At: r.Clock.Now(), Set: token.Attributes{NotAfter: &short}, Expiry: tok.Expiry}
		if _, err := r.Writer().Change(t.Context(), c, "", access.Attempt{}); err != nil {
			t.Fatal(err)
		}
		for _, at := range []struct {
			when   time.Time
			denied bool
		}{{short, false}, {short.Add(90 * time.Minute), true}, {tok.NotAfter, true}, {tok.NotAfter.Add(90 * time.Minute), false}} {
			r.Clock.Set(at.when)
			if _, err := r.Writer().ExpireDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			doc, err := r.service.Snapshot(t.Context(), reader, "")
			if err != nil {
				t.Fatal(err)
			}
			if l, err := deny.Open(doc.Bytes, r.pinned); err != nil || l.Denied(tok.Number, 1, r.Clock.Now()) != at.denied {
				t.Errorf("at %v: denied is not %t, %v", at.when, at.denied, err)
			}
		}
	})
}

// TestTwoEntriesOfOneToken: lifting what an operator ordered about a token leaves its
// suspension on the list, also for a process that begins then; and of a suspension that
// ended nothing says that it was listed after that.
func TestTwoEntriesOfOneToken(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok := r.phone(t, 1)
		r.move(t, tok.Ref, token.Suspend)
		order := func(until time.Duration) denylist.Version {
			t.Helper()
			line := denylist.Line{ID: denylist.ID{Kind: deny.MinCtr, Name: string(tok.Ref)}, Ctr: 2, Until: r.Clock.Now().Add(until).Truncate(time.Second)}
			v, err := r.service.Order(t.Context(), operator, denylist.Order{Line: &line, Reason: "test"}, access.Attempt{})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		order(time.Hour)
		lifted := order(-time.Hour)
		v, lines, err := r.node(t).Now(t.Context(), operator)
		if err != nil || v.Number != lifted.Number || len(lines) != 1 || lines[0].Kind != deny.Token {
			t.Errorf("version %d of %d with %+v, %v", v.Number, lifted.Number, lines, err)
		}
		r.Clock.Add(time.Minute)
		r.move(t, tok.Ref, token.Resume)
		if err := r.service.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		for since, want := range map[time.Time]bool{r.Clock.Now().Add(-time.Minute): true, r.Clock.Now(): false} {
			if v, ok, err := r.service.Listed(t.Context(), tok.Ref, since); err != nil || ok != want {
				t.Errorf("listed since %v: %t in %d, %v", since, ok, v.Number, err)
			}
		}
	})
}

// TestTags: who holds what is newest is told so, and nothing more.
func TestTags(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok := r.phone(t, 1)
		r.move(t, tok.Ref, token.Suspend)
		l := r.hears(t, r.service, &deny.List{})
		for name, ask := range map[string]func(tag string) (denylist.Document, error){
			"snapshot": func(tag string) (denylist.Document, error) { return r.service.Snapshot(t.Context(), reader, tag) },
			"delta": func(tag string) (denylist.Document, error) {
				return r.service.Delta(t.Context(), reader, l.Version(), tag)
			},
			"policy": func(tag string) (denylist.Document, error) { return r.service.Policy(t.Context(), reader, tag) },
		} {
			first, err := ask("")
			if err != nil || first.Bytes == nil {
				t.Fatalf("%s: %v", name, err)
			}
			again, err := ask(first.Tag)
			if err != nil || again.Bytes != nil || again.Tag != first.Tag {
				t.Errorf("%s: %d bytes for who holds them (%v)", name, len(again.Bytes), err)
			}
		}
		r.Clock.Add(6 * time.Minute)
		if next := r.hears(t, r.service, l); next.Version() != l.Version() || !next.Issued().After(l.Issued()) {
			t.Errorf("nothing happened: version %d issued %v", next.Version(), next.Issued())
		}
		if _, err := r.service.Delta(t.Context(), reader, l.Version()+1, ""); !errors.Is(err, denylist.ErrTooOld) || fault.KindOf(err) != fault.ListTooOld {
			t.Errorf("a version that never was: %v", err)
		}
		r.Clock.Add(49 * time.Hour)
		r.move(t, tok.Ref, token.Delete)
		second := r.phone(t, 2)
		r.move(t, second.Ref, token.Suspend)
		r.hears(t, r.service, &deny.List{})
		if _, err := r.service.Delta(t.Context(), reader, 0, ""); !errors.Is(err, denylist.ErrTooOld) {
			t.Errorf("a version of three days ago: %v", err)
		}
		if _, err := r.service.Delta(t.Context(), access.Caller{ID: "x", Role: access.Wallet}, 0, ""); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a wallet asks: %v", err)
		}
		p, err := r.service.Policy(t.Context(), reader, "")
		if err != nil {
			t.Fatal(err)
		}
		if policy, err := deny.OpenPolicy(p.Bytes, r.pinned, r.Clock.Now()); err != nil || len(policy.Ranges) != 1 {
			t.Errorf("the policy: %v", err)
		}
	})
}

func TestOrders(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok, other, until := r.phone(t, 1), r.node(t), r.Clock.Now().Add(time.Hour)
		line := func(k deny.Kind, name string, ctr uint16, until time.Time) denylist.Order {
			return denylist.Order{Line: &denylist.Line{ID: denylist.ID{Kind: k, Name: name}, Ctr: ctr, Until: until}, Reason: "drill"}
		}
		do := func(o denylist.Order, key string) denylist.Version {
			t.Helper()
			v, err := r.service.Order(t.Context(), operator, o, access.Attempt{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		do(line(deny.KeyID, "7", 0, until), "a")
		do(line(deny.SAM, "310000000001", 0, until), "b")
		do(line(deny.MinCtr, string(tok.Ref), 3, until), "c")
		v := do(denylist.Order{Switches: &deny.Switches{Classes: 1 << credential.Medium, Cap: 700}, Reason: "drill"}, "d")
		if again := do(denylist.Order{Switches: &deny.Switches{Classes: 1 << credential.Medium, Cap: 700}, Reason: "drill"}, "d"); again.Number != v.Number {
			t.Errorf("the same attempt published version %d", again.Number)
		}
		l := r.hears(t, other, &deny.List{})
		now := r.Clock.Now()
		if l.Version() != v.Number || !l.KeyDenied(7, now) || !l.SAMDenied([6]byte{0x31, 0, 0, 0, 0, 1}, now) ||
			!l.Denied(tok.Number, 2, now) || l.Denied(tok.Number, 3, now) || l.Switches() != v.Switches || l.Len() != 3 {
			t.Errorf("version %d of %d entries, switches %+v", l.Version(), l.Len(), l.Switches())
		}
		do(line(deny.KeyID, "7", 0, now), "e") // lifted
		do(denylist.Order{Switches: &deny.Switches{}, Reason: "over"}, "f")
		if l = r.hears(t, other, l); l.KeyDenied(7, now) || l.Len() != 2 || l.Switches() != (deny.Switches{}) {
			t.Errorf("lifted: %d entries, switches %+v", l.Len(), l.Switches())
		}
		head, lines, err := other.Now(t.Context(), operator)
		if err != nil || head.Number != l.Version() || len(lines) != 2 {
			t.Errorf("the operator sees version %d of %d lines (%v)", head.Number, len(lines), err)
		}
		for name, o := range map[string]denylist.Order{
			"a token":          line(deny.Token, string(tok.Ref), 0, until),
			"nothing":          {Reason: "x"},
			"both":             {Line: &denylist.Line{}, Switches: &deny.Switches{}},
			"no counter":       line(deny.MinCtr, string(tok.Ref), 0, until),
			"a counter":        line(deny.KeyID, "7", 1, until),
			"no end":           line(deny.KeyID, "7", 0, time.Time{}),
			"a far end":        line(deny.KeyID, "7", 0, until.AddDate(3, 0, 0)),
			"no key id":        line(deny.KeyID, "70000", 0, until),
			"no module":        line(deny.SAM, "3100", 0, until),
			"no such token":    line(deny.MinCtr, "tr"+string(make([]byte, 26)), 1, until),
			"an unknown token": line(deny.MinCtr, string(unknownRef(t)), 1, until),
			"unknown switches": {Switches: &deny.Switches{Profiles: 0x80}},
		} {
			if _, err := r.service.Order(t.Context(), operator, o, access.Attempt{}); fault.KindOf(err) != fault.Malformed {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := r.service.Order(t.Context(), reader, line(deny.KeyID, "8", 0, until), access.Attempt{}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a reader orders: %v", err)
		}
		if l = r.hears(t, other, l); l.Len() != 2 {
			t.Errorf("a refused order is on the list")
		}
	})
}

// TestShorterOrder: a reader that heard of an order, and missed that it was made
// shorter until it had ended, lets go of it all the same.
func TestShorterOrder(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		order := func(until time.Duration) {
			t.Helper()
			o := denylist.Order{Line: &denylist.Line{ID: denylist.ID{Kind: deny.SAM, Name: "310000000001"}, Until: r.Clock.Now().Add(until)}, Reason: "drill"}
			if _, err := r.service.Order(t.Context(), operator, o, access.Attempt{}); err != nil {
				t.Fatal(err)
			}
		}
		sam := [6]byte{0x31, 0, 0, 0, 0, 1}
		order(10 * 24 * time.Hour)
		held := r.hears(t, r.service, &deny.List{})
		order(time.Minute)
		r.Clock.Add(time.Hour)
		whole := r.hears(t, r.service, &deny.List{})
		now := r.Clock.Now()
		if !held.SAMDenied(sam, now) || whole.SAMDenied(sam, now) {
			t.Fatalf("held: %v, whole: %v", held.SAMDenied(sam, now), whole.SAMDenied(sam, now))
		}
		if led := r.hears(t, r.service, held); led.Version() != whole.Version() || led.SAMDenied(sam, now) {
			t.Errorf("the delta leads to another list than the snapshot: version %d of %d, denied: %v", led.Version(), whole.Version(), led.SAMDenied(sam, now))
		}
	})
}

// TestOrderOfMore: an order that is made longer, or for more of a token's slots, is
// heard by readers that have the one before.
func TestOrderOfMore(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok, now := r.phone(t, 1), r.Clock.Now()
		order := func(k deny.Kind, name string, ctr uint16, until time.Duration) {
			t.Helper()
			o := denylist.Order{Line: &denylist.Line{ID: denylist.ID{Kind: k, Name: name}, Ctr: ctr, Until: now.Add(until)}, Reason: "drill"}
			if _, err := r.service.Order(t.Context(), operator, o, access.Attempt{}); err != nil {
				t.Fatal(err)
			}
		}
		order(deny.KeyID, "7", 0, time.Hour)
		order(deny.MinCtr, string(tok.Ref), 3, 2*time.Hour)
		held := r.hears(t, r.service, &deny.List{})
		order(deny.KeyID, "7", 0, 2*time.Hour)
		held = r.hears(t, r.service, held)
		order(deny.MinCtr, string(tok.Ref), 9, 2*time.Hour)
		held = r.hears(t, r.service, held)
		for name, l := range map[string]*deny.List{"one that followed": held, "one that starts anew": r.hears(t, r.node(t), &deny.List{})} {
			if !l.KeyDenied(7, now.Add(90*time.Minute)) {
				t.Errorf("%s: an order that was made longer ended", name)
			}
			if !l.Denied(tok.Number, 8, now) || l.Denied(tok.Number, 9, now) {
				t.Errorf("%s: the order for more slots is not there", name)
			}
		}
	})
}

func unknownRef(t *testing.T) token.Ref {
	t.Helper()
	ref, err := token.DrawRef(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestFresh: a terminal's list was fresh unless a newer one had been out for
// longer than readers may lag behind.
func TestFresh(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok := r.phone(t, 1)
		fresh := func(version uint64, at time.Time, want bool) {
			t.Helper()
			got, err := r.service.Fresh(t.Context(), version, at)
			if err != nil || got != want {
				t.Errorf("version %d at %v: %v (%v)", version, at, got, err)
			}
		}
		start := r.Clock.Now()
		fresh(0, start.Add(100*time.Hour), true) // there is none newer
		fresh(1, start, false)                   // nor is there this one
		r.Clock.Add(time.Hour)
		r.move(t, tok.Ref, token.Suspend)
		if err := r.service.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		published := r.Clock.Now()
		fresh(0, published.Add(deny.Stale), true)
		fresh(0, published.Add(deny.Stale+time.Second), false)
		fresh(1, published.Add(100*time.Hour), true)
		v, ok, err := r.service.Listed(t.Context(), tok.Ref, start)
		if err != nil || !ok || v.Number != 1 || !v.At.Equal(published) {
			t.Errorf("listed by version %d at %v: %v, %v", v.Number, v.At, ok, err)
		}
		if _, ok, err = r.service.Listed(t.Context(), tok.Ref, published.Add(time.Second)); ok || err != nil {
			t.Errorf("listed again: %v, %v", ok, err)
		}
	})
}

// TestNodesRace: many processes that publish at once agree on one history, and
// no denial is lost.
func TestNodesRace(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		var toks []token.Token
		for i := range 6 {
			toks = append(toks, r.phone(t, i+1))
		}
		nodes := []*denylist.Service{r.service, r.node(t), r.node(t)}
		var wg sync.WaitGroup
		for i, tok := range toks {
			wg.Go(func() {
				r.move(t, tok.Ref, token.Suspend)
				node := nodes[i%len(nodes)]
				doc, err := node.Snapshot(t.Context(), reader, "")
				if err != nil {
					t.Error(err)
					return
				}
				if l, err := deny.Open(doc.Bytes, r.pinned); err != nil || !l.Denied(tok.Number, 1, r.Clock.Now()) {
					t.Errorf("the answer after the suspension does not deny %s (%v)", tok.Ref, err)
				}
			})
		}
		wg.Wait()
		for i, n := range nodes {
			l := r.hears(t, n, &deny.List{})
			if l.Len() != len(toks) || l.Version() > uint64(len(toks)) {
				t.Errorf("node %d: version %d of %d entries", i, l.Version(), l.Len())
			}
		}
	})
}

// TestClockAhead: a process whose clock is days ahead publishes once. To it no
// token's window is open any more; others, and those who start anew, still deny
// whom they denied.
func TestClockAhead(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		before, after := r.phone(t, 1), r.phone(t, 2)
		r.move(t, before.Ref, token.Suspend)
		l := r.hears(t, r.service, &deny.List{})
		if !l.Denied(before.Number, 1, r.Clock.Now()) {
			t.Fatal("a suspended token is not denied")
		}
		days := 30 * 24 * time.Hour
		wrong := r.nodeAt(t, func() time.Time { return r.Clock.Now().Add(days) })
		line := denylist.Line{ID: denylist.ID{Kind: deny.KeyID, Name: "7"}, Until: r.Clock.Now().Add(2 * days)}
		o := denylist.Order{Line: &line, Reason: "a key was lost"}
		if _, err := wrong.Order(t.Context(), operator, o, access.Attempt{Key: "k"}); err != nil {
			t.Fatal(err)
		}
		r.move(t, after.Ref, token.Suspend)
		for name, hears := range map[string]*deny.List{
			"one that goes on":      r.hears(t, r.service, l),
			"one that starts anew":  r.hears(t, r.node(t), &deny.List{}),
			"a reader that follows": r.hears(t, r.node(t), l),
		} {
			for _, tok := range []token.Token{before, after} {
				if !hears.Denied(tok.Number, 1, r.Clock.Now()) {
					t.Errorf("%s: %s is not denied", name, tok.Ref)
				}
			}
			if !hears.KeyDenied(7, r.Clock.Now()) {
				t.Errorf("%s: what was ordered is not there", name)
			}
		}
	})
}

// TestCommonClock: a process whose own clock is wrong goes by the one that all go
// by. Its lists are dated and filled as those of others.
func TestCommonClock(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		clock := func(context.Context) (time.Time, error) { return r.Clock.Now(), nil }
		for _, off := range []time.Duration{30 * 24 * time.Hour, -30 * 24 * time.Hour, time.Hour} {
			wrong := r.nodeBy(t, func() time.Time { return r.Clock.Now().Add(off) }, clock)
			tok := r.phone(t, int(off/time.Hour)%7+8)
			r.move(t, tok.Ref, token.Suspend)
			l := r.hears(t, wrong, &deny.List{})
			if !l.Denied(tok.Number, 1, r.Clock.Now()) || l.Ahead(r.Clock.Now()) || r.Clock.Now().Sub(l.Issued()) > 5*time.Minute {
				t.Errorf("off by %v: issued at %v, %d entries", off, l.Issued(), l.Len())
			}
			if next := r.hears(t, r.node(t), l); next.Version() != l.Version() {
				t.Errorf("off by %v: another process publishes version %d after %d", off, next.Version(), l.Version())
			}
		}
		broken := r.nodeBy(t, r.Clock.Now, func(context.Context) (time.Time, error) { return time.Time{}, errDown })
		if _, err := broken.Snapshot(t.Context(), reader, ""); !errors.Is(err, errDown) {
			t.Errorf("without a clock: %v", err)
		}
	})
}

// TestSlowClock: what the common clock said is heard minutes late, because the database
// or this machine stood still. The process's own clock is not wrong for that.
func TestSlowClock(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const slow = 20 * time.Minute
		off := time.Duration(0)
		var wait func(early bool)
		node := r.nodeBy(t, func() time.Time { return r.Clock.Now().Add(off) }, func(context.Context) (time.Time, error) {
			wait(true)
			at := r.Clock.Now()
			wait(false)
			return at, nil
		})
		snapshot := func() *deny.List {
			doc, err := node.Snapshot(t.Context(), reader, "")
			if err != nil {
				t.Fatal(err)
			}
			l, err := deny.Open(doc.Bytes, r.pinned)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		for name, asked := range map[string]bool{"asked late": true, "answered late": false} {
			for _, off = range []time.Duration{0, 2 * time.Hour} {
				wait = func(bool) {} // once in time, so that it is known by how much the clock is wrong
				snapshot()
				wait = func(early bool) {
					if early == asked {
						r.Clock.Add(slow)
					}
				}
				l := snapshot()
				if age := r.Clock.Now().Sub(l.Issued()); age < 0 || age > 5*time.Minute {
					t.Errorf("%s, by a clock that is off by %v: a list is %v old", name, off, age)
				}
			}
		}
	})
}

// TestClockMended: the only clock was ahead, and a reader took its list. When it is right
// again the reader takes the next one, with all that was left out, before that date.
func TestClockMended(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tok := r.phone(t, 1)
		r.move(t, tok.Ref, token.Suspend)
		l := r.hears(t, r.service, &deny.List{})
		wrong := r.hears(t, r.nodeAt(t, func() time.Time { return r.Clock.Now().Add(30 * 24 * time.Hour) }), l)
		if !wrong.Ahead(r.Clock.Now()) || wrong.Denied(tok.Number, 1, r.Clock.Now()) {
			t.Fatalf("a list of %v with %d entries", wrong.Issued(), wrong.Len())
		}
		for name, node := range map[string]*denylist.Service{"one that goes on": r.service, "one that starts anew": r.node(t)} {
			got := r.hears(t, node, wrong)
			if got.Ahead(r.Clock.Now()) || !got.Denied(tok.Number, 1, r.Clock.Now()) {
				t.Errorf("%s: a list of %v with %d entries", name, got.Issued(), got.Len())
			}
		}
		later := r.phone(t, 2)
		r.move(t, later.Ref, token.Suspend)
		if got := r.hears(t, r.service, wrong); !got.Denied(later.Number, 1, r.Clock.Now()) {
			t.Error("a later denial is not heard")
		}
	})
}

// TestForget: what is older than evidence can be is dropped, and the list stays.
func TestForget(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		db, start := denydb.New(r.db), r.Clock.Now()
		for i := range 3 {
			line := denylist.Line{ID: denylist.ID{Kind: deny.KeyID, Name: fmt.Sprint(i + 1)}, Until: start.AddDate(1, 0, 0)}
			if err := db.Publish(t.Context(), denylist.Version{Number: uint64(i + 1), At: start.AddDate(0, 0, 20*i)},
				[]denylist.Change{{Line: line}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []struct {
			at    time.Time
			first uint64 // version from which changes are still known
		}{{start, 0}, {start.AddDate(0, 0, 1), 1}, {start.AddDate(0, 0, 21), 2}, {start.AddDate(1, 0, 0), 2}} {
			if err := db.Forget(t.Context(), want.at); err != nil {
				t.Fatal(err)
			}
			for v := range uint64(4) {
				_, changes, err := db.Changes(t.Context(), v)
				if v < want.first && !errors.Is(err, denylist.ErrTooOld) || v >= want.first && (err != nil || len(changes) != int(3-v)) {
					t.Errorf("%v: from version %d: %d changes, %v", want.at, v, len(changes), err)
				}
			}
			if head, lines, err := db.Published(t.Context()); err != nil || head.Number != 3 || len(lines) != 3 {
				t.Errorf("version %d of %d lines, %v", head.Number, len(lines), err)
			}
		}
		if err := db.Publish(t.Context(), denylist.Version{Number: 3, At: start}, nil); !errors.Is(err, denylist.ErrBehind) {
			t.Errorf("a version twice: %v", err)
		}
	})
}

// failing is a vault that is down, or a journal whose commit is in doubt.
type failing struct {
	denylist.Store
	after bool // the version is published, and the caller hears of a failure
	on    bool
}

var errDown = errors.New("down")

func (f *failing) Publish(ctx context.Context, v denylist.Version, changes []denylist.Change) error {
	if f.on && !f.after {
		return errDown
	}
	err := f.Store.Publish(ctx, v, changes)
	if f.on {
		return errDown
	}
	return err
}

// TestPublishFails: a failure answers no reader, and whether the version was
// published after all or not, the next answer is right.
func TestPublishFails(t *testing.T) {
	hsm := hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()})
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, storetest.New(t), hsm)
			db := denydb.New(r.db)
			f := &failing{Store: db, after: after}
			s, err := denylist.New(denylist.Config{Tokens: r.tokens, Store: f, Orders: db, History: db, Gate: audit.Gate{Recorder: r.audit},
				Sign: func(context.Context, [32]byte) (sig [64]byte, err error) { return sig, nil }, KeyID: 1, Now: r.Clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			tok := r.phone(t, 1)
			r.move(t, tok.Ref, token.Suspend)
			f.on = true
			if _, err := s.Snapshot(t.Context(), reader, ""); !errors.Is(err, errDown) {
				t.Fatalf("%v", err)
			}
			f.on = false
			doc, err := s.Snapshot(t.Context(), reader, "")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := deny.ParseSnapshot(doc.Bytes); err != nil || len(got.Entries) != 1 || got.Version != 1 {
				t.Errorf("version %d of %d entries (%v)", got.Version, len(got.Entries), err)
			}
		})
	}
}

// TestDailySize prints what a day of denials weighs: 10 million wallets of
// which one in two thousand is denied.
func TestDailySize(t *testing.T) {
	const denied, poll = 5000, 24 * 60 / 5
	until := time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC)
	var entries []deny.Entry
	for i := range denied {
		n, err := token.ParseNumber(fmt.Sprintf("6299%012d", i))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, deny.OfToken(n, until))
	}
	head := deny.Head{KeyID: 1, Issued: until.Add(-time.Hour), Until: until}
	blank := func([32]byte) (sig [64]byte, err error) { return sig, nil }
	snapshot, err := deny.Snapshot{Head: head, Version: 1, Entries: entries}.Sign(blank)
	if err != nil {
		t.Fatal(err)
	}
	day := 0
	for i := range poll {
		part := entries[i*denied/poll : (i+1)*denied/poll]
		d, err := deny.Delta{Head: head, From: uint64(i), To: uint64(i) + 1, Adds: part}.Sign(blank)
		if err != nil {
			t.Fatal(err)
		}
		day += len(d)
	}
	t.Logf("%d denials a day: a snapshot of %d bytes, %d deltas of %d bytes on average, %d bytes a day", denied, len(snapshot), poll, day/poll, day)
	if len(snapshot) > 100_000 || day/poll > 500 {
		t.Errorf("a snapshot of %d bytes, a delta of %d", len(snapshot), day/poll)
	}
}

// panicky is a journal that panics the first time.
type panicky struct {
	denylist.Store
	asked int
}

func (p *panicky) Publish(ctx context.Context, v denylist.Version, changes []denylist.Change) error {
	if p.asked++; p.asked == 1 {
		panic("no journal")
	}
	return p.Store.Publish(ctx, v, changes)
}

// TestPublishPanics: a panic while a version is made ends no process; what was on its way
// is read anew, and published.
func TestPublishPanics(t *testing.T) {
	r := newRig(t, storetest.New(t), hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()}))
	db := denydb.New(r.db)
	s, err := denylist.New(denylist.Config{Tokens: r.tokens, Store: &panicky{Store: db}, Orders: db, History: db, Gate: audit.Gate{Recorder: r.audit},
		Sign: func(context.Context, [32]byte) (sig [64]byte, err error) { return sig, nil }, KeyID: 1, Now: r.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	tok := r.phone(t, 1)
	r.move(t, tok.Ref, token.Suspend)
	if err := s.Publish(t.Context()); err == nil {
		t.Error("a panic was no error")
	}
	doc, err := s.Snapshot(t.Context(), reader, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := deny.ParseSnapshot(doc.Bytes); err != nil || len(got.Entries) != 1 {
		t.Errorf("%d entries, %v", len(got.Entries), err)
	}
}

// TestUnreadableEntry: an order, or a token on the list, that cannot be read keeps no other
// off the list; it is counted, and listed once it can be read.
func TestUnreadableEntry(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		good, bad := r.phone(t, 1), r.phone(t, 2)
		r.move(t, good.Ref, token.Suspend)
		r.move(t, bad.Ref, token.Suspend)
		const order = "INSERT INTO deny_orders (kind, name, ctr, until, reason, ordered_by, ordered_at) VALUES (?, ?, 0, ?, 'x', 'x', 0)"
		until := r.Clock.Now().Add(time.Hour).UnixMilli()
		storetest.Exec(t, r.db, order, 2, "no number", until)
		storetest.Exec(t, r.db, order, 9, "no kind", until)
		storetest.Exec(t, r.db, order, 2, "7", until)
		const far = int64(1) << 62
		storetest.Exec(t, r.db, "INSERT INTO numbers (range_id, serial, holder, next_ctr, free_after) SELECT range_id, ?, holder, next_ctr, free_after FROM numbers WHERE holder = ?", far, string(bad.Ref))
		storetest.Exec(t, r.db, "UPDATE tokens SET serial = ? WHERE ref = ?", far, string(bad.Ref))
		l := r.hears(t, r.service, &deny.List{})
		now := r.Clock.Now()
		if l.Len() != 2 || !l.Denied(good.Number, 1, now) || !l.KeyDenied(7, now) || r.service.Unprinted() == 0 {
			t.Errorf("%d entries, %d were left out", l.Len(), r.service.Unprinted())
		}
		storetest.Exec(t, r.db, "UPDATE tokens SET serial = (SELECT serial FROM numbers WHERE holder = tokens.ref AND serial <> ?) WHERE ref = ?", far, string(bad.Ref))
		if l = r.hears(t, r.node(t), &deny.List{}); l.Len() != 3 || !l.Denied(bad.Number, 1, now) {
			t.Errorf("mended: %d entries", l.Len())
		}
	})
}

// TestEntryOfNoKind: a row with a kind or a counter that there cannot be, in what is ordered, in
// what was published or in how that came about, keeps no other entry from readers.
func TestEntryOfNoKind(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		good, bad := r.phone(t, 1), r.phone(t, 2)
		until := r.Clock.Now().Add(time.Hour).UnixMilli()
		for name, kind := range map[string]int{"no kind": 300, "7": 2} {
			storetest.Exec(t, r.db, "INSERT INTO deny_orders (kind, name, ctr, until, reason, ordered_by, ordered_at) VALUES (?, ?, 70000, ?, 'x', 'x', 0)", kind, name, until)
		}
		r.move(t, bad.Ref, token.Suspend)
		old := r.hears(t, r.service, &deny.List{})
		storetest.Exec(t, r.db, "UPDATE deny_entries SET ctr = 70000 WHERE name = ?", string(bad.Ref))
		storetest.Exec(t, r.db, "UPDATE deny_changes SET ctr = 70000 WHERE name = ?", string(bad.Ref))
		storetest.Exec(t, r.db, "INSERT INTO deny_entries (kind, name, ctr, until) VALUES (300, 'no kind either', 0, ?)", until)
		r.move(t, good.Ref, token.Suspend)
		now := r.Clock.Now()
		for name, l := range map[string]*deny.List{"anew": r.hears(t, r.node(t), &deny.List{}), "on": r.hears(t, r.node(t), old)} {
			if l.Len() != 3 || !l.Denied(good.Number, 1, now) || !l.Denied(bad.Number, 1, now) || !l.KeyDenied(7, now) {
				t.Errorf("%s: %d entries", name, l.Len())
			}
		}
		if r.service.Unprinted() == 0 {
			t.Error("nobody is told of the one that has no kind")
		}
	})
}
