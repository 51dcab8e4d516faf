package tapdb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// slotKey names a slot.
type slotKey struct {
	ref token.Ref
	ctr uint16
}

func (k slotKey) compare(o slotKey) int {
	return cmp.Or(cmp.Compare(k.ref, o.ref), cmp.Compare(k.ctr, o.ctr))
}

// slot is a slot before and after this upload.
type slot struct {
	*account.Slot
	before map[string]account.Entry // by tap id, as stored
}

func newSlot(s *account.Slot) *slot {
	out := &slot{s, make(map[string]account.Entry, len(s.Entries))}
	for _, e := range s.Entries {
		out.before[e.ID()] = e
	}
	return out
}

// recording is one upload, or one sync, in its transaction. It reads what it is
// about in a few statements and writes what changed in a few more, however many
// records there are.
type recording struct {
	*DB
	tx       *gorm.DB
	bound    map[token.Ref]token.WalletID
	set      lotSet // that this is about, of tokens with a wallet
	past     map[token.Ref]account.History
	lots     map[slotKey]*account.Lot // the same
	slots    map[slotKey]*slot
	book     *book
	refusals []account.Refusal
	signals  []found
	wrong    *bearable // of a sync: what the phone may still get wrong
}

// found is a signal and whose it is.
type found struct {
	detect.Signal
	wallet token.WalletID
}

// begin reads what evidence and refusals are about, and all slots of the tokens
// in also.
func (d *DB) begin(tx *gorm.DB, evidence []account.Evidence, refusals []account.Refusal, also ...token.Ref) (*recording, error) {
	r := &recording{DB: d, tx: tx, lots: make(map[slotKey]*account.Lot), slots: make(map[slotKey]*slot), book: newBook(tx), refusals: refusals}
	refs := make(map[token.Ref]bool)
	for _, e := range evidence {
		refs[e.Ref] = true
	}
	for _, f := range refusals {
		refs[f.Ref] = true
	}
	for _, ref := range also {
		refs[ref] = true
	}
	var err error
	if r.bound, err = bindings(tx, slices.Collect(maps.Keys(refs))); err != nil {
		return nil, err
	}
	if err := r.readLots(evidence, also); err != nil {
		return nil, err
	}
	if err := r.histories(); err != nil {
		return nil, err
	}
	return r, r.readSlots(evidence)
}

// readLots reads the slots of evidence whose tokens belong to wallets, and all
// slots of the tokens in also.
func (r *recording) readLots(evidence []account.Evidence, also []token.Ref) error {
	named := make(map[slotKey]bool)
	for _, e := range evidence {
		if r.bound[e.Ref] != "" && !slices.Contains(also, e.Ref) {
			named[slotKey{e.Ref, e.Tap.Seq}] = true
		}
	}
	keys := slices.SortedFunc(maps.Keys(named), slotKey.compare)
	for part := range slices.Chunk(keys, inOne/2) {
		all, err := lotsOf(r.tx, part)
		if err != nil {
			return err
		}
		r.set.add(all)
	}
	if len(also) > 0 {
		all, err := lots(r.tx, "token_ref IN ?", also)
		if err != nil {
			return err
		}
		r.set.add(all)
	}
	for _, l := range r.set.all {
		k := slotKey{l.Ref, l.Ctr()}
		r.lots[k], r.slots[k] = l, newSlot(&l.Slot)
	}
	return r.findLost(evidence)
}

// findLost makes the slots again that were handed out and then lost, as the database was
// put back to an earlier day. MAC2 shows that they were: its key is made of all that
// describes a slot, and no other slot has its counter. Nothing is held for them any more.
func (r *recording) findLost(evidence []account.Evidence) error {
	for _, e := range evidence {
		k := slotKey{e.Ref, e.Tap.Seq}
		if r.bound[e.Ref] == "" || r.lots[k] != nil {
			continue
		}
		var rows []boundRow
		err := r.tx.Where("ref = ? AND lost_from <= ? AND lost_end > ?", string(e.Ref), k.ctr, k.ctr).Limit(1).Find(&rows).Error
		if err != nil {
			return fmt.Errorf("reading what was lost: %w", err)
		}
		if len(rows) > 0 {
			l := &account.Lot{Ref: e.Ref, UD: e.Tap.UD, Wallet: r.bound[e.Ref], NotAfter: store.Moment(rows[0].NotAfter), Issued: store.Moment(rows[0].BoundAt), Released: true}
			r.set.all = append(r.set.all, l)
			r.lots[k], r.slots[k] = l, newSlot(&l.Slot)
		}
	}
	return nil
}

