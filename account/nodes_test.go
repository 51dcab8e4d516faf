package account_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// shown is one record, and under which name it is uploaded.
type shown struct {
	name string
	tap  account.Tap
}

// story is what readers have to tell of a wallet: rides, an altered copy, a slot that
// paid twice, a refusal after the fact, a record under two names, a wrong PIN.
func (l *walletLab) story(tok token.Token, slots []credential.UD) (all []shown) {
	begun := l.vault.Clock.Now()
	at := func(seconds int, terminal byte, amount token.Amount) func(*account.Tap) {
		return func(x *account.Tap) {
			x.At = cryptogram.DateTimeOf(begun.Add(time.Duration(seconds) * time.Second).In(shanghai))
			x.Terminal, x.Amount, x.Rand[2] = [6]byte{0, 0, 0, 0, 0, terminal}, amount, byte(seconds)
		}
	}
	for i := range 6 {
		all = append(all, shown{"gate-7", l.ride(tok, slots[i], at(8*i, 7, token.Amount(200+i)))})
	}
	copied := all[1].tap
	copied.TAC[0] ^= 1
	failed := l.ride(tok, slots[6], at(64, 7, 300))
	failed.Failed = true
	return append(all, shown{"gate-7", copied}, shown{"gate-7", failed}, shown{"gate-8", all[4].tap},
		shown{"gate-8", l.ride(tok, slots[0], at(72, 8, 700))}, shown{"gate-8", l.ride(tok, slots[2], at(74, 9, 100))},
		shown{"gate-8", wrong(l.ride(tok, slots[7], at(90, 8, 250)))})
}

// TestTwoNodesAtOnce: readers whose uploads break off, are repeated, overlap and go to two
// nodes at once come to what one node makes of them one by one: no record is lost or
// counted twice, no money moves twice, and what is found of a copied phone is the same.
func TestTwoNodesAtOnce(t *testing.T) {
	l := walletLabOn(t, storetest.Open(t, storetest.Postgres(t)(t)), hsmtest.New(t, hsmtest.Options{}))
	var down error
	nodes := []*account.Service{l.Service, l.ahead(0, &down)}
	random := rand.New(rand.NewPCG(5, 6))
	want := ""
	for round := range 12 {
		w := l.open(20000, account.Opening{})
		tok := l.bind(w)
		s := l.sync(w, tok.Ref, tierA)
		told := l.story(tok, s.Grant.Slots)
		if round == 0 { // one by one
			for _, x := range told {
				if _, err := l.Upload(t.Context(), by(x.name), x.name, []account.Tap{x.tap}); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			var all sync.WaitGroup
			for reader := range 4 {
				seed := random.Uint64()
				all.Go(func() { l.unreliable(nodes[reader%2], told, rand.New(rand.NewPCG(seed, 1))) })
			}
			all.Wait()
		}
		for _, n := range nodes {
			if _, err := n.Redo(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		l.invariants()
		// A copy that comes before what it is a copy of is a wrong PIN as long as it stands
		// alone: what counts is how many stand.
		signals := slices.DeleteFunc(l.signals(w), func(kind string) bool { return kind == string(detect.WrongPIN) })
		wrongPINs, err := l.WrongWindows(t.Context(), w, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		got := printed(t, l.db, w, tok.Ref) + fmt.Sprintln(signals, wrongPINs, l.wallet(w).State, l.tokenState(tok.Ref).Suspenders)
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("round %d: one by one\n%s\nat two nodes\n%s", round, want, got)
		}
	}
}

// by is a reader that uploads under a name.
func by(name string) access.Caller {
	c := gate
	c.ID, c.Terminal = name, name
	return c
}

// unreliable uploads all of told in batches, in some order, each until it was answered;
// half of the uploads are broken off somewhere.
func (l *walletLab) unreliable(node *account.Service, told []shown, random *rand.Rand) {
	told = slices.Clone(told)
	random.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
	for _, name := range []string{"gate-7", "gate-8", "gate-7"} {
		var taps []account.Tap
		for _, x := range told {
			if x.name == name {
				taps = append(taps, x.tap)
			}
		}
		for len(taps) > 0 {
			n := 1 + random.IntN(len(taps))
			l.until(random, func(ctx context.Context) error {
				_, err := node.Upload(ctx, by(name), name, taps[:n])
				return err
			})
			if n > 1 && random.IntN(2) == 0 {
				n-- // the last once more
			}
			taps = taps[n:]
		}
	}
}

// TestTwoNodesGrantOnce: a phone, its copy and an account system that ask two nodes at
// once, break off and ask again are given no more slots than one phone, hold the money
// of those once, and what happened to the account happened once.
func TestTwoNodesGrantOnce(t *testing.T) {
	l := walletLabOn(t, storetest.Open(t, storetest.Postgres(t)(t)), hsmtest.New(t, hsmtest.Options{}))
	var down error
	nodes := []*account.Service{l.Service, l.ahead(0, &down)}
	for range 8 {
		w := l.open(15000, account.Opening{})
		tok := l.bind(w)
		grants := make([]account.Settlement, 6)
		l.syncs++
		same := l.request(w, tok.Ref, tierA)
		var all sync.WaitGroup
		for i := range grants {
			all.Go(func() {
				r := same
				if i >= 4 { // copies, each with a sync of its own
					r.ID, r.Digest = fmt.Sprint(r.ID, "-", i), [32]byte{byte(i)}
				}
				random := rand.New(rand.NewPCG(uint64(l.syncs), uint64(i)))
				l.until(random, func(ctx context.Context) (err error) {
					grants[i], err = nodes[i%2].Sync(ctx, phone, r)
					return err
				})
				l.until(random, func(ctx context.Context) error {
					_, err := nodes[(i+1)%2].Happen(ctx, bank, w, account.Happening{ID: "e", Kind: account.TopUp, Amount: 100})
					return err
				})
			})
		}
		all.Wait()
		for _, g := range grants[:4] {
			if fmt.Sprint(g.Grant) != fmt.Sprint(grants[0].Grant) || g.Result != grants[0].Result {
				t.Errorf("one sync, two grants: %+v and %+v", g.Grant, grants[0].Grant)
			}
		}
		seen := map[uint16]string{}
		for _, g := range grants {
			if g.Grant == nil {
				continue
			}
			for _, ud := range g.Grant.Slots {
				if b := seen[ud.Ctr]; b != "" && b != g.Grant.BundleID {
					t.Errorf("slot %d is in two bundles", ud.Ctr)
				}
				seen[ud.Ctr] = g.Grant.BundleID
			}
		}
		f := l.funds(w)
		if f.Authority("") != tierA.Limit || f.Balances.Reserve != int64(tierA.Limit) || f.Balances.Available != 15100-int64(tierA.Limit) || len(seen) != len(f.Lots) {
			t.Errorf("slots can cost %d, %+v, %d slots handed out of %d", f.Authority(""), f.Balances, len(seen), len(f.Lots))
		}
		l.invariants()
	}
}

// until does a thing until it is answered; half of the tries are broken off somewhere.
func (l *walletLab) until(random *rand.Rand, do func(ctx context.Context) error) {
	for {
		ctx, cancel := context.WithCancel(l.t.Context())
		if random.IntN(2) == 0 {
			ctx, cancel = context.WithTimeout(l.t.Context(), time.Duration(random.IntN(20000))*time.Microsecond)
		}
		err := do(ctx)
		_, bounded := ctx.Deadline()
		cancel()
		if err == nil {
			return
		}
		if !bounded {
			l.t.Error(err)
			return
		}
	}
}
