package account

import (
	"context"
	"slices"
	"time"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Errors of wallets.
var (
	// ErrNoWallet reports a wallet that there is not, or that is not the caller's.
	ErrNoWallet = fault.New(fault.WalletUnknown, "no such wallet")
	// ErrState reports what a wallet cannot do, being suspended, closed or not empty.
	ErrState = fault.New(fault.WalletState, "the wallet's state does not allow that")
	// ErrReserved reports money that is asked for and held for slots.
	ErrReserved = fault.New(fault.FundsReserved, "the money is held for offline payments")
	// ErrDevice reports a device to which no token of the wallet can be bound, for good.
	ErrDevice = fault.New(fault.Malformed, "the wallet has no such device: enrol it for this wallet, and bind the token to it then")
	// ErrBound reports a token that is bound already, elsewhere.
	ErrBound = fault.New(fault.TokenState, "the token belongs to another wallet or device")
)

// Hold is why a wallet is held back.
type Hold string

// Holds.
const (
	HoldPIN    Hold = "PIN"    // wrong PINs
	HoldRisk   Hold = "RISK"   // what detection found
	HoldCharge Hold = "CHARGE" // what it owes could not be charged
)

// Wallet is one wallet and its agreements. Its account has the same id.
type Wallet struct {
	ID        token.WalletID
	Requestor token.Requestor
	Client    string // id of the client that opened it
	State     WalletState
	Holds     []Hold       // why it is RESTRICTED or SUSPENDED
	RealName  bool         // its holder is known and can owe
	Card      bool         // a card is bound that debts are charged to
	Allowance token.Amount // how much its holder may owe at a time
	Quota     token.Amount // how much of that may be lent in any [QuotaDays]
	// Limit and Ceiling are what the last sync's device was allowed: what a fall
	// of the account is measured by.
	Limit, Ceiling token.Amount
	OpenedAt       time.Time
	ChangedAt      time.Time // of State
	Revision       int64     // grows with every change
}

// Bounds of agreements, in fen.
const (
	maxAllowance token.Amount = 5000
	defaultQuota token.Amount = 20000
)

// QuotaDays is the time over which [Wallet.Quota] bounds credit.
const QuotaDays = 30 * 24 * time.Hour

// restrict makes w RESTRICTED for one more reason; what is held back harder stays. A
// reason that a right PIN ends begins anew, though another one restricts w already: the
// PIN that was given between them ends neither.
func (w *Wallet) restrict(h Hold, at time.Time) {
	if w.State == WalletActive || w.State == WalletRestricted && h != HoldCharge && at.After(w.ChangedAt) {
		w.State, w.ChangedAt = WalletRestricted, at
	}
	w.hold(h)
}

// suspend makes w SUSPENDED.
func (w *Wallet) suspend(h Hold, at time.Time) {
	if w.State == WalletActive || w.State == WalletRestricted {
		w.State, w.ChangedAt = WalletSuspended, at
	}
	w.hold(h)
}

func (w *Wallet) hold(h Hold) {
	if w.State != WalletClosed && !slices.Contains(w.Holds, h) {
		w.Holds = append(w.Holds, h)
	}
}

// free makes w ACTIVE again.
func (w *Wallet) free(at time.Time) { w.State, w.Holds, w.ChangedAt = WalletActive, nil, at }

// Settled lets go of a restriction because what was owed is paid.
func (w *Wallet) Settled(at time.Time) {
	w.Holds = slices.DeleteFunc(w.Holds, func(h Hold) bool { return h == HoldCharge })
	if w.State == WalletRestricted && len(w.Holds) == 0 {
		w.free(at)
	}
}

// Credits reports whether w may owe anything at all. Credit that was given before
// its card was unbound may still be used: the holder is known.
func (w Wallet) Credits() bool { return w.RealName }

// Funds is what stands behind the slots of a wallet at a moment.
type Funds struct {
	Wallet   Wallet
	Balances ledger.Balances
	Lots     []*Lot       // all that may still pay, or still hold something
	Lent     token.Amount // overdraft in the last [QuotaDays], paid back or not
	Now      time.Time
}

// Credit is what the holder may still come to owe: of allowance and quota, what is
// neither lent nor promised to slots that can still pay.
func (f Funds) Credit() token.Amount {
	w := f.Wallet
	if !w.RealName || !w.Card || w.State != WalletActive {
		return 0
	}
	var held token.Amount
	for _, l := range f.Lots {
		if !l.Target().Free {
			held += l.Credit()
		}
	}
	left := missing(w.Allowance, held+token.Amount(f.Balances.Due))
	return min(left, missing(w.Quota, held+f.Lent))
}

// Authority is what slots can still cost, the sum of their caps: those of one token or,
// for "", of all.
func (f Funds) Authority(ref token.Ref) (sum token.Amount) {
	for _, l := range f.Lots {
		if (ref == "" || l.Ref == ref) && l.Authority(f.Now) {
			sum += l.Cap()
		}
	}
	return sum
}

// live sums up the caps of a token's live slots, and counts them by kind.
func (f Funds) live(ref token.Ref) (sum token.Amount, kinds map[SlotKind]int, n int) {
	kinds = make(map[SlotKind]int)
	for _, l := range f.Lots {
		if l.Ref == ref && l.Live(f.Now) {
			sum += l.Cap()
			kinds[SlotKind{l.UD.Class, l.Cap()}]++
			n++
		}
	}
	return sum, kinds, n
}

// Limit is how much the live slots of a token may come to together: the least of what
// its tier allows one token, of what the tier leaves it of the wallet's ceiling, and of
// what there is money or credit for. Slots that the phone threw away count against the
// ceiling like those of other tokens, because it cannot prove that it did.
func (f Funds) Limit(ref token.Ref, t Terms) token.Amount {
	live, _, _ := f.live(ref)
	others := f.Authority("") - live
	funded := token.Amount(f.Balances.Available) + live + f.Credit()
	return min(t.Limit, missing(t.Ceiling, others), funded)
}

// Refill lists the slots that a token may be given beside those it has, in the
// order of use, and what is reserved for each. Live slots are kept, so asking
// again without having used any gives nothing.
func (f Funds) Refill(ref token.Ref, t Terms) (kinds []SlotKind, held []token.Amount) {
	limit := f.Limit(ref, t)
	live, have, n := f.live(ref)
	money := token.Amount(f.Balances.Available)
	for _, k := range t.Layout {
		if have[k] > 0 { // this place of the layout is filled
			have[k]--
			continue
		}
		if n >= len(t.Layout) || live+k.Cap > limit {
			continue
		}
		part := min(money, k.Cap)
		kinds, held = append(kinds, k), append(held, part)
		money, live, n = money-part, live+k.Cap, n+1
	}
	return kinds, held
}

// sum is the balances of f as callers see them.
func (f Funds) sum(ref token.Ref) Balances {
	live, _, n := f.live(ref)
	b := f.Balances
	return Balances{Available: token.Amount(b.Available), Reserve: token.Amount(b.Reserve), Due: token.Amount(b.Due),
		Authority: f.Authority(""), Remaining: live, Count: n}
}

// thresholds say when the phone should sync next.
func (f Funds) thresholds(t Terms, notAfter time.Time) Thresholds {
	out := Thresholds{SlotsLeft: min(4, len(t.Layout)/2), Remaining: t.Limit * 3 / 10}
	if !notAfter.IsZero() {
		out.Before = notAfter.Add(-6 * time.Hour)
	}
	return out
}

// PINTries is what the wallet's store knows of PINs that were entered online.
type PINTries interface {
	// Since returns when the right PIN was last given online, or the zero time, and
	// how many wrong ones were given online since.
	Since(ctx context.Context, w token.WalletID) (lastSuccess time.Time, wrong int, err error)
}

// Freshness is what the deny list knows of its versions.
type Freshness interface {
	// Fresh reports whether a terminal that held a version at the moment of a tap
	// held what it could be expected to hold.
	Fresh(ctx context.Context, version uint64, at time.Time) (bool, error)
}
