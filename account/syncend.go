package account

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// SyncEnd is what a sync came to before its answer is made.
type SyncEnd struct {
	Request   SyncRequest
	Decisions []Result
	First     uint16 // of the counters that were taken for it
	Taken     int
	NotAfter  time.Time // of the token; zero: it may not be given slots
	// PIN is when a PIN was last entered rightly online.
	PIN time.Time
}

// Settle says what a sync comes to, without its grant, and which slots it may be
// given, with what is reserved for each. Open says that detection found something
// that was not acted on yet.
func (e SyncEnd) Settle(f Funds, open bool) (out Settlement, kinds []SlotKind, held []token.Amount) {
	r := e.Request
	out = Settlement{Result: f.result(r.Ref), Decisions: e.Decisions, State: f.Wallet.State}
	if f.Wallet.resumes(out.Result, e.PIN) {
		f.Wallet.free(f.Now)
		out.State = WalletActive
	}
	if out.Result == SyncClean && out.State == WalletActive && !open && f.Now.Before(e.NotAfter) {
		kinds, held = f.Refill(r.Ref, r.Terms)
	}
	out.Balances, out.Next = f.sum(r.Ref), f.thresholds(r.Terms, e.NotAfter)
	return out, kinds, held
}

// Leave does to the wallet what its sync came to.
func (e SyncEnd) Leave(w *Wallet, out Settlement, at time.Time) {
	w.Limit, w.Ceiling = e.Request.Terms.Limit, e.Request.Terms.Ceiling
	if out.State == WalletActive && w.State == WalletRestricted {
		w.free(at)
	}
}

// resumes reports whether a sync ends the restriction of w: it is clean, and a
// PIN was entered rightly after what led to it.
func (w Wallet) resumes(r SyncResult, pin time.Time) bool {
	for _, h := range w.Holds {
		if h == HoldCharge { // that ends when it is paid
			return false
		}
	}
	return w.State == WalletRestricted && r == SyncClean && pin.After(w.ChangedAt)
}

// result compares a phone's word with what is known.
func (f Funds) result(ref token.Ref) SyncResult {
	out := SyncClean
	for _, l := range f.Lots {
		if l.Ref != ref {
			continue
		}
		if _, lied := l.Contradicted(clocks); lied || l.State() == SlotForked {
			return SyncContradiction
		}
		if l.Live(f.Now) && !l.GapAt.IsZero() && f.Now.Sub(l.GapAt) < gapWait {
			out = SyncGaps
		}
	}
	return out
}

// Hear takes a phone's word on the slots of its token at a moment. A live slot
// that it says nothing of, or of which it says that it paid without showing how,
// is a gap, from when that was heard: a phone cannot have waited in its own past.
func Hear(lots []*Lot, w Word) {
	said := make(map[uint16]ReportStatus, len(w.Reports))
	for _, r := range w.Reports {
		said[r.Ctr] = r.Status
	}
	at := w.At
	if at.IsZero() {
		at = knew(lots, said)
	}
	for _, l := range lots {
		switch status := said[l.Ctr()]; {
		case status == ReportLive && at.After(l.UnusedAt):
			l.UnusedAt = at
		case status == ReportDiscarded && (l.DiscardedAt.IsZero() || at.Before(l.DiscardedAt)):
			l.DiscardedAt = at
		}
		_, spoken := said[l.Ctr()]
		gap := !spoken || said[l.Ctr()] == ReportUsed
		switch {
		case l.State() != SlotIssued || !gap:
			l.GapAt = time.Time{}
		case l.GapAt.IsZero():
			l.GapAt = w.Heard
		}
	}
}

// knew is the earliest that a phone can have said something: when the newest slot that it
// speaks of was made.
func knew(lots []*Lot, said map[uint16]ReportStatus) (at time.Time) {
	for _, l := range lots {
		if said[l.Ctr()] != "" && l.Issued.After(at) {
			at = l.Issued
		}
	}
	return at
}

// Lots makes the slots of a grant, as many as counters were taken for, and the
// transfers that reserve money for them. The bundle's id follows from the sync.
func (e SyncEnd) Lots(f Funds, kinds []SlotKind, held []token.Amount) (lots []*Lot, moves []ledger.Transfer, err error) {
	n := min(len(kinds), e.Taken)
	for i := range n {
		ud, err := credential.NewUD(e.NotAfter, e.First+uint16(i), kinds[i].Cap, kinds[i].Class, e.Request.Terms.KeyVersion)
		if err != nil {
			return nil, nil, fmt.Errorf("describing a slot: %w", err)
		}
		l := &Lot{Ref: e.Request.Ref, UD: ud, Wallet: e.Request.Wallet, Bundle: e.Bundle(), Held: held[i],
			NotAfter: e.NotAfter, Issued: f.Now}
		lots, moves = append(lots, l), append(moves, l.Issue()...)
	}
	return lots, moves, nil
}

// Bundle names the bundle of a sync.
func (e SyncEnd) Bundle() string {
	sum := sha256.Sum256([]byte("bundle\x00" + string(e.Request.Wallet) + "\x00" + e.Request.ID))
	return hex.EncodeToString(sum[:16])
}

// GrantOf is the grant that slots were made by, or nil.
func GrantOf(lots []*Lot) *Grant {
	if len(lots) == 0 {
		return nil
	}
	g := &Grant{BundleID: lots[0].Bundle, Ref: lots[0].Ref}
	for _, l := range lots {
		g.Slots, g.Held = append(g.Slots, l.UD), g.Held+l.Held
	}
	return g
}
