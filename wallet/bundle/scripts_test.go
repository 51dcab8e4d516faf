package bundle

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

// kept is a journal that fails from some record on, after it has taken effect or before.
type kept struct {
	ctrs []uint16
	room int
	late bool
}

var errFull = errors.New("no space left")

func (k *kept) Commit(r Record) error {
	full := len(k.ctrs) >= k.room
	if !full || k.late {
		k.ctrs = append(k.ctrs, r.Ctr)
	}
	if full {
		return errFull
	}
	return nil
}

func (k *kept) Records() (all []Record, err error) {
	for _, ctr := range k.ctrs {
		all = append(all, Record{Ctr: ctr})
	}
	return all, nil
}

// two are a card of two bundles with slots 1 to 4 and 11 to 12, each of 3 yuan, and
// their script keys.
func two(t *testing.T) (*Card, *kept, [2]payload.Script, [2][payload.KeySize]byte) {
	t.Helper()
	j := &kept{room: 100}
	keys := [2][payload.KeySize]byte{{1}, {2}}
	c := &Card{cfg: Config{Journal: j}, spent: map[uint16]bool{}}
	var to [2]payload.Script
	for i, ctrs := range [][]uint16{{1, 2, 3, 4}, {11, 12}} {
		to[i] = payload.Script{Bundle: [16]byte{byte(i + 1)}, Seq: 1}
		of := &issue{id: to[i].Bundle, script: keys[i]}
		c.issues = append(c.issues, of)
		for _, ctr := range ctrs {
			c.slots = append(c.slots, slot{Slot: payload.Slot{UD: credential.UD{Ctr: ctr, Cap: uint16(300 / credential.Unit)}}, of: of})
		}
	}
	return c, j, to, keys
}

func live(c *Card) (ctrs []uint16) {
	for _, s := range c.slots {
		ctrs = append(ctrs, s.UD.Ctr)
	}
	return ctrs
}

func obey(c *Card, s payload.Script, key [payload.KeySize]byte) error {
	text := payload.MarshalScript(s, key)
	return c.Obey(text[:])
}

// TestScriptsTakeSlots: a script takes the slots of its own bundle that it names, the
// last ones first, and no others; all of them are in the journal.
func TestScriptsTakeSlots(t *testing.T) {
	for name, c := range map[string]struct {
		verb        payload.Verb
		first, last uint16
		limit       token.Amount
		stays       []uint16
	}{
		"erase one":             {payload.EraseSlots, 2, 2, 0, []uint16{1, 3, 4, 11, 12}},
		"erase some":            {payload.EraseSlots, 2, 3, 0, []uint16{1, 4, 11, 12}},
		"erase beyond the ends": {payload.EraseSlots, 0, 12, 0, []uint16{11, 12}},
		"erase what is not":     {payload.EraseSlots, 5, 10, 0, []uint16{1, 2, 3, 4, 11, 12}},
		"as much as there is":   {payload.LowerLimit, 0, 0, 1200, []uint16{1, 2, 3, 4, 11, 12}},
		"a fen less":            {payload.LowerLimit, 0, 0, 1199, []uint16{1, 2, 3, 11, 12}},
		"three slots":           {payload.LowerLimit, 0, 0, 900, []uint16{1, 2, 3, 11, 12}},
		"less than two slots":   {payload.LowerLimit, 0, 0, 599, []uint16{1, 11, 12}},
		"nothing":               {payload.LowerLimit, 0, 0, 0, []uint16{11, 12}},
		"block":                 {payload.Block, 0, 0, 0, []uint16{11, 12}},
	} {
		t.Run(name, func(t *testing.T) {
			card, j, to, keys := two(t)
			all := live(card)
			s := to[0]
			s.Verb, s.First, s.Last, s.Limit = c.verb, c.first, c.last, c.limit
			if err := obey(card, s, keys[0]); err != nil || !slices.Equal(live(card), c.stays) {
				t.Fatalf("%v stay, want %v; %v", live(card), c.stays, err)
			}
			for _, ctr := range all {
				gone := !slices.Contains(c.stays, ctr)
				if slices.Contains(j.ctrs, ctr) != gone || card.spent[ctr] != gone {
					t.Errorf("slot %d: journal %v, spent %v", ctr, j.ctrs, card.spent[ctr])
				}
			}
		})
	}
}

