package issuerhost_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
)

// TestValuesGuessedAtProcesses: of processes that are asked at the same moment, each
// with many guesses, all together judge no more than one. A right value in between
// costs nothing.
func TestValuesGuessedAtProcesses(t *testing.T) {
	h := newHouse(t)
	v := issuerhost.Value{Kind: issuerhost.CVV2, PAN: pan(t, panText), Expiry: "2912"}
	made, err := h.MakeValue(t.Context(), bank, v)
	if err != nil {
		t.Fatal(err)
	}
	wrong := "999"
	if made == wrong {
		wrong = "998"
	}
	processes := []*issuerhost.Service{h.Service}
	for range 3 {
		s, err := issuerhost.New(h.cfg)
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, s)
	}
	check := func(s *issuerhost.Service, shown string) error {
		return s.CheckValue(t.Context(), bank, v, shown, access.Attempt{})
	}
	if err := check(h.Service, wrong); fault.KindOf(err) != fault.Refused {
		t.Fatal(err)
	}
	for range 9 {
		for _, s := range processes {
			if err := check(s, made); err != nil {
				t.Errorf("a right value after a wrong one: %v", err)
			}
		}
	}
	var judged atomic.Int64
	var wg sync.WaitGroup
	for _, s := range processes {
		for range 20 {
			wg.Go(func() {
				switch err := check(s, wrong); fault.KindOf(err) {
				case fault.Refused:
					judged.Add(1)
				case fault.TooFast:
				default:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if judged.Load() != 4 {
		t.Errorf("%d of 80 guesses were judged after the first, 4 are allowed", judged.Load())
	}
}

// TestValuesGuessedAtOnce: who shows a hundred wrong values of a card at the same
// moment, alone and in batches, under other sequence numbers and by other names
// of the same value, learns no more than who shows them one by one.
func TestValuesGuessedAtOnce(t *testing.T) {
	h := newHouse(t)
	v := issuerhost.Value{Kind: issuerhost.CVV2, PAN: pan(t, panText), Expiry: "2912"}
	made, err := h.MakeValue(t.Context(), bank, v)
	if err != nil {
		t.Fatal(err)
	}
	guess := func(i int) issuerhost.Checked {
		shown := fmt.Sprintf("%03d", i)
		if shown == made {
			shown = "999"
		}
		x := issuerhost.Checked{Value: v, Shown: shown}
		x.PSN = fmt.Sprintf("%02d", i%100)
		if i%3 == 0 {
			x.Kind, x.Service = issuerhost.CVV, "000"
		}
		return x
	}
	var judged, other atomic.Int64
	count := func(err error) {
		switch fault.KindOf(err) {
		case fault.Refused:
			judged.Add(1)
		case fault.TooFast:
		default:
			other.Add(1)
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			x := guess(i)
			count(h.CheckValue(t.Context(), bank, x.Value, x.Shown, access.Attempt{}))
		})
	}
	wg.Go(func() {
		var batch []issuerhost.Checked
		for i := range 50 {
			batch = append(batch, guess(50+i))
		}
		items, err := h.CheckValues(t.Context(), bank, batch, access.Attempt{})
		if err != nil {
			t.Error(err)
		}
		for _, x := range items {
			count(x.Err)
		}
	})
	wg.Wait()
	if judged.Load() != 5 {
		t.Errorf("%d of 100 guesses were judged", judged.Load())
	}
	colleague := bank
	colleague.ID = "bank-2"
	if err := h.CheckValue(t.Context(), colleague, v, made, access.Attempt{}); err != nil {
		t.Errorf("another caller's check of the card: %v", err)
	}
}
