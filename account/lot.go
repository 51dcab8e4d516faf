package account

import (
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// SlotState is where a slot of a wallet stands.
type SlotState string

// States of slots. Those that a phone may still pay with are ISSUED and, because
// a phone cannot prove that it forgot, DISCARDED.
const (
	SlotIssued    SlotState = "ISSUED"     // handed out, and nothing was heard of it
	SlotUsedPhone SlotState = "USED_PHONE" // only the phone says so
	SlotUsedTerm  SlotState = "USED_TERM"  // only a terminal says so
	SlotSettled   SlotState = "SETTLED"    // both do, or the money is back
	SlotForked    SlotState = "FORKED"     // it paid twice
	SlotBurned    SlotState = "BURNED"     // used, but no service was given
	SlotDiscarded SlotState = "DISCARDED"  // the phone says that it threw it away
	SlotExpired   SlotState = "EXPIRED"    // never used, and its reserve is free again
)

// Lot is one slot that was handed out to a wallet: what was reserved for it, all
// that is known of it, and what of that is in the ledger already.
type Lot struct {
	Slot
	Ref      token.Ref
	UD       credential.UD // its counter, cap, class and end
	Wallet   token.WalletID
	Bundle   string
	Held     token.Amount // money in the reserve; what is missing to the cap is credit
	NotAfter time.Time    // of the token
	Issued   time.Time

	// What the phone said of it: the last moment at which it had not used it, the
	// first at which it had thrown it away, and since when it says nothing.
	UnusedAt, DiscardedAt, GapAt time.Time

	Released bool // its time is over: it funds nothing and holds nothing
	Refunded bool // nobody asked for what the phone says it paid

	Posted Posting // what the ledger holds of it
	N      int     // how many transfers that took
}

// Posting is what a slot comes to. It follows from what is known of the slot and
// from nothing else, so that the order in which it became known does not matter.
type Posting struct {
	Free        bool         // its reserve is not held any more
	Charged     token.Amount // to the holder
	Party       string       // who is paid that
	Suspended   token.Amount // set aside: only the phone says that it was paid
	Fraud       token.Amount // for a second use, at nobody's charge
	FraudParty  string
	ChargedPart token.Amount // of Charged: what could be had
}

// Ctr is the slot's counter.
func (l *Lot) Ctr() uint16 { return l.UD.Ctr }

// Cap is the most it pays.
func (l *Lot) Cap() token.Amount { return l.UD.Limit() }

// Credit is the part of its cap that no money was reserved for.
func (l *Lot) Credit() token.Amount { return l.Cap() - l.Held }

// Target is what the slot comes to by all that is known of it now.
//
// The holder pays the posted record, to whom gave the service; see [Slot.Paid]. Of the records
// that show a second use, one is paid at nobody's charge: the first of those
// whose terminal held a deny list that was new enough. What only the phone tells
// of frees no money: a phone that tells lies would otherwise be given new slots
// for it. At the end it is set aside, and after the time of grace it goes back.
func (l *Lot) Target() (p Posting) {
	p.Free = l.Released || slices.ContainsFunc(l.Entries, func(e Entry) bool {
		return e.Late != Manual && (e.served() || e.Sources&ByFailure != 0)
	})
	best, used := l.Paid()
	switch {
	case !used:
		return p
	case l.paying():
		p.Charged, p.Party = best.Tap.Amount, best.payee()
	case best.Sources == ByPhone && best.Late == OnTime && l.Released && !l.Refunded:
		p.Suspended = min(best.Tap.Amount, l.Held)
	}
	for _, e := range l.Entries {
		if e.Outcome != Forked {
			continue
		}
		if e = l.serving(e); e.served() && e.Fresh && e.Late != Manual && l.paying() {
			p.Fraud, p.FraudParty = e.Tap.Amount, e.payee()
			break
		}
	}
	return p
}

// paying reports whether the posted record was paid for: then another one shows
// a second use.
func (l *Lot) paying() bool {
	best, ok := l.Paid()
	return ok && best.served() && best.Late != Manual
}

// State is where the slot stands by all that is known of it now.
func (l *Lot) State() SlotState {
	best, used := l.Paid()
	switch {
	case used && slices.ContainsFunc(l.Entries, func(e Entry) bool { return e.Outcome == Forked }):
		return SlotForked
	case used && best.served() && best.Sources&ByPhone != 0, used && l.Refunded && !best.served():
		return SlotSettled
	case used && best.served():
		return SlotUsedTerm
	case used && best.Sources&ByFailure != 0:
		return SlotBurned
	case used:
		return SlotUsedPhone
	case l.Released:
		return SlotExpired
	case !l.DiscardedAt.IsZero():
		return SlotDiscarded
	}
	return SlotIssued
}

// Live reports whether a phone may still pay with the slot, as far as is known.
func (l *Lot) Live(now time.Time) bool { return l.State() == SlotIssued && now.Before(l.NotAfter) }

// Authority reports whether the slot can still cost its cap: it is live, or the
// phone says that it threw it away.
func (l *Lot) Authority(now time.Time) bool {
	s := l.State()
	return (s == SlotIssued || s == SlotDiscarded) && now.Before(l.NotAfter)
}

// Contradicted returns the record that shows that the phone lied about the slot,
// if there is one: it had thrown the slot away, or had not used it, at a moment
// after that tap. A time that no TAC covers is nobody's word.
func (l *Lot) Contradicted(skew time.Duration) (e Entry, ok bool) {
	for _, e := range l.Entries {
		early := e.TACGood && !l.UnusedAt.IsZero() && e.Moment.Before(l.UnusedAt.Add(-skew))
		if e.Outcome != Replay && (early || !l.DiscardedAt.IsZero()) {
			return e, true
		}
	}
	return Entry{}, false
}
