package load_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/load"
)

// TestMeet: under one value of a card's counter a new session of the card takes the
// place of an order that nobody proved, if it orders the same for the same. Whatever
// else it orders, the order that is there stands.
func TestMeet(t *testing.T) {
	first := load.Record{Order: credit(500), ID: "ldAAAAAAAAAAAAAAAAAAAAAAAAAA", Requestor: "50110000001", State: load.Started}
	anew := func(change func(*load.Record)) load.Record {
		r := first
		r.ID, r.Rand, r.Probe = "ldBBBBBBBBBBBBBBBBBBBBBBBBBB", [4]byte{7}, [6]byte{7}
		change(&r)
		return r
	}
	same := anew(func(*load.Record) {})
	use, changed, err := load.Meet([]load.Record{first}, same)
	if err != nil || !changed || use.ID != first.ID || use.Rand != same.Rand || use.Probe != same.Probe {
		t.Errorf("a new session: %+v, %v, %v", use, changed, err)
	}
	for name, other := range map[string]load.Record{
		"kind":      anew(func(r *load.Record) { r.Kind = load.Debit }),
		"account":   anew(func(r *load.Record) { r.Account = yours }),
		"amount":    anew(func(r *load.Record) { r.Amount++ }),
		"limit":     anew(func(r *load.Record) { r.NewLimit[2]++ }),
		"type":      anew(func(r *load.Record) { r.Type = cryptogram.LoadDeposit }),
		"requestor": anew(func(r *load.Record) { r.Requestor = "50110000002" }),
	} {
		if use, changed, err := load.Meet([]load.Record{first}, other); !errors.Is(err, load.ErrCounter) || changed || use.ID != first.ID {
			t.Errorf("another %s: %+v, %v, %v", name, use, changed, err)
		}
	}
	for s, want := range map[load.State]error{load.Settled: load.ErrCounter, load.Suspense: load.ErrCounter, load.Reversed: nil, load.Disputed: nil} {
		known := first
		known.State = s
		use, changed, err := load.Meet([]load.Record{known}, same)
		if !errors.Is(err, want) || changed != (want == nil) || changed && use.ID != same.ID {
			t.Errorf("after one that is %s: %+v, %v, %v", s, use, changed, err)
		}
	}
	if p := (load.Order{Kind: load.Debit, Type: cryptogram.LoadPurse}).Purse(); p != load.Deposit {
		t.Errorf("a card gives back of purse %d", p)
	}
}

// TestDecisionRepeats: what is decided once more has to be the same in every word.
func TestDecisionRepeats(t *testing.T) {
	first := load.Decision{Load: "ldAAAAAAAAAAAAAAAAAAAAAAAAAA", In: load.Suspense, Verdict: load.Reverse, Reason: "read at the desk", Evidence: "case-7/2"}
	repeats := func(change func(*load.Decision)) (bool, error) {
		d := first
		change(&d)
		return d.Repeats([]load.Decision{first})
	}
	if again, err := repeats(func(d *load.Decision) { d.By = "another" }); !again || err != nil {
		t.Errorf("the same: %v, %v", again, err)
	}
	for name, change := range map[string]func(*load.Decision){
		"order":    func(d *load.Decision) { d.Load = "ldBBBBBBBBBBBBBBBBBBBBBBBBBB" },
		"verdict":  func(d *load.Decision) { d.Verdict = load.Settle },
		"reason":   func(d *load.Decision) { d.Reason = "read again" },
		"evidence": func(d *load.Decision) { d.Evidence = "case-7/3" },
	} {
		if again, err := repeats(change); again || !errors.Is(err, load.ErrDecided) {
			t.Errorf("another %s: %v, %v", name, again, err)
		}
	}
	if again, err := repeats(func(d *load.Decision) { d.In = load.Disputed }); again || err != nil {
		t.Errorf("in another state: %v, %v", again, err)
	}
}
