package load

import (
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
)

// State is how far an order has come.
type State string

// States.
const (
	Started  State = "STARTED"  // the order was given out: the money is on its way
	Settled  State = "SETTLED"  // the card obeyed
	Reversed State = "REVERSED" // the card will never obey
	Suspense State = "SUSPENSE" // the card shows what neither explains: somebody has to look
	Disputed State = "DISPUTED" // it was reversed, and yet the card proved that it obeyed
)

// States lists every state.
var States = []State{Started, Settled, Reversed, Suspense, Disputed}

// Open reports whether somebody has to look at an order in state s.
func (s State) Open() bool { return s == Suspense || s == Disputed }

// over reports whether an order in state s was taken back, so that the card's
// counter may serve another one.
func (s State) over() bool { return s == Reversed || s == Disputed }

// Finding is what was learned of an order from its card.
type Finding string

// Findings.
const (
	Proven  Finding = "proven"  // its TAC, or MAC3, of this order
	Stood   Finding = "stood"   // counter one further, balance as it should be
	Undone  Finding = "undone"  // counter unchanged, the order's session over
	Unclear Finding = "unclear" // anything else
)

// Findings lists every finding.
var Findings = []Finding{Proven, Stood, Undone, Unclear}

// step is what a finding leads to: the next state, and which money moves.
type step struct {
	next State
	move string
}

// steps holds every pair of state and finding. After a reversal the same counter
// may serve another order, so what the card shows later says nothing of this one;
// a proof names this one.
var steps = map[State]map[Finding]step{
	Started:  {Proven: {Settled, done}, Stood: {Settled, done}, Undone: {Reversed, back}, Unclear: {Suspense, hang}},
	Settled:  {Proven: {Settled, ""}, Stood: {Settled, ""}, Undone: {Settled, ""}, Unclear: {Settled, ""}},
	Reversed: {Proven: {Disputed, lost}, Stood: {Reversed, ""}, Undone: {Reversed, ""}, Unclear: {Reversed, ""}},
	Suspense: {Proven: {Settled, freed}, Stood: {Suspense, ""}, Undone: {Suspense, ""}, Unclear: {Suspense, ""}},
	Disputed: {Proven: {Disputed, ""}, Stood: {Disputed, ""}, Undone: {Disputed, ""}, Unclear: {Disputed, ""}},
}

// Steps of money.
const (
	begin = "begin"
	done  = "done"
	back  = "back"
	hang  = "hang"
	freed = "freed" // what hung, after all
	lost  = "lost"
	// Of decisions.
	returned = "returned" // what hung, to the account
	upheld   = "upheld"   // the proof, against the reversal
	stays    = "stays"    // the reversal, against the proof
)

// moves says between which accounts money moves. A load is debited before the
// card is credited, an unload credited after the card was debited; what is on a
// card is outside.
var moves = map[Kind]map[string]Move{
	Credit: {
		begin: {ledger.Available, ledger.CardLoad}, done: {ledger.CardLoad, ledger.ExternalCash},
		back: {ledger.CardLoad, ledger.Available}, hang: {ledger.CardLoad, ledger.Suspense},
		freed: {ledger.Suspense, ledger.ExternalCash}, lost: {ledger.FraudLoss, ledger.ExternalCash},
		returned: {ledger.Suspense, ledger.Available}, upheld: {ledger.Available, ledger.FraudLoss},
	},
	Debit: {
		done: {ledger.ExternalCash, ledger.Available}, freed: {ledger.ExternalCash, ledger.Available},
		lost: {ledger.ExternalCash, ledger.Suspense}, upheld: {ledger.Suspense, ledger.Available}, stays: {ledger.Suspense, ledger.ExternalCash},
	},
}

// Begin returns the transfers that begin r.
func (r Record) Begin() []ledger.Transfer { return r.transfers(begin) }

// Next returns r after a finding, and the transfers that belong to it.
func (r Record) Next(f Finding) (Record, []ledger.Transfer) {
	s := steps[r.State][f]
	r.State = s.next
	return r, r.transfers(s.move)
}

func (r Record) transfers(name string) []ledger.Transfer {
	m, ok := moves[r.Kind][name]
	if !ok {
		return nil
	}
	return []ledger.Transfer{{Purpose: ledger.ForCards + name, Key: r.ID, Wallet: r.Account, From: m.From, To: m.To, Amount: token.Amount(r.Amount)}}
}