// readSlots reads the slots of tokens without a wallet.
func (r *recording) readSlots(evidence []account.Evidence) error {
	var keys [][]any
	for _, e := range evidence {
		k := slotKey{e.Ref, e.Tap.Seq}
		if r.bound[e.Ref] == "" && r.slots[k] == nil {
			r.slots[k] = newSlot(&account.Slot{})
			keys = append(keys, []any{string(k.ref), k.ctr})
		}
	}
	for part := range slices.Chunk(keys, inOne) {
		stored, err := entries(r.tx.Where("(token_ref, ctr) IN ?", part))
		if err != nil {
			return err
		}
		for _, e := range stored {
			s := r.slots[slotKey{e.Ref, e.Tap.Seq}]
			s.Entries = append(s.Entries, e)
			s.before[e.ID()] = e
		}
	}
	return nil
}

// record takes evidence in, and brings the ledger and the signals to what then
// is known.
func (d *DB) record(tx *gorm.DB, evidence []account.Evidence, refusals []account.Refusal) ([]account.Result, error) {
	r, err := d.begin(tx, evidence, refusals)
	if err != nil {
		return nil, err
	}
	results, err := r.take(evidence)
	if err != nil {
		return nil, err
	}
	return results, r.finish()
}

// take adds evidence to its slots, and answers with the standings in the end.
func (r *recording) take(evidence []account.Evidence) ([]account.Result, error) {
	fresh := make([]bool, len(evidence))
	refused := make([]account.Result, len(evidence))
	for i, e := range evidence {
		reason, control, err := r.refuses(e)
		if err != nil {
			return nil, err
		}
		if reason == "" && r.wrong != nil {
			reason = r.wrong.refuses(e, r.slots[slotKey{e.Ref, e.Tap.Seq}])
		}
		if reason != "" {
			refused[i] = account.Result{Outcome: account.Rejected, Reason: reason, Control: control}
			r.refuse(e, refused[i])
			continue
		}
		s := r.slots[slotKey{e.Ref, e.Tap.Seq}]
		before := amount(s)
		fresh[i] = s.Add(e)
		r.book.move(e.Ref, before, amount(s))
	}
	results := make([]account.Result, len(evidence))
	for i, e := range evidence {
		if refused[i].Outcome != "" {
			results[i] = refused[i]
			continue
		}
		results[i] = r.slots[slotKey{e.Ref, e.Tap.Seq}].Answer(e.ID(), fresh[i])
	}
	return results, nil
}

// refuses reports why evidence cannot be taken: it is of a slot that was never
// handed out to its wallet, or the controls of its token refuse.
func (r *recording) refuses(e account.Evidence) (account.Reason, string, error) {
	k := slotKey{e.Ref, e.Tap.Seq}
	if r.bound[e.Ref] != "" && (r.lots[k] == nil || r.lots[k].UD != e.Tap.UD) {
		return account.CounterRange, "", nil
	}
	control, err := r.book.judge(e, r.slots[k])
	if err != nil || control == "" {
		return "", "", err
	}
	return account.NotAllowed, control, nil
}

func (r *recording) refuse(e account.Evidence, why account.Result) {
	reason := why.Reason
	if why.Control != "" {
		reason = account.Reason(why.Control)
	}
	r.refusals = append(r.refusals[:len(r.refusals):len(r.refusals)],
		account.Refusal{Ref: e.Ref, Tap: e.Tap, Reason: reason, Reporter: e.Reporter, Received: e.Received})
}

