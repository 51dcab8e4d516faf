package tokenize_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// asking is a shop whose bank gets the same token.
func asking(t *testing.T) (s shop, ask func(life time.Duration, day *token.Day) token.Token) {
	s = agreed(t, vaulttest.New(t), tokenize.Policy{Duplicates: tokenize.SameToken})
	return s, func(life time.Duration, day *token.Day) token.Token {
		t.Helper()
		r := request(t, 1)
		r.Lifetime, r.Day = life, day
		tok, err := s.Request(t.Context(), bank, r)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
}

// TestSameLastsLongEnough: the one that lives is the same while half of the life
// that is asked for is left, to the second.
func TestSameLastsLongEnough(t *testing.T) {
	s, ask := asking(t)
	first := ask(4*time.Hour, nil)
	s.Clock.Set(first.NotBefore.Add(2 * time.Hour))
	if got := ask(4*time.Hour, nil); got.Ref != first.Ref {
		t.Error("with half left, another token")
	}
	s.Clock.Add(time.Second)
	if got := ask(3*time.Hour, nil); got.Ref != first.Ref {
		t.Error("who asks for less got another token")
	}
	second := ask(4*time.Hour, nil)
	if second.Ref == first.Ref || second.NotAfter.Sub(s.Clock.Now()) != 4*time.Hour {
		t.Errorf("with less than half left: %v to %v", second.NotBefore, second.NotAfter)
	}
	if got := ask(4*time.Hour, nil); got.Ref != second.Ref {
		t.Error("the new token is not the one that lives")
	}
	if now := s.want(t, first.Ref, token.Requested); !now.Live(s.Clock.Now(), 0) {
		t.Error("the token before was ended")
	}
	week := ask(7*day, nil)
	if week.Ref == second.Ref || ask(time.Hour, nil).Ref != week.Ref {
		t.Error("a week")
	}
}

// TestSameHasBegun: a token of tomorrow is no answer to who asks for one now,
// neither one that was ordered nor one that renews another.
func TestSameHasBegun(t *testing.T) {
	s, ask := asking(t)
	tomorrow := ask(2*time.Hour, &token.Day{Year: 2026, Month: time.March, Day: 3})
	now := ask(2*time.Hour, nil)
	if now.Ref == tomorrow.Ref || !now.NotBefore.Equal(s.Clock.Now()) {
		t.Fatalf("%v to %v", now.NotBefore, now.NotAfter)
	}
	next, err := s.Renew(t.Context(), bank, now.Ref, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	s.Clock.Add(75 * time.Minute)
	if got := ask(2*time.Hour, nil); got.Ref == next.Ref || got.Ref == now.Ref || got.NotBefore.After(s.Clock.Now()) {
		t.Errorf("%v to %v", got.NotBefore, got.NotAfter)
	}
}

// TestSameAtTheEndOfADay: with less than an hour left of the day, a token for
// today lives to the end of the next, also when there is one.
func TestSameAtTheEndOfADay(t *testing.T) {
	s, ask := asking(t)
	first := ask(0, nil)
	s.Clock.Set(first.NotAfter.Add(-time.Hour))
	if got := ask(0, nil); got.Ref != first.Ref {
		t.Error("an hour before the end, another token")
	}
	s.Clock.Set(first.NotAfter.Add(-30 * time.Minute))
	if got := ask(0, nil); !got.NotAfter.Equal(first.NotAfter.Add(day)) || ask(0, nil).Ref != got.Ref {
		t.Errorf("half an hour before the end: until %v", got.NotAfter)
	}
}

// TestSameIsHeldBack: to ask late in its life is no way around a suspension.
func TestSameIsHeldBack(t *testing.T) {
	s, ask := asking(t)
	first := ask(4*time.Hour, nil)
	s.move(t, first.Ref, token.Suspend)
	s.Clock.Set(first.NotAfter.Add(-time.Minute))
	if got := ask(4*time.Hour, nil); got.Ref != first.Ref || got.State != token.Suspended {
		t.Errorf("%s, %s", got.Ref, got.State)
	}
}
