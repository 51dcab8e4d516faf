package element_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// order orders something under an attempt's key.
func (s *stand) order(key string, o element.Order) error {
	o.Attempt = access.Attempt{Key: key}
	_, err := s.Order(s.t.Context(), server, s.id, o)
	return err
}

// inStep has a courier go until the element has obeyed all.
func (s *stand) inStep() element.Element {
	s.t.Helper()
	for rounds := 0; ; rounds++ {
		more, err := s.round()
		if err != nil || rounds > 5 {
			s.t.Fatalf("round %d: %v", rounds, err)
		}
		if !more {
			break
		}
	}
	e, err := s.Get(s.t.Context(), server, s.id)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// TestNothingBehindAnErasure: an element that has forgotten all obeys nothing but an issue
// that brings a PIN, and would stand before anything else for good. So nothing else is
// made: who orders it twice, by two callers or two attempts, has it erased once.
func TestNothingBehindAnErasure(t *testing.T) {
	s := newStand(t, elementKeys(t))
	if e := s.inStep(); e.Seq != 2 || e.State != element.Issued {
		t.Fatalf("%+v", e)
	}
	if err := s.order("before", element.Order{Verb: message.Unblock}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "a"} {
		if err := s.order(key, element.Order{Verb: message.Erase}); err != nil {
			t.Errorf("erasing, attempt %s: %v", key, err)
		}
	}
	if err := s.order("c", element.Order{Verb: message.Unblock}); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("unblocking what is to be erased: %v", err)
	}
	if err := s.order("before", element.Order{Verb: message.Unblock}); err != nil {
		t.Errorf("unblocking, asked for again with the same attempt: %v", err)
	}
	if e := s.inStep(); e.Seq != 4 || e.Acked != 4 || e.State != element.Erased {
		t.Errorf("erased: %+v", e)
	}
	next := s.next()
	if err := s.order("d", element.Order{Verb: message.Issue, Ref: next}); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("a token without a PIN for an element that has none: %v", err)
	}
	if err := s.order("e", element.Order{Verb: message.Issue, Ref: next, PIN: s.pin}); err != nil {
		t.Errorf("a token with a PIN: %v", err)
	}
	if e := s.inStep(); e.Acked != e.Seq || e.Seq < 5 || e.State != element.Issued || e.Ref != next {
		t.Errorf("issued again: %+v", e)
	}
}

// TestErasedBeforeItsReceiptIsSettled: a receipt that somebody brought before an erasure
// was ordered, and that is settled after it, raises nothing.
func TestErasedBeforeItsReceiptIsSettled(t *testing.T) {
	h := elementKeys(t)
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			s := newStand(t, h)
			if more, err := s.round(); err != nil || !more {
				t.Fatalf("issuing: %v, %v", more, err)
			}
			s.cuts.n, s.cuts.after = 2, after // its sync
			if _, err := s.round(); !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			if err := s.order("a", element.Order{Verb: message.Erase}); err != nil {
				t.Fatal(err)
			}
			if e := s.inStep(); e.Seq != 2 || e.Acked != 2 || e.State != element.Erased {
				t.Errorf("%+v", e)
			}
			if b := s.money(); !after && (b.Reserve != 0 || b.Available != 30000) {
				t.Errorf("for an element that is erased: %+v", b)
			}
		})
	}
}

// TestGrantOfTheTokenBefore: slots that were granted under a token while the element was
// given its next one are not brought behind that: it would take them for none of its own.
func TestGrantOfTheTokenBefore(t *testing.T) {
	s := newStand(t, elementKeys(t))
	if more, err := s.round(); err != nil || !more {
		t.Fatalf("issuing: %v, %v", more, err)
	}
	next := s.next()
	s.cuts.meanwhile = func() {
		s.cuts.meanwhile = nil
		s.move(token.Suspend)
		if err := s.order("a", element.Order{Verb: message.Issue, Ref: next}); err != nil {
			t.Fatal(err)
		}
	}
	if e := s.inStep(); e.Acked != e.Seq || e.State != element.Issued || e.Ref != next {
		t.Errorf("%+v", e)
	}
}

// TestStepUpMeanwhile: the card's issuer wants to see the holder after the token was ordered
// for an element. Its courier is answered all the same: the element gets no slots, can be
// erased, and gets them once the issuer approves.
func TestStepUpMeanwhile(t *testing.T) {
	h := elementKeys(t)
	for _, erase := range []bool{false, true} {
		t.Run(fmt.Sprint(erase), func(t *testing.T) {
			s := newStand(t, h)
			s.move(token.StepUp)
			if e := s.inStep(); e.Seq != 1 || e.Acked != 1 || e.State != element.Issued || s.tok().State != token.Requested {
				t.Errorf("%+v, its token is %s", e, s.tok().State)
			}
			if b := s.money(); b.Reserve != 0 {
				t.Errorf("for a token that may not pay: %+v", b)
			}
			if erase {
				if err := s.order("a", element.Order{Verb: message.Erase}); err != nil {
					t.Fatal(err)
				}
				if e := s.inStep(); e.Acked != 2 || e.State != element.Erased {
					t.Errorf("erased: %+v", e)
				}
				return
			}
			s.move(token.Approve)
			if e := s.inStep(); e.Acked != 2 || e.Balance != 20000 || s.tok().State != token.Active {
				t.Errorf("approved: %+v, its token is %s", e, s.tok().State)
			}
		})
	}
}

// TestTokenThatEndsOtherwise: the end of a token is changed between a grant and its script.
// The slots that the element makes are those that were granted, which it could not pay with
// otherwise without being taken for a forger; or it is given none.
func TestTokenThatEndsOtherwise(t *testing.T) {
	h := elementKeys(t)
	for by, raised := range map[time.Duration]bool{2 * time.Hour: true, 0: true, -2 * time.Hour: false} {
		t.Run(by.String(), func(t *testing.T) {
			s := newStand(t, h)
			if more, err := s.round(); err != nil || !more {
				t.Fatalf("issuing: %v, %v", more, err)
			}
			s.cuts.n = 3 // the script of the grant
			if _, err := s.round(); !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			s.until(s.tok().NotAfter.Add(by))
			c, err := s.Carry(t.Context(), server, s.id, nil)
			if err != nil || (c.Script != nil) != raised {
				t.Fatalf("a script: %v, %v", c.Script != nil, err)
			}
			if !raised {
				return
			}
			l, err := message.ParseLimit(c.Script[14 : len(c.Script)-16])
			if err != nil {
				t.Fatal(err)
			}
			if uds, err := l.UDs(version); err != nil || !slices.Equal(uds, s.cuts.grant.Slots) || l.Credential.NotAfter.After(s.tok().NotAfter) {
				t.Errorf("until %v, of a token until %v: %v\n%v\nwere granted", l.Credential.NotAfter, s.tok().NotAfter, uds, s.cuts.grant.Slots)
			}
		})
	}
}
