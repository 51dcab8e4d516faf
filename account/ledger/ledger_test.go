package ledger_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
)

const wallet = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

func move(from, to ledger.Account, fen token.Amount) ledger.Transfer {
	return ledger.Transfer{Purpose: "test", Key: "k", Wallet: wallet, From: from, To: to, Amount: fen}
}

// TestApply: what a transfer does to the balances of its wallet.
func TestApply(t *testing.T) {
	start := ledger.Balances{Available: 100, Reserve: 50, Due: 10, CardLoad: 5}
	for _, tc := range []struct {
		name string
		t    ledger.Transfer
		want ledger.Balances
		err  error
	}{
		{"top-up", move(ledger.ExternalCash, ledger.Available, 7), ledger.Balances{107, 50, 10, 5}, nil},
		{"all of it reserved", move(ledger.Available, ledger.Reserve, 100), ledger.Balances{0, 150, 10, 5}, nil},
		{"a fen more", move(ledger.Available, ledger.Reserve, 101), ledger.Balances{}, ledger.ErrFunds},
		{"paid from the reserve", move(ledger.Reserve, ledger.OperatorPayable, 50), ledger.Balances{100, 0, 10, 5}, nil},
		{"more than the reserve", move(ledger.Reserve, ledger.OperatorPayable, 51), ledger.Balances{}, ledger.ErrFunds},
		{"lent", move(ledger.Due, ledger.OperatorPayable, 20), ledger.Balances{100, 50, 30, 5}, nil},
		{"paid back", move(ledger.Available, ledger.Due, 10), ledger.Balances{90, 50, 0, 5}, nil},
		{"more than was lent", move(ledger.Available, ledger.Due, 11), ledger.Balances{}, ledger.ErrFunds},
		{"on its way to a card", move(ledger.Available, ledger.CardLoad, 5), ledger.Balances{95, 50, 10, 10}, nil},
		{"more than is on its way", move(ledger.CardLoad, ledger.ExternalCash, 6), ledger.Balances{}, ledger.ErrFunds},
		{"between shared accounts", move(ledger.FraudLoss, ledger.OperatorPayable, 1000), start, nil},
	} {
		got, err := start.Apply(tc.t)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

// TestFull: no account comes near to where its number would turn round.
func TestFull(t *testing.T) {
	last := ledger.Balances{Available: math.MaxInt64/2 - 1, CardLoad: 1}
	if got, err := last.Apply(move(ledger.CardLoad, ledger.Available, 1)); err != nil || got.Available != math.MaxInt64/2 {
		t.Errorf("the most that an account holds: %+v, %v", got, err)
	}
	full := ledger.Balances{Available: math.MaxInt64 / 2, CardLoad: 1}
	if got, err := full.Apply(move(ledger.CardLoad, ledger.Available, 1)); !errors.Is(err, ledger.ErrFunds) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCash: what moves inside a wallet leaves its cash view alone.
func TestCash(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	b, outside := ledger.Balances{}, int64(0)
	all := append(append([]ledger.Account{}, ledger.OfWallet...), ledger.Shared...)
	for range 20000 {
		m := move(all[random.IntN(len(all))], all[random.IntN(len(all))], token.Amount(1+random.IntN(300)))
		if m.Check() != nil {
			continue
		}
		next, err := b.Apply(m)
		if err != nil {
			continue
		}
		b = next
		for _, a := range ledger.Shared {
			if m.From == a {
				outside -= int64(m.Amount)
			}
			if m.To == a {
				outside += int64(m.Amount)
			}
		}
		if b.Cash()+outside != 0 {
			t.Fatalf("%+v and %d outside after %+v", b, outside, m)
		}
	}
}

func TestCheck(t *testing.T) {
	good := move(ledger.Available, ledger.Reserve, 1)
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, a := range append(append([]ledger.Account{}, ledger.OfWallet...), ledger.Shared...) {
		if a == ledger.Reserve {
			continue
		}
		for _, good := range []ledger.Transfer{move(a, ledger.Reserve, 1), move(ledger.Reserve, a, 1)} {
			if err := good.Check(); err != nil {
				t.Errorf("from %s to %s: %v", good.From, good.To, err)
			}
		}
	}
	for name, spoil := range map[string]func(*ledger.Transfer){
		"nothing moved": func(t *ledger.Transfer) { t.Amount = 0 },
		"no purpose":    func(t *ledger.Transfer) { t.Purpose = "" },
		"no key":        func(t *ledger.Transfer) { t.Key = "" },
		"no wallet":     func(t *ledger.Transfer) { t.Wallet = "" },
		"same account":  func(t *ledger.Transfer) { t.To = t.From },
		"no account":    func(t *ledger.Transfer) { t.From = "ELSEWHERE" },
		"to no account": func(t *ledger.Transfer) { t.To = "ELSEWHERE" },
		"negative":      func(t *ledger.Transfer) { t.N = -1 },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Check(); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestID: every part of its name tells transfers apart, and nothing else does.
func TestID(t *testing.T) {
	base := move(ledger.Available, ledger.Reserve, 1)
	seen := map[string]string{base.ID(): "base"}
	for name, change := range map[string]func(*ledger.Transfer){
		"purpose": func(t *ledger.Transfer) { t.Purpose = "other" }, "key": func(t *ledger.Transfer) { t.Key = "l" },
		"ctr": func(t *ledger.Transfer) { t.Ctr = 1 }, "n": func(t *ledger.Transfer) { t.N = 1 },
		"boundary": func(t *ledger.Transfer) { t.Purpose, t.Key = "test\x00", "" },
	} {
		other := base
		change(&other)
		if was, dup := seen[other.ID()]; dup {
			t.Errorf("%s has the id of %s", name, was)
		}
		seen[other.ID()] = name
	}
	same := base
	same.Amount, same.To = 9, ledger.CardLoad
	if same.ID() != base.ID() {
		t.Error("what a transfer moves is no part of its name")
	}
}
