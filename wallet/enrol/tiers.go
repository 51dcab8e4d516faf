package enrol

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Terms are what a tier allows. A slot pays once, up to its cap.
type Terms struct {
	Limit   token.Amount       // caps of the live slots of one token, together; in fen
	Ceiling token.Amount       // what all slots of a wallet can still cost, together; in fen
	Layout  []account.SlotKind // class and cap of each slot of a full bundle, in the order of use
	TTL     time.Duration      // longest life of a token, see [Terms.Covers]; 1 hour to 7 days
	Express bool               // slots without PIN may be in Layout: up to three, of up to 500 fen
	Offline bool               // terminals that never hear the deny list may take them
}

// Tiers are the terms of every tier.
type Tiers map[Tier]Terms

// dayMore is how much longer than its days the window of a token may be: one that
// renews another begins up to an hour before, one asked for in the last hour of a
// service day lives the next day too, and a day on which clocks are set back has
// an hour more.
const dayMore = 2 * time.Hour

// Covers reports whether a token that is good from one moment to another lives no
// longer than a tier allows. A life of days is counted in service days: what a day's
// token is good for beside its day is not held against it.
func (t Terms) Covers(from, to time.Time) bool {
	most := t.TTL
	if most >= 24*time.Hour {
		most += dayMore
	}
	return to.Sub(from) <= most
}

// expressCap and expressSlots bound what pays without a PIN.
const (
	expressCap   token.Amount = 500
	expressSlots int          = 3
)

// DefaultTiers are the terms that hold where the configuration names no others.
func DefaultTiers() Tiers {
	equal := func(n int, most token.Amount) []account.SlotKind {
		return slices.Repeat([]account.SlotKind{{Class: credential.Medium, Cap: most}}, n)
	}
	return Tiers{
		TierSE: {Limit: 20000, Ceiling: 20000, Layout: equal(20, 1000), TTL: 7 * 24 * time.Hour, Offline: true},
		TierA:  {Limit: 10000, Ceiling: 20000, Layout: equal(10, 1000), TTL: 24 * time.Hour, Express: true, Offline: true},
		TierB:  {Limit: 5000, Ceiling: 7500, Layout: equal(5, 1000), TTL: 24 * time.Hour},
		TierC:  {},
	}
}

// Validate returns nil when every tier has terms, and no other has; when [TierC] has no
// slots; and when of the others the caps of a bundle come to no more than Limit, and
// Limit to no more than Ceiling. Otherwise its error names the tier and what is wrong.
func (ts Tiers) Validate() error {
	for _, name := range order {
		t, ok := ts[name]
		if !ok {
			return fmt.Errorf("tier %s: has no terms", name)
		}
		if err := t.validate(name); err != nil {
			return fmt.Errorf("tier %s: %w", name, err)
		}
	}
	if len(ts) != len(order) {
		return fmt.Errorf("tiers: only %v exist", order)
	}
	return nil
}

func (t Terms) validate(name Tier) error {
	var sum token.Amount
	express, kinds := 0, len(slices.Compact(slices.Clone(t.Layout)))
	for i, k := range t.Layout {
		if _, err := credential.NewUD(time.Unix(1<<31, 0), 0, k.Cap, k.Class, 1); err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		if k.Class == credential.Express {
			express++
			if !t.Express || k.Cap > expressCap || express > expressSlots {
				return fmt.Errorf("slot %d: slots without PIN are at most %d of %d fen, where they are allowed", i, expressSlots, expressCap)
			}
		}
		sum += k.Cap
	}
	switch {
	case name == TierC && (t.Limit != 0 || t.Ceiling != 0 || len(t.Layout) != 0 || t.Offline):
		return fmt.Errorf("it gets no slots")
	case name == TierC:
		return nil
	case len(t.Layout) < 1 || len(t.Layout) > payload.MaxSlots:
		return fmt.Errorf("a bundle has 1 to %d slots", payload.MaxSlots)
	case name == TierSE && kinds > payload.MaxKinds:
		return fmt.Errorf("its slots are of %d kinds in turn, and a secure element takes %d: put equal ones beside each other", kinds, payload.MaxKinds)
	case sum > t.Limit || t.Limit > t.Ceiling:
		return fmt.Errorf("caps of %d fen, a limit of %d and a ceiling of %d", sum, t.Limit, t.Ceiling)
	case t.TTL < time.Hour || t.TTL > 7*24*time.Hour:
		return fmt.Errorf("tokens live 1h to 168h")
	}
	return nil
}
