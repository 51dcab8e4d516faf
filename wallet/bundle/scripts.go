package bundle

import (
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Obey carries out a script whose MAC holds under the script key of one of the
// card's bundles. Each number is obeyed once. Slots that it takes are gone whatever the
// journal says, and are in it before Obey returns nil, so they do not come back with a
// restart.
func (c *Card) Obey(script []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.issues {
		o, err := payload.ParseScript(script, &i.script)
		if err != nil || o.Bundle != i.id {
			continue
		}
		if o.Seq <= i.orders {
			return nil
		}
		for _, ctr := range c.condemned(i, o) {
			c.erase(ctr)
			i.owed = append(i.owed, ctr)
		}
		for ; len(i.owed) > 0; i.owed = i.owed[1:] {
			if err := c.cfg.Journal.Commit(Record{Ctr: i.owed[0]}); err != nil {
				return fmt.Errorf("throwing a slot away: %w", err)
			}
		}
		i.orders = o.Seq
		return nil
	}
	return fmt.Errorf("%w: a script for none of its bundles", ErrSealed)
}

// condemned lists the slots of one bundle that an order takes.
func (c *Card) condemned(i *issue, o payload.Script) (ctrs []uint16) {
	var left token.Amount
	for _, s := range slices.Backward(c.slots) {
		if s.of == i {
			left += s.UD.Limit()
		}
	}
	for _, s := range slices.Backward(c.slots) {
		take := false
		switch {
		case s.of != i:
		case o.Verb == payload.EraseSlots:
			take = s.UD.Ctr >= o.First && s.UD.Ctr <= o.Last
		case o.Verb == payload.LowerLimit:
			take = left > o.Limit
		case o.Verb == payload.Block:
			take = true
		}
		if take {
			ctrs, left = append(ctrs, s.UD.Ctr), left-s.UD.Limit()
		}
	}
	return ctrs
}

// reports is the card's word on every slot it was given, but for those that the
// service has heard of already.
func (c *Card) reports(heard map[uint16]bool) ([]payload.Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recs, err := c.cfg.Journal.Records()
	if err != nil {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	out, said := []payload.Report{}, map[uint16]bool{}
	for _, r := range recs {
		again := said[r.Ctr] // a journal that failed may have kept its record, and was told once more
		said[r.Ctr] = true
		switch {
		case again, heard[r.Ctr]:
		case r.Type == 0:
			out = append(out, payload.Report{Ctr: r.Ctr, Status: payload.Discarded})
		case r.Sealed != "":
			out = append(out, payload.Report{Ctr: r.Ctr, Status: payload.Used, Tap: r.Sealed})
		}
	}
	for i := range c.slots {
		out = append(out, payload.Report{Ctr: c.slots[i].UD.Ctr, Status: payload.Live})
	}
	return out[:min(len(out), payload.MaxReports)], nil
}
