package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Errors of syncs.
var (
	// ErrSyncReused reports a sync whose id stands for another one.
	ErrSyncReused = fault.New(fault.KeyReused, "this sync id was used for another sync")
	// ErrSync reports a sync that nobody can have meant.
	ErrSync = fault.New(fault.Malformed, "a sync has an id, up to 512 reports on different slots, and terms")
)

const (
	maxReports = 512
	// clocks is how far two clocks may disagree before that speaks against a phone.
	clocks = 120 * time.Second
	// gapWait is how long a slot that the phone says nothing of keeps it from new
	// ones.
	gapWait = 24 * time.Hour
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

// Sync brings a phone and its account in step: it takes the phone's evidence and
// its word on every slot, settles, and grants new slots when nothing is open.
// Live slots are kept. A phone's first slots are a sync without reports.
//
// The grant is durable, with its reserve held, when Sync returns. A sync that is
// sent again, because the answer was lost, is answered by the same settlement
// and the same grant. The caller has passed the gate, and has checked that the
// device signed the request.
func (s *Service) Sync(ctx context.Context, c access.Caller, r SyncRequest) (Settlement, error) {
	if err := r.check(); err != nil {
		return Settlement{}, err
	}
	if _, err := s.own(ctx, c, access.WalletSync, r.Wallet); err != nil {
		return Settlement{}, err
	}
	bound, err := s.cfg.Book.Bound(ctx, r.Ref)
	if err != nil {
		return Settlement{}, err
	}
	if bound[r.Ref] != r.Wallet {
		return Settlement{}, s.cfg.Gate.Refuse(ctx, c, access.WalletSync, string(r.Wallet), "unbound-token", errForeign)
	}
	first, answer, err := s.cfg.Book.BeginSync(ctx, r, s.cfg.Now())
	if err != nil {
		return Settlement{}, err
	}
	if answer != nil {
		return *answer, nil
	}
	return s.sync(ctx, r, first)
}

// sync settles a sync that was not answered yet. Everything before the answer
// may happen twice without harm.
func (s *Service) sync(ctx context.Context, r SyncRequest, first time.Time) (out Settlement, err error) {
	e := SyncEnd{Request: r}
	if e.PIN, _, err = s.triedOnline(ctx, r.Wallet); err != nil {
		return out, err
	}
	if e.Decisions, err = s.hear(ctx, r, first, e.PIN); err != nil {
		return out, err
	}
	if _, err := s.Redo(ctx); err != nil {
		return out, err
	}
	if e.PIN, _, err = s.triedOnline(ctx, r.Wallet); err != nil {
		return out, err
	}
	t, err := s.cfg.Tokens.Token(ctx, r.Ref)
	if err != nil {
		return out, err
	}
	if t.State.Usable() && t.Decision.Allows() && s.cfg.Now().Before(t.NotAfter) {
		e.NotAfter = t.NotAfter
		if err := s.takeCounters(ctx, &e); err != nil {
			return out, err
		}
	}
	return s.cfg.Book.FinishSync(ctx, e)
}

// hear takes a phone's evidence and its word. What it says of the present it said
// when the sync first came, and no later than its own clock: a sync that is sent
// again must not speak for the time between. PIN is when one was last entered
// rightly online.
//
// Of a record whose MAC2 does not hold it learns nothing of the TAC: nothing counts
// how many of those a phone makes up.
func (s *Service) hear(ctx context.Context, r SyncRequest, first, pin time.Time) ([]Result, error) {
	at := first
	if r.Clock.Before(at) {
		at = r.Clock
	}
	b := batch{Service: s, reporter: "phone", source: func(Tap) Sources { return ByPhone }}
	var taps []Tap
	var index []int // of taps, in results
	for _, p := range r.Reports {
		if p.Status != ReportUsed {
			continue
		}
		b.results = append(b.results, Result{Outcome: Rejected, Reason: Malformed})
		if p.Tap != nil && p.Tap.Seq == p.Ctr {
			taps, index = append(taps, *p.Tap), append(index, len(b.results)-1)
		}
	}
	verdicts, err := s.judgeAll(ctx, taps, token.Use{}, guess.Standing{})
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		if v.reason == Tamper {
			v.reason = Forged
		}
		if err := b.take(ctx, index[i], taps[i], v); err != nil {
			return nil, err
		}
		b.own(r.Ref)
	}
	if err := b.classify(ctx); err != nil {
		return nil, err
	}
	results, err := s.cfg.Book.Told(ctx, r.Ref, Word{r.Reports, at, first, pin}, b.evidence, b.refusals)
	if err != nil {
		return nil, fmt.Errorf("keeping a sync: %w", err)
	}
	return b.results, b.answer(ctx, results)
}

// own drops the last record when it is of another token: a phone speaks for its
// own.
func (b *batch) own(ref token.Ref) {
	if n := len(b.evidence) - 1; n >= 0 && b.evidence[n].Ref != ref {
		b.results[b.index[n]] = Result{Outcome: Rejected, Reason: UnknownToken}
		b.evidence, b.index, b.ends = b.evidence[:n], b.index[:n], b.ends[:n]
	}
	if n := len(b.refusals) - 1; n >= 0 && b.refusals[n].Ref != ref {
		b.refusals = b.refusals[:n]
	}
}

// takeCounters takes as many as a grant would need by what is known now. What is
// then not needed is lost, which harms nobody.
func (s *Service) takeCounters(ctx context.Context, e *SyncEnd) error {
	f, err := s.cfg.Book.Funds(ctx, e.Request.Wallet)
	if err != nil {
		return err
	}
	_, kinds, _ := e.Settle(f, false)
	if len(kinds) == 0 {
		return nil
	}
	if e.First, err = s.cfg.Tokens.TakeCounters(ctx, e.Request.Ref, len(kinds)); err != nil {
		return fmt.Errorf("taking counters: %w", err)
	}
	e.Taken = len(kinds)
	return nil
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
	at := w.At
	said := make(map[uint16]ReportStatus, len(w.Reports))
	for _, r := range w.Reports {
		said[r.Ctr] = r.Status
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

// check refuses a sync that nobody can have meant.
func (r SyncRequest) check() error {
	if !useID.MatchString(r.ID) || len(r.Reports) > maxReports || r.Clock.IsZero() {
		return ErrSync
	}
	seen := make(map[uint16]bool, len(r.Reports))
	for _, p := range r.Reports {
		if seen[p.Ctr] || p.Status != ReportLive && p.Status != ReportDiscarded && p.Status != ReportUsed {
			return ErrSync
		}
		seen[p.Ctr] = true
	}
	return r.Terms.check()
}

// errTerms reports terms of a tier that make no bundle: a mistake of the program.
var errTerms = errors.New("terms of a tier that make no bundle")

func (t Terms) check() error {
	if len(t.Layout) > maxReports {
		return errTerms
	}
	for _, k := range t.Layout {
		if _, err := credential.NewUD(time.Unix(1<<31, 0), 0, k.Cap, k.Class, t.KeyVersion); err != nil {
			return fmt.Errorf("%w: %w", errTerms, err)
		}
	}
	return nil
}
