package account_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/wallet/credential"
)

// evidence returns random records of one slot: few proofs, few times and few
// TACs, so that copies, replays and forks are common.
func evidence(random *rand.Rand, n int) []account.Evidence {
	out := make([]account.Evidence, n)
	for i := range out {
		e := &out[i]
		e.Ref, e.TACGood = "trTEST", random.IntN(2) == 0
		e.Moment = time.Unix(int64(random.IntN(3)), 0)
		e.Tap = account.Tap{UD: credential.UD{HourExp: 1, Ctr: 5, Cap: 100, Class: credential.Medium, KeyVer: 1}, Seq: 5,
			Rand: [4]byte{byte(random.IntN(2))}, TermSeq: uint32(random.IntN(2))<<16 + uint32(random.IntN(2)), Amount: 10,
			Terminal: [6]byte{byte(e.Moment.Unix())}}
		if e.TACGood {
			e.Tap.TAC = [4]byte{1}
		}
	}
	return out
}

// standings prints a slot in the order of tap ids.
func standings(all []account.Evidence, s *account.Slot) string {
	var b strings.Builder
	for _, e := range all {
		entry, ok := s.Find(e.ID())
		fmt.Fprintln(&b, e.ID(), ok, entry.Outcome, entry.Result(), entry.Duplicate())
	}
	return b.String()
}

// TestOrderDoesNotMatter adds the same set of records in many orders, some of
// them twice, and compares what becomes of each.
func TestOrderDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		all := evidence(random, 1+random.IntN(7))
		want := ""
		for range 20 {
			var s account.Slot
			for _, i := range random.Perm(2 * len(all)) {
				_, known := s.Find(all[i%len(all)].ID())
				if added := s.Add(all[i%len(all)]); added == known {
					t.Fatalf("round %d: known %v, added %v", round, known, added)
				}
			}
			check(t, &s)
			got := standings(all, &s)
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("round %d: one order gives\n%sanother\n%s", round, want, got)
			}
		}
	}
}

// check holds a slot to its rules, in whatever order its evidence came.
func check(t *testing.T, s *account.Slot) {
	t.Helper()
	posted, good := 0, false
	var best account.Entry
	for _, e := range s.Entries {
		good = good || e.TACGood
		switch e.Outcome {
		case account.Posted:
			posted++
			best = e
		case account.Replay:
			if e.TACGood {
				t.Error("a record that the handset vouches for is called a replay")
			}
		case account.Forked:
		default:
			t.Errorf("a record stands as %q", e.Outcome)
		}
	}
	if posted != 1 {
		t.Errorf("%d records are posted", posted)
	}
	if good && !best.TACGood {
		t.Error("a record with a bad TAC is posted before one with a good TAC")
	}
	for _, e := range s.Entries {
		sameProof := e.Tap.Rand == best.Tap.Rand && uint16(e.Tap.TermSeq) == uint16(best.Tap.TermSeq)
		if !e.TACGood && sameProof && e.ID() != best.ID() && e.Outcome != account.Replay {
			t.Errorf("a copy of the posted record stands as %s", e.Outcome)
		}
	}
}

// FuzzSlot lets the fuzzer choose records and their order.
func FuzzSlot(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint8(5))
	f.Fuzz(func(t *testing.T, a, b uint64, n uint8) {
		all := evidence(rand.New(rand.NewPCG(a, b)), 1+int(n%12))
		var forth, back account.Slot
		for i := range all {
			forth.Add(all[i])
			back.Add(all[len(all)-1-i])
		}
		check(t, &forth)
		if x, y := standings(all, &forth), standings(all, &back); x != y {
			t.Errorf("forth\n%sback\n%s", x, y)
		}
	})
}
