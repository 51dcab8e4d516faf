package vaulttest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// Run holds a dialect to the contract. newDB returns a migrated, empty
// database.
func Run(t *testing.T, newDB func(testing.TB) *store.DB) {
	hsm := hsmtest.New(t, hsmtest.Options{Refs: append(Keys(), Second()...)})
	for name, test := range map[string]func(*testing.T, *Fixture){
		"issue and read":                issueAndRead,
		"one card, one reference":       oneCard,
		"a renewed card":                renewedCard,
		"once per attempt":              oncePerAttempt,
		"attempts in a race":            attemptsRace,
		"numbers in a race":             numbersRace,
		"one card in a race":            cardRace,
		"a mixed crowd":                 mixedCrowd,
		"moves":                         moves,
		"moves in a race":               movesRace,
		"suspenders":                    suspenders,
		"suspenders in a race":          suspendersRace,
		"one living token":              oneLiving,
		"one living token in a race":    oneLivingRace,
		"renewals":                      renewals,
		"renewals in a race":            renewalsRace,
		"tokens that follow":            following,
		"attributes":                    attributes,
		"a longer window":               longerWindow,
		"finding":                       finding,
		"finding what is damaged":       findUnreadable,
		"the end of windows":            expireDue,
		"tokens that cannot be read":    expireUnreadable,
		"the end of windows in a race":  expireRace,
		"events":                        events,
		"events in a race":              eventsRace,
		"counters":                      counters,
		"counters in a race":            countersRace,
		"a card number that is a token": cardIsToken,
		"no range":                      noRange,
		"denied tokens":                 denied,
		"unknown":                       unknown,
		"the last number, and back":     lastNumber,
		"serials handed back":           handedBack,
		"a process that is gone":        takenOver,
		"two processes":                 twoProcesses,
	} {
		t.Run(name, func(t *testing.T) { test(t, On(t, newDB(t), hsm)) })
	}
	for _, more := range []map[string]func(*testing.T, *Fixture){cardTests, rangeTests} {
		for name, test := range more {
			t.Run(name, func(t *testing.T) { test(t, On(t, newDB(t), hsm)) })
		}
	}
}

// issue makes a token for the nth card.
func issue(t testing.TB, f *Fixture, n int) token.Token {
	t.Helper()
	tok, err := f.Writer().Issue(t.Context(), f.Order(t, n), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func kind(t testing.TB, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %s", err, want)
	}
}

// racing runs n of fn at once.
func racing(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

func moves(t *testing.T, f *Fixture) {
	for _, from := range token.States {
		for _, v := range token.Verbs {
			tok := issue(t, f, 1)
			put(t, f, tok.Ref, from)
			seen, err := f.Reader().Token(t.Context(), tok.Ref)
			if err != nil {
				t.Fatal(err)
			}
			at := Start.Add(time.Hour)
			got, err := f.Writer().Move(t.Context(), tok.Ref, from, v, at)
			next, _ := from.Next(v)
			moved := next != from && !(from == token.Suspended && (next == token.Expired || next == token.Deleted))
			if !seen.May(v) {
				kind(t, err, fault.TokenState)
				next = from
			} else if err != nil || got.State != next || moved != got.ChangedAt.Equal(at) {
				t.Errorf("%s %s: %v at %v, %v", from, v, got.State, got.ChangedAt, err)
			}
			if now, err := f.Reader().Token(t.Context(), tok.Ref); err != nil || now.State != next {
				t.Errorf("%s %s: left it %s, %v", from, v, now.State, err)
			}
			_, err = f.Writer().Move(t.Context(), tok.Ref, otherThan(next), token.Delete, at)
			kind(t, err, fault.TokenState)
		}
	}
}

func otherThan(s token.State) token.State {
	if s == token.Active {
		return token.Delivered
	}
	return token.Active
}

// put moves a token into a state by moves that are allowed.
func put(t testing.TB, f *Fixture, ref token.Ref, s token.State) {
	t.Helper()
	for _, v := range token.Verbs {
		if next, ok := token.Requested.Next(v); s != token.Requested && ok && next == s {
			if _, err := f.Writer().Move(t.Context(), ref, token.Requested, v, Start); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func movesRace(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	won := make(chan int, 16)
	racing(16, func(i int) {
		_, err := f.Writer().Move(t.Context(), tok.Ref, token.Requested, []token.Verb{token.Suspend, token.Activate}[i%2], Start)
		if err == nil {
			won <- i
		} else if !errors.Is(err, vault.ErrConflict) {
			t.Error(err)
		}
	})
	if len(won) != 1 {
		t.Fatalf("%d moves from one state", len(won))
	}
}

func counters(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	w := f.Writer()
	for i, want := range []uint16{1, 16, 31} {
		first, err := w.TakeCounters(t.Context(), tok.Ref, 15)
		if err != nil || first != want {
			t.Fatalf("take %d: %d, %v", i, first, err)
		}
	}
	if got, err := w.Token(t.Context(), tok.Ref); err != nil || got.CtrFirst != 1 || got.CtrNext != 46 {
		t.Fatalf("%d to %d, %v", got.CtrFirst, got.CtrNext, err)
	}
	if first, err := w.TakeCounters(t.Context(), tok.Ref, 65535-46); err != nil || first != 46 {
		t.Fatalf("%d, %v", first, err)
	}
	for _, n := range []int{1, 0, -1, 1 << 20} {
		_, err := w.TakeCounters(t.Context(), tok.Ref, n)
		kind(t, err, fault.CounterSpent)
	}
	_, err := w.TakeCounters(t.Context(), "trNONE", 1)
	kind(t, err, fault.TokenUnknown)
}

func countersRace(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	var firsts sync.Map
	racing(20, func(int) {
		first, err := f.Writer().TakeCounters(t.Context(), tok.Ref, 3)
		if err != nil {
			t.Error(err)
		}
		if _, twice := firsts.LoadOrStore(first, true); twice || first%3 != 1 {
			t.Errorf("counter %d was given out twice", first)
		}
	})
}

// nothing holds f to having written nothing.
func nothing(t testing.TB, f *Fixture) {
	t.Helper()
	for _, table := range []string{"cards", "numbers", "tokens", "attempts"} {
		if n := count(t, f, table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}

// count counts the rows of a table.
func count(t testing.TB, f *Fixture, table string) (n int64) {
	t.Helper()
	if err := f.DB.Read(t.Context()).Table(table).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func unknown(t *testing.T, f *Fixture) {
	_, err := f.Reader().Token(t.Context(), "trNONE")
	kind(t, err, fault.TokenUnknown)
	_, _, err = f.Opener().PAN(t.Context(), "trNONE")
	kind(t, err, fault.TokenUnknown)
	_, err = f.Writer().Move(t.Context(), "trNONE", token.Active, token.Suspend, Start)
	kind(t, err, fault.TokenUnknown)
	d := issue(t, f, 1).Number.Digits()
	wrongDigit := d[:15] + string('0'+(d[15]-'0'+1)%10)
	for _, digits := range []string{wrongDigit, "6228480000000008", "9100011234567", "9100011234567890123"} {
		n, err := token.ParseNumber(digits)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Reader().ByNumber(t.Context(), n, Start)
		kind(t, err, fault.TokenUnknown)
	}
}
