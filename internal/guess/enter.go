package guess

import (
	"cmp"
	"context"
	"slices"
)

// Abreast is how many checks of one thing a caller may have under way in this
// process. Each process but one may judge as many guesses beyond a bound, for it
// does not know what others have under way.
const Abreast = 4

// fellows is how many processes may take part of what is left of all names, at the same
// moment, without more being judged than are left.
const fellows = 5

// Enter waits until a caller may show so many MACs of each of some things: until what
// it has under way here could all be wrong and no bound were passed. Who has little
// under way, or one thing alone, does not wait. leave has to be called when what did
// not hold is counted. What has one [Name] has one key here; nothing is kept of keys.
func (g *Guard) Enter(ctx context.Context, client string, things map[string]int) (s Standing, leave func(), err error) {
	if g == nil {
		return Standing{}, func() {}, nil
	}
	shares := make([]Share, 1, 1+len(things))
	shares[0] = Share{client, 1, MaxAll / fellows}
	for thing, n := range things {
		shares = append(shares, Share{of(client, thing), min(n, Max), Abreast})
	}
	if len(shares) > 2 {
		slices.SortFunc(shares, func(a, b Share) int { return cmp.Compare(a.Key, b.Key) })
	}
	leave, err = g.lanes.Enter(ctx, shares, func(ctx context.Context) (func(int) int, error) {
		var err error
		s, err = g.enters(ctx, client, shares)
		return s.room, err
	})
	return s, leave, err
}

// of is the key of a thing that a caller shows something of. It sorts after the
// caller's own.
func of(client, thing string) string { return client + "\x00" + thing }

// enters looks how a caller stands, and first counts what could not be counted before.
func (g *Guard) enters(ctx context.Context, client string, shares []Share) (Standing, error) {
	if err := g.debts.Pay(ctx, shares); err != nil {
		return Standing{}, err
	}
	return g.Standing(ctx, client)
}

// room is how much more may be wrong: of all names, which come first, and of one.
// It takes the name that most was wrong of, for nobody knows names without the HSM. Of
// all names other processes may take as much now; a few may always be, as of one name.
func (s Standing) room(i int) int {
	if i == 0 {
		left := MaxAll - s.Total
		return max(left/fellows, min(left, Abreast))
	}
	return Max - s.Most
}
