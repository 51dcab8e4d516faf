package account

import (
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
)

// Issue returns the transfer that reserves the money of a slot when it is handed
// out, or none when it is all credit.
func (l *Lot) Issue() []ledger.Transfer {
	if l.Held == 0 {
		return nil
	}
	return []ledger.Transfer{l.transfer("issue", ledger.Available, ledger.Reserve, l.Held, "")}
}

// Settle brings the ledger from what it holds of the slot to what the slot comes
// to, and returns the transfers and the balances after them. It does nothing
// when nothing has changed. Nothing is taken back from history: what was posted
// and is wrong now is posted the other way round.
//
// A holder with credit owes what the account cannot pay. Of one without, only
// what is there is taken, once: the rest stays unpaid. What a closed wallet is
// given back pays what it owes, and the rest is paid out at once.
func (l *Lot) Settle(b ledger.Balances, w Wallet) ([]ledger.Transfer, ledger.Balances) {
	to := l.Target()
	from := l.Posted
	from.ChargedPart = 0
	if to == from {
		return nil, b
	}
	s := settling{lot: l, b: b}
	l.undo(&s, to)
	if to.Free && !l.Posted.Free {
		s.release(to)
	}
	l.charge(&s, to, w.Credits())
	aside := min(int64(missing(to.Suspended, l.Posted.Suspended)), s.b.Available)
	s.move("suspend", ledger.Available, ledger.Suspense, token.Amount(aside), "")
	to.Suspended = l.Posted.Suspended + token.Amount(aside)
	s.move("fraud", ledger.FraudLoss, ledger.OperatorPayable, missing(to.Fraud, l.Posted.Fraud), to.FraudParty)
	part := l.Posted.ChargedPart
	l.Posted = to
	l.Posted.ChargedPart = part
	s.repay()
	if w.State == WalletClosed {
		s.move(PaysOut, ledger.Available, ledger.ExternalCash, token.Amount(s.b.Available), "")
	}
	return s.made, s.b
}

// settling collects transfers and follows what they do.
type settling struct {
	lot  *Lot
	b    ledger.Balances
	made []ledger.Transfer
}

// undo takes back what is posted and does not stand any more.
func (l *Lot) undo(s *settling, to Posting) {
	p := &l.Posted
	if p.Charged > 0 && (p.Party != to.Party || p.Charged > to.Charged) {
		keep := to.Charged
		if p.Party != to.Party {
			keep = 0
		}
		part := min(p.ChargedPart, keep)
		s.move("correct", ledger.OperatorPayable, ledger.Available, p.ChargedPart-part, p.Party)
		p.Charged, p.ChargedPart = keep, part
	}
	if p.Suspended > to.Suspended {
		s.move("refund", ledger.Suspense, ledger.Available, p.Suspended-to.Suspended, "")
		p.Suspended = to.Suspended
	}
	if p.Fraud > 0 && (p.Fraud > to.Fraud || p.FraudParty != to.FraudParty) {
		s.move("correct", ledger.OperatorPayable, ledger.FraudLoss, p.Fraud, p.FraudParty)
		p.Fraud = 0
	}
}

// release empties the slot's reserve: what it pays goes straight to whom it is
// paid, the rest is free.
func (s *settling) release(to Posting) {
	l := s.lot
	left := l.Held
	if n := min(left, missing(to.Charged, l.Posted.Charged)); n > 0 {
		s.move("settle", ledger.Reserve, ledger.OperatorPayable, n, to.Party)
		l.Posted.Charged, l.Posted.ChargedPart = l.Posted.Charged+n, l.Posted.ChargedPart+n
		left -= n
	}
	if n := min(left, missing(to.Suspended, l.Posted.Suspended)); n > 0 {
		s.move("suspend", ledger.Reserve, ledger.Suspense, n, "")
		l.Posted.Suspended += n
		left -= n
	}
	s.move("release", ledger.Reserve, ledger.Available, left, "")
}

// charge takes what is not paid yet from what is free, and then from credit.
func (l *Lot) charge(s *settling, to Posting, credit bool) {
	owed := missing(to.Charged, l.Posted.Charged)
	n := token.Amount(min(int64(owed), s.b.Available))
	s.move("settle", ledger.Available, ledger.OperatorPayable, n, to.Party)
	if credit {
		s.move("overdraft", ledger.Due, ledger.OperatorPayable, owed-n, to.Party)
		n = owed
	}
	l.Posted.ChargedPart += n
}

// repay pays back what is owed from what is free.
func (s *settling) repay() {
	s.move("repay", ledger.Available, ledger.Due, token.Amount(min(s.b.Available, s.b.Due)), "")
}

// move makes one transfer, unless it moves nothing.
func (s *settling) move(purpose string, from, to ledger.Account, n token.Amount, party string) {
	if n == 0 {
		return
	}
	t := s.lot.transfer(purpose, from, to, n, party)
	next, err := s.b.Apply(t)
	if err != nil {
		// Only a ledger that somebody else wrote to can come here; the store
		// refuses the transfer and says so.
		next = s.b
	}
	s.b, s.made = next, append(s.made, t)
}

func (l *Lot) transfer(purpose string, from, to ledger.Account, n token.Amount, party string) ledger.Transfer {
	l.N++
	return ledger.Transfer{Purpose: purpose, Key: string(l.Ref), Ctr: l.Ctr(), N: l.N, Wallet: l.Wallet,
		From: from, To: to, Amount: n, Party: party}
}

// missing is what want is more than have.
func missing(want, have token.Amount) token.Amount {
	if have >= want {
		return 0
	}
	return want - have
}
