package detect_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account/detect"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func tap(ctr uint16, at time.Duration, terminal byte) detect.Tap {
	return detect.Tap{ID: fmt.Sprint(ctr, at, terminal), Ctr: ctr, Class: 3, Moment: noon.Add(at), Terminal: [6]byte{terminal}, TACGood: true, Served: true, Fresh: true}
}

func kinds(taps ...detect.Tap) (out []string) {
	places := map[byte]detect.Point{1: {Lat: 31.2, Lon: 121.4}, 2: {Lat: 31.2, Lon: 121.8}, 3: {Lat: 31.2, Lon: 121.405}}
	where := func(t [6]byte) (detect.Point, bool) { p, ok := places[t[0]]; return p, ok }
	for _, s := range detect.Token("trA", taps, where, time.UTC) {
		out = append(out, string(s.Kind))
	}
	slices.Sort(out)
	return out
}

// TestEdges holds each rule to its limit, from both sides.
func TestEdges(t *testing.T) {
	many := func(n int) (taps []detect.Tap) {
		for i := range n {
			taps = append(taps, tap(uint16(i), time.Duration(i)*time.Minute, 9))
		}
		return taps
	}
	unsure := tap(1, 11*time.Minute, 9)
	unsure.TACGood = false
	misdated := tap(1, 11*time.Minute, 9)
	misdated.Misdated = true
	stale := func(ctr uint16, served bool) detect.Tap {
		t := tap(ctr, time.Duration(ctr)*time.Minute, 9)
		t.Fresh, t.Served = false, served
		return t
	}
	left := func(ctr uint16, at time.Duration, bundle string, left uint32) detect.Tap {
		t := tap(ctr, at, 9)
		t.Left, t.Bundle = left, bundle
		return t
	}
	other := tap(1, 11*time.Minute, 9)
	other.Class = 2
	for _, tc := range []struct {
		name string
		taps []detect.Tap
		want []string
	}{
		{"nothing", nil, nil},
		{"ten minutes out of order", []detect.Tap{tap(2, 0, 9), tap(1, 10*time.Minute, 9)}, nil},
		{"a second more", []detect.Tap{tap(2, 0, 9), tap(1, 10*time.Minute+time.Second, 9)}, []string{"ORDER_ONCE"}},
		{"another class", []detect.Tap{tap(2, 0, 9), other}, nil},
		{"a time nobody vouches for", []detect.Tap{tap(2, 0, 9), unsure}, nil},
		{"a time that is ahead", []detect.Tap{tap(2, 0, 9), misdated}, nil},
		{"two out of order", []detect.Tap{tap(3, 0, 9), tap(1, 11*time.Minute, 9), tap(2, 12*time.Minute, 9)}, []string{"ORDER", "ORDER_ONCE"}},
		{"one slot at two terminals", []detect.Tap{tap(1, 0, 8), tap(1, 4*time.Second, 9)}, nil},
		{"half a kilometre in six seconds", []detect.Tap{tap(1, 0, 1), tap(2, 6*time.Second, 3)}, nil},
		{"an old list, and what weighs little is no sign for being there twice", []detect.Tap{stale(1, true), stale(2, true)}, []string{"STALE_LIST", "STALE_LIST"}},
		{"a list that no terminal vouches for", []detect.Tap{stale(1, false)}, nil},
		{"five seconds apart", []detect.Tap{tap(1, 0, 8), tap(2, 5*time.Second, 9)}, nil},
		{"four seconds apart", []detect.Tap{tap(1, 0, 8), tap(2, 4*time.Second, 9)}, []string{"TWO_AT_ONCE"}},
		{"four seconds apart, at one terminal", []detect.Tap{tap(1, 0, 9), tap(2, 4*time.Second, 9)}, nil},
		{"38 km in 20 minutes", []detect.Tap{tap(1, 0, 1), tap(2, 20*time.Minute, 2)}, nil},
		{"38 km in 18 minutes", []detect.Tap{tap(1, 0, 1), tap(2, 18*time.Minute, 2)}, []string{"VELOCITY"}},
		{"38 km in 20 minutes, the later tap heard of first", []detect.Tap{tap(2, 20*time.Minute, 2), tap(1, 0, 1)}, nil},
		{"with a tap between, where nobody knows", []detect.Tap{tap(1, 0, 1), tap(2, 9*time.Minute, 9), tap(3, 18*time.Minute, 2)}, []string{"VELOCITY"}},
		{"and back", []detect.Tap{tap(1, 0, 1), tap(2, 9*time.Minute, 2), tap(3, 18*time.Minute, 1)}, []string{"REPEATED", "VELOCITY", "VELOCITY"}},
		{"twenty in a day", many(20), nil},
		{"twenty-one", many(21), []string{"MANY_TAPS"}},
		{"twenty-one, of which one is not sure", append(many(20), unsure), nil},
		{"more left than before", []detect.Tap{left(1, 0, "b", 4000), left(2, time.Minute, "b", 4001)}, []string{"CHAIN"}},
		{"as much left", []detect.Tap{left(1, 0, "b", 4000), left(2, time.Minute, "b", 4000)}, nil},
		{"more left, in a slot of before", []detect.Tap{left(2, 0, "b", 4000), left(1, time.Minute, "b", 4001)}, nil},
		{"more left, in the same slot", []detect.Tap{left(1, 0, "b", 4000), left(1, time.Minute, "b", 4001)}, nil},
		{"more left in another bundle", []detect.Tap{left(1, 0, "b", 4000), left(2, time.Minute, "c", 4001)}, nil},
		{"more left, and no bundle is known", []detect.Tap{left(1, 0, "", 4000), left(2, time.Minute, "", 4001)}, nil},
	} {
		if got := kinds(tc.taps...); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestOrderOfArrival: signals and their names follow from the set of taps, and
// taps that come later take none away.
func TestOrderOfArrival(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []detect.Tap
		for i := range 12 {
			all = append(all, tap(uint16(i), time.Duration(random.IntN(5400))*time.Second, byte(1+random.IntN(3))))
		}
		ids := func(taps []detect.Tap) (out []string) {
			for _, s := range detect.Token("trA", taps, nil, time.UTC) {
				if s.Kind != detect.TwoAtOnce && s.Kind != detect.Repeated { // of neighbours: one may come between
					out = append(out, s.ID)
				}
			}
			slices.Sort(out)
			return out
		}
		want, part := ids(all), ids(all[:6])
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if got := ids(all); !slices.Equal(got, want) {
			t.Fatalf("%v, %v", got, want)
		}
		for _, id := range part {
			if !slices.Contains(want, id) {
				t.Fatalf("a signal is gone")
			}
		}
	}
}

// TestLaterTapsHideNothing: what a part of the taps is held against a phone for, all of
// them are, wherever those that came later lie.
func TestLaterTapsHideNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	worst := func(taps []detect.Tap) (most int) {
		for _, k := range kinds(taps...) {
			most = max(most, detect.Severities[detect.Kind(k)])
		}
		return most
	}
	held := 0
	for round := range 2000 {
		within := []int{20, 600, 5400}[round%3]
		var all []detect.Tap
		for i := range 8 {
			all = append(all, tap(uint16(i), time.Duration(random.IntN(within))*time.Second, byte(1+random.IntN(4))))
		}
		for n := 2; n < len(all); n++ {
			part, whole := worst(all[:n]), worst(all[:n+1])
			if whole < part {
				t.Fatalf("%v weigh %d, with %v they weigh %d", all[:n], part, all[n], whole)
			}
			held = max(held, whole)
		}
	}
	if held < 3 {
		t.Error("nothing was found")
	}
}

// TestSeverities: every kind weighs something, and new ones are told apart.
func TestSeverities(t *testing.T) {
	seen := make(map[string]bool)
	for k, n := range detect.Severities {
		s := detect.New(k, "trA", 1, [6]byte{})
		if n < 1 || n > 3 || s.Severity() != n || seen[s.ID] {
			t.Errorf("%s weighs %d", k, n)
		}
		seen[s.ID] = true
	}
}

// TestAgainstTerminal: what is held against a terminal, and what against a wallet.
func TestAgainstTerminal(t *testing.T) {
	for k := range detect.Severities {
		want := k == detect.TerminalCopy || k == detect.Dispute
		if k.AgainstTerminal() != want {
			t.Errorf("%s: %t", k, !want)
		}
	}
}
