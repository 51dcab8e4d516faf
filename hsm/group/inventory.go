package group

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Held is what one token holds.
type Held struct {
	Name string
	Keys []keyref.Info
}

// Inventory is [hsm.Token.Inventory] of every token that is up, brought
// together by [Merge].
func (g *Group) Inventory(ctx context.Context) ([]keyref.Info, error) {
	if len(g.members) == 1 {
		return on(ctx, g, call{name: "inventory"}, func(ctx context.Context, t *hsm.Token) ([]keyref.Info, error) { return t.Inventory(ctx) })
	}
	var all []Held
	for _, m := range g.members {
		if !m.up.Load() {
			continue
		}
		list, err := m.token.Load().Inventory(ctx)
		if err != nil && fault.KindOf(err) == fault.HSMUnavailable && ctx.Err() == nil {
			m.suspect()
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("token %s of the HSM: %w", m.Name, err)
		}
		all = append(all, Held{m.Name, list})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("listing the keys: %w: no token answers", hsm.ErrUnavailable)
	}
	return Merge(all...), nil
}

// Merge brings together what several tokens hold, in the order of labels. It
// says of each key which tokens hold it, and flags one that is not in all of
// them, or has another check value in one than in those before.
func Merge(all ...Held) []keyref.Info {
	at, of := map[keyref.Ref]int{}, map[keyref.Ref]string{} // of: whose check value it is, if not the first token's
	var list []keyref.Info
	for _, h := range all {
		for _, k := range h.Keys {
			i, ok := at[k.Ref]
			if !ok {
				i = len(list)
				at[k.Ref] = i
				list = append(list, k)
			}
			one := &list[i]
			one.Tokens = append(one.Tokens, h.Name)
			switch {
			case one.Flag != "":
			case k.Flag != "":
				one.Flag = fmt.Sprintf("token %s: %s", h.Name, k.Flag)
			case !sameCheck(one.Check, k.Check):
				one.Flag = fmt.Sprintf("it is another key in token %s than in token %s", h.Name, cmp.Or(of[k.Ref], one.Tokens[0]))
			case one.Check == nil:
				one.Check, of[k.Ref] = k.Check, h.Name
			}
		}
	}
	for i := range list {
		for _, h := range all {
			if list[i].Flag == "" && !slices.Contains(list[i].Tokens, h.Name) {
				list[i].Flag = fmt.Sprintf("token %s does not hold it", h.Name)
			}
		}
	}
	slices.SortFunc(list, func(a, b keyref.Info) int { return cmp.Compare(a.Ref.Label(), b.Ref.Label()) })
	return list
}

func sameCheck(a, b *keyref.CheckValue) bool { return a == nil || b == nil || *a == *b }