// finish writes what changed: first records that lost their standing, so that no
// slot has two posted ones at any moment.
func (r *recording) finish() error {
	if err := r.save(r.tx, r.slots); err != nil {
		return err
	}
	if err := r.book.save(r.now()); err != nil {
		return err
	}
	if err := refuse(r.tx, r.refusals); err != nil {
		return err
	}
	if err := r.settle(r.tx, r.set); err != nil {
		return err
	}
	r.look()
	return saveSignals(r.tx, r.signals, r.now())
}

// settle posts what the ledger does not hold of the slots yet, and keeps them.
func (d *DB) settle(tx *gorm.DB, s lotSet) error {
	if len(s.all) == 0 {
		return nil
	}
	wallets, balances, err := owners(tx, s.all)
	if err != nil {
		return err
	}
	before := maps.Clone(balances)
	var transfers []ledger.Transfer
	var changed []*account.Lot
	for _, l := range s.all {
		var made []ledger.Transfer
		made, balances[l.Wallet] = l.Settle(balances[l.Wallet], wallets[l.Wallet])
		transfers = append(transfers, made...)
		was, kept := s.was[slotKey{l.Ref, l.Ctr()}]
		if toLotRow(l) != was && (kept || len(l.Entries) > 0) { // of a slot that was lost its record may have been refused
			changed = append(changed, l)
		}
	}
	if err := ledgerdb.Post(tx, d.now(), transfers...); err != nil {
		return fmt.Errorf("settling slots: %w", err)
	}
	if err := saveLots(tx, changed); err != nil {
		return err
	}
	return d.moved(tx, wallets, before, balances, transfers)
}

// look looks for signs of fraud in the tokens that this recording is about. What
// other slots show by themselves was seen when they were recorded.
func (r *recording) look() {
	byRef := make(map[token.Ref][]*account.Lot)
	for k, l := range r.lots {
		byRef[k.ref] = append(byRef[k.ref], l)
	}
	for ref, lots := range byRef {
		for _, s := range r.rules.Signals(ref, lots, r.past[ref]) {
			r.signals = append(r.signals, found{s, r.bound[ref]})
		}
	}
	for _, f := range r.refusals {
		if s, ok := r.rules.Refused(f); ok && r.bound[f.Ref] != "" {
			r.signals = append(r.signals, found{s, r.bound[f.Ref]})
		}
	}
}

// save stores new records and what changed of others.
func (d *DB) save(tx *gorm.DB, slots map[slotKey]*slot) error {
	var insert []tap
	var demoted, changed []account.Entry
	for _, s := range slots {
		for _, e := range s.Entries {
			switch was, stored := s.before[e.ID()]; {
			case !stored:
				insert = append(insert, toRow(e, d.now()))
			case was == e:
			case was.Outcome == account.Posted && e.Outcome != account.Posted:
				demoted = append(demoted, e)
			default:
				changed = append(changed, e)
			}
		}
	}
	for _, e := range append(demoted, changed...) {
		set := map[string]any{"outcome": string(e.Outcome), "sources": uint8(e.Sources), "fresh": e.Fresh, "late": uint8(e.Late),
			"reporter": e.Reporter, "owned": e.Owned, "rival": e.Rival, "changed_at": d.now().UnixMilli()}
		if err := tx.Model(&tap{}).Where("id = ?", e.ID()).Updates(set).Error; err != nil {
			return fmt.Errorf("changing a standing: %w", err)
		}
	}
	if len(insert) == 0 {
		return nil
	}
	if err := tx.CreateInBatches(insert, 100).Error; err != nil {
		return fmt.Errorf("inserting taps: %w", err)
	}
	return nil
}

// owners reads the wallets of slots, and their balances.
func owners(tx *gorm.DB, all []*account.Lot) (map[token.WalletID]account.Wallet, map[token.WalletID]ledger.Balances, error) {
	ids := make(map[token.WalletID]bool)
	for _, l := range all {
		ids[l.Wallet] = true
	}
	names := slices.Sorted(maps.Keys(ids))
	wallets, err := readWallets(tx, names)
	if err != nil {
		return nil, nil, err
	}
	if len(wallets) != len(names) {
		return nil, nil, errors.Join(errRow, account.ErrNoWallet)
	}
	balances, err := ledgerdb.Balances(tx, names...)
	return wallets, balances, err
}
