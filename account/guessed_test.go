package account_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/token"
)

// bounded is the lab's service as two processes that bound guessing together.
type bounded struct {
	*lab
	nodes  [2]*account.Service
	guards [2]*guess.Guard
	made   int // guesses
	judged atomic.Int64
}

// judging counts the records that are judged.
type judging struct {
	keys account.SlotKeys
	n    *atomic.Int64
}

func (j judging) SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error) {
	j.n.Add(1)
	return j.keys.SlotKeys(ctx, path, uds)
}

func newBounded(t *testing.T) *bounded {
	t.Helper()
	b := &bounded{lab: newLab(t)}
	now := b.vault.Clock.Now
	for i := range b.nodes {
		var err error
		b.guards[i] = guess.New(guessdb.New(b.db, now), nil, now)
		b.nodes[i], err = account.New(account.Config{
			Tokens: b.vault.Writer(), Keys: judging{b.hsm, &b.judged}, Journal: tapdb.New(b.db, now), Gate: audit.Gate{Recorder: b.log}, Guesses: b.guards[i],
			Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: now,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func terminal(id string) access.Caller {
	return access.Caller{ID: id, Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
}

// guess is t with a MAC2 that was not tried before and does not hold.
func (b *bounded) guess(t account.Tap) account.Tap {
	b.made++
	t.MAC2[0] ^= byte(b.made)
	t.MAC2[1] ^= byte(b.made >> 8)
	t.TAC[0] ^= 0x80
	return t
}

// shows uploads records to a node as a caller does.
func (b *bounded) shows(node int, id string, taps ...account.Tap) ([]account.Result, error) {
	b.t.Helper()
	return b.nodes[node].Upload(b.t.Context(), terminal(id), id, taps)
}

// takes uploads records that a caller may upload.
func (b *bounded) takes(name string, node int, id string, reason account.Reason, taps ...account.Tap) {
	b.t.Helper()
	results, err := b.shows(node, id, taps...)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	for _, r := range results {
		if r.Reason != reason {
			b.t.Fatalf("%s: %+v, want %q", name, r, reason)
		}
	}
}

// refuses uploads what a caller who guessed too often may not, and finds nothing
// of it kept.
func (b *bounded) refuses(name string, node int, id string, taps ...account.Tap) {
	b.t.Helper()
	posted := b.posted()
	b.log.reasons()
	results, err := b.shows(node, id, taps...)
	if !errors.Is(err, guess.ErrMisses) || results != nil || fault.Wait(err) <= 0 || fault.Wait(err) > 24*time.Hour {
		b.t.Errorf("%s: %v, %v, to wait %v", name, results, err, fault.Wait(err))
	}
	if why := b.log.reasons(); len(why) != 1 || why[0] != "misses" {
		b.t.Errorf("%s: the record says %v", name, why)
	}
	if n := b.posted(); n != posted {
		b.t.Errorf("%s: %d records were posted", name, n-posted)
	}
}

// TestForgedTapsAreCounted: who uploads taps that no phone made is stopped after
// 32 of one token, whichever process it asks; the token is nobody else's loss.
func TestForgedTapsAreCounted(t *testing.T) {
	b := newBounded(t)
	tap, other := b.tap(0, 5), b.tapOf(b.issue(2), 0, 5)
	for i := range guess.Max {
		b.takes("a guess", i%2, "thief", account.Forged, b.guess(tap))
	}
	for node := range b.nodes {
		b.refuses("one more", node, "thief", b.guess(tap))
		b.refuses("a good record", node, "thief", tap)
		b.refuses("a good record among others", node, "thief", other, tap)
	}
	if b.guards[0].Refused() != 3 || b.guards[1].Refused() != 3 {
		t.Errorf("alarm was raised %d and %d times", b.guards[0].Refused(), b.guards[1].Refused())
	}
	b.takes("another token", 0, "thief", "", other)
	b.takes("the token at an honest gate", 1, "gate-8", "", tap)
	b.vault.Clock.Add(24 * time.Hour)
	b.takes("the next day", 0, "thief", account.Disputed, tap)
}

// TestForgedBatch: a batch with too many is refused whole, and when it is sent
// again the next day it tells of no more guesses than a day allows.
func TestForgedBatch(t *testing.T) {
	b := newBounded(t)
	good := b.tap(1, 5)
	batch := []account.Tap{good}
	for range 3 * guess.Max {
		batch = append(batch, b.guess(b.tap(0, 5)))
	}
	b.refuses("too many at once", 0, "thief", batch...)
	b.refuses("again", 1, "thief", batch...)
	b.refuses("what is good of it", 1, "thief", good)
	b.vault.Clock.Add(24 * time.Hour)
	b.takes("what is known of it, the next day", 0, "thief", account.Forged, batch[1:guess.Max+2]...)
	b.takes("what is good of it, the next day", 0, "thief", "", good)
	b.refuses("all of it", 0, "thief", batch...)
}

// TestForgedTapsAtOnce: who uploads guesses of one token at the same moment, each by
// itself, has no more of them judged than are left.
func TestForgedTapsAtOnce(t *testing.T) {
	b := newBounded(t)
	tap := b.tap(0, 5)
	for range guess.Max - 2 {
		b.takes("a guess", 0, "thief", account.Forged, b.guess(tap))
	}
	each := b.judged.Load() / (guess.Max - 2)
	var told atomic.Int64
	var calls sync.WaitGroup
	for range 100 {
		one := b.guess(tap)
		calls.Go(func() {
			switch _, err := b.nodes[0].Upload(t.Context(), terminal("thief"), "thief", []account.Tap{one}); {
			case err == nil:
				told.Add(1)
			case !errors.Is(err, guess.ErrMisses):
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if n := b.judged.Load() / each; n != guess.Max || told.Load() != 2 {
		t.Errorf("%d guesses were judged, of the last hundred %d were told", n, told.Load())
	}
	b.takes("the token at an honest gate", 0, "gate-8", "", tap)
}

// TestWhatIsNoGuess: an honest gate is never refused, whatever strangers do at
// it, however often it sends, and whatever cannot be judged.
func TestWhatIsNoGuess(t *testing.T) {
	b := newBounded(t)
	tap := b.tap(0, 5)
	const often = 2 * guess.Max
	once := b.guess(tap)
	number, err := token.ParseNumber("9100019999999999")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		reason account.Reason
		make   func() account.Tap
	}{
		"the module refused it":    {account.Forged, func() account.Tap { x := b.guess(tap); x.Failed = true; return x }},
		"the same again and again": {account.Forged, func() account.Tap { return once }},
		"a version of another key": {account.UnknownKey, func() account.Tap { x := b.guess(tap); x.KeyVer++; return x }},
		"a number that nobody has": {account.UnknownToken, func() account.Tap { x := b.guess(tap); x.Number = number; return x }},
		"fields that no tap has":   {account.Malformed, func() account.Tap { x := b.guess(tap); x.Seq++; return x }},
	} {
		var batch []account.Tap
		for range often {
			batch = append(batch, c.make())
		}
		b.takes(name, 0, "gate-8", c.reason, batch...)
	}
	for i := range slots { // a copied phone, without its PIN
		x := b.tap(i, 5+i)
		x.TAC[0] ^= 1
		b.takes("a wrong PIN", 1, "gate-8", account.WrongPIN, x)
	}
	s, err := guessdb.New(b.db, b.vault.Clock.Now).Standing(t.Context(), "gate-8")
	if err != nil || s.Total != 1 {
		t.Errorf("%d were counted, %v", s.Total, err)
	}
}

// TestCopiesAreCounted: who has a phone's keys and an operator's name, but not the
// PIN, can try TACs on one good MAC2. That tells of no more than 32 in a day, also
// when what was refused is sent again the next day, or in the same batch.
func TestCopiesAreCounted(t *testing.T) {
	b := newBounded(t)
	tap := b.tap(0, 5)
	copied := func() account.Tap {
		x := tap
		b.made++
		x.TAC[0], x.TAC[1] = x.TAC[0]^byte(b.made), x.TAC[1]^byte(b.made>>8)
		return x
	}
	b.takes("the first", 0, "thief", account.WrongPIN, copied())
	var more []account.Tap
	for range 3 * guess.Max {
		more = append(more, copied())
	}
	b.refuses("many at once", 0, "thief", more...)
	b.refuses("the good one", 1, "thief", tap)
	b.takes("another operator", 1, "gate-8", "", b.tap(1, 5))
	b.vault.Clock.Add(24 * time.Hour)
	told := 0
	for i, x := range more {
		if _, err := b.shows(i%2, "thief", x); err == nil {
			told++
		}
	}
	if told > 2*guess.Max+2 { // those of both days, the one that passed the bound, and the posted one
		t.Errorf("in two days %d guesses were told of", told)
	}
	b.refuses("the good one, the next day", 0, "thief", tap)
}

// TestEveryGuessIsAnother: whatever a MAC2 depends on, changing it makes another
// guess, which is counted.
func TestEveryGuessIsAnother(t *testing.T) {
	b := newBounded(t)
	other := b.issue(2)
	changes := map[string]func(*account.Tap){
		"MAC2": func(x *account.Tap) { x.MAC2[3]++ }, "TAC": func(x *account.Tap) { x.TAC[3]++ }, "amount": func(x *account.Tap) { x.Amount++ },
		"random number": func(x *account.Tap) { x.Rand[0]++ }, "serial": func(x *account.Tap) { x.TermSeq++ }, "terminal": func(x *account.Tap) { x.Terminal[5]++ },
		"issuer": func(x *account.Tap) { x.Issuer[0]++ }, "cap": func(x *account.Tap) { x.UD.Cap++ }, "class": func(x *account.Tap) { x.UD.Class++ },
		"time": func(x *account.Tap) { x.At[6] ^= 1 }, "number": func(x *account.Tap) { x.Number = other.Number },
	}
	first := b.guess(b.tap(0, 5))
	b.takes("the first", 0, "thief", account.Forged, first)
	counts, counted := guessdb.New(b.db, b.vault.Clock.Now), 1
	for name, change := range changes {
		x := first
		change(&x)
		if _, err := b.shows(0, "thief", x); err != nil {
			t.Fatal(name, err)
		}
		counted++
		if s, err := counts.Standing(t.Context(), "thief"); err != nil || s.Total != counted {
			t.Errorf("after another %s, %d of %d are counted, %v", name, s.Total, counted, err)
		}
	}
}

// TestShownToJudge: records that are shown to be paid for by another way count
// alike.
func TestShownToJudge(t *testing.T) {
	b := newBounded(t)
	tap := b.tap(0, 5)
	thief := terminal("thief")
	for i := range guess.Max {
		if r, _, err := b.nodes[i%2].Judge(t.Context(), thief, b.guess(tap), token.Use{}); err != nil || r.Reason != account.Forged {
			t.Fatal(r, err)
		}
	}
	for _, x := range []account.Tap{tap, b.guess(tap)} {
		if r, tok, err := b.nodes[0].Judge(t.Context(), thief, x, token.Use{}); !errors.Is(err, guess.ErrMisses) || tok.Ref != "" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	b.refuses("an upload", 1, "thief", tap)
}