// TestScriptIsObeyedOnce: a number that was obeyed, and those before it, are answered
// and do nothing; the other bundle counts for itself.
func TestScriptIsObeyedOnce(t *testing.T) {
	card, _, to, keys := two(t)
	s := to[0]
	s.Verb, s.Seq, s.First, s.Last = payload.EraseSlots, 5, 1, 1
	for _, next := range []struct {
		seq   uint32
		slot  uint16
		stays []uint16
	}{{5, 1, []uint16{2, 3, 4, 11, 12}}, {5, 2, []uint16{2, 3, 4, 11, 12}}, {4, 2, []uint16{2, 3, 4, 11, 12}}, {6, 2, []uint16{3, 4, 11, 12}}} {
		s.Seq, s.First, s.Last = next.seq, next.slot, next.slot
		if err := obey(card, s, keys[0]); err != nil || !slices.Equal(live(card), next.stays) {
			t.Errorf("number %d: %v stay, want %v; %v", next.seq, live(card), next.stays, err)
		}
	}
	s = to[1]
	s.Verb, s.First, s.Last = payload.EraseSlots, 11, 11
	if err := obey(card, s, keys[1]); err != nil || !slices.Equal(live(card), []uint16{3, 4, 12}) {
		t.Errorf("the other bundle: %v stay, %v", live(card), err)
	}
}

// TestScriptOfAnother: a script under another bundle's key, or for another bundle, is not
// obeyed.
func TestScriptOfAnother(t *testing.T) {
	card, j, to, keys := two(t)
	for name, c := range map[string]struct {
		of  [16]byte
		key [payload.KeySize]byte
	}{"the other's key": {to[0].Bundle, keys[1]}, "nobody's key": {to[0].Bundle, [payload.KeySize]byte{9}}, "no bundle of the card": {[16]byte{9}, keys[0]}} {
		if err := obey(card, payload.Script{Verb: payload.Block, Seq: 1, Bundle: c.of}, c.key); !errors.Is(err, ErrSealed) || len(live(card)) != 6 || len(j.ctrs) != 0 {
			t.Errorf("%s: %v; %v stay", name, err, live(card))
		}
	}
}

// TestScriptIsCutOff: what a script takes is gone also when the journal fails, which may
// have kept it or not: a slot that pays after that makes its phone a liar. The journal
// knows all of them when the script was obeyed in the end, and the service hears of each
// once.
func TestScriptIsCutOff(t *testing.T) {
	for name, late := range map[string]bool{"before it took effect": false, "after it took effect": true} {
		t.Run(name, func(t *testing.T) {
			card, j, to, keys := two(t)
			s := to[0]
			s.Verb = payload.Block
			j.room, j.late = 1, late
			for range 2 {
				if err := obey(card, s, keys[0]); !errors.Is(err, errFull) || !slices.Equal(live(card), []uint16{11, 12}) {
					t.Errorf("cut off: %v; %v stay", err, live(card))
				}
			}
			j.room = 100
			if err := obey(card, s, keys[0]); err != nil || !slices.Equal(live(card), []uint16{11, 12}) {
				t.Errorf("again: %v; %v stay", err, live(card))
			}
			reports, err := card.reports(nil)
			if err != nil {
				t.Fatal(err)
			}
			said := map[uint16]payload.Status{}
			for _, r := range reports {
				if _, twice := said[r.Ctr]; twice {
					t.Errorf("slot %d is told of twice", r.Ctr)
				}
				said[r.Ctr] = r.Status
			}
			want := map[uint16]payload.Status{1: payload.Discarded, 2: payload.Discarded, 3: payload.Discarded, 4: payload.Discarded, 11: payload.Live, 12: payload.Live}
			if !maps.Equal(said, want) {
				t.Errorf("told: %v, journal %v", said, j.ctrs)
			}
		})
	}
}

// TestScriptsOfOtherBundles: the service orders for every bundle of a token. A phone obeys
// what is for its own, and is done with its sync: those of another phone, or of its own
// time before it started anew, do not keep it from that. When its journal fails it is not
// done.
func TestScriptsOfOtherBundles(t *testing.T) {
	card, j, to, keys := two(t)
	j.room = 5
	const ref token.Ref = "trAAAAAAAAAAAAAAAAAAAAAAAAAA"
	p := &purse{card: card, heard: map[uint16]bool{}, asked: &SyncRequest{ID: "s"}}
	h := &Handset{purses: map[token.Ref]*purse{ref: p}}
	a := SyncAnswer{ID: "s", Scripts: [][]byte{make([]byte, payload.ScriptSize), {1}}}
	for i, key := range [][payload.KeySize]byte{{9}, keys[0], keys[1]} {
		s := payload.Script{Verb: payload.Block, Seq: 1, Bundle: [16]byte{9}}
		if i > 0 {
			s.Bundle = to[i-1].Bundle
		}
		text := payload.MarshalScript(s, key)
		a.Scripts = append(a.Scripts, text[:])
	}
	if err := h.Apply(ref, a); !errors.Is(err, errFull) || len(live(card)) != 0 || p.asked == nil {
		t.Errorf("without room in the journal: %v; %v stay", err, live(card))
	}
	j.room = 100
	if err := h.Apply(ref, a); err != nil || p.asked != nil || len(j.ctrs) != 6 {
		t.Errorf("again: %v; journal %v", err, j.ctrs)
	}
}
