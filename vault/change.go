package vault

import (
	"context"
	"fmt"
	"strconv"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Change does what c says to a token, once per attempt of a caller, and returns
// the token as it then is: when the attempt was made before, it changes nothing.
// It is a compare-and-swap: [ErrConflict] means that the token is not as c saw
// it, or that it refuses the verb, and that nothing happened; so it is with
// each of c.Then. [ErrNotFound]
// means that there is no such token. The change and the event that tells of it
// are durable on return.
func (w *Writer) Change(ctx context.Context, c token.Change, caller string, a access.Attempt) (t token.Token, err error) {
	err = w.v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opMove+string(c.Verb), string(c.Ref))
		if err != nil {
			return err
		}
		if prior != "" {
			t, err = w.v.one(tx, token.Ref(prior))
			return err
		}
		view, err := oneView(tx, c.Ref)
		if err != nil {
			return err
		}
		if t, err = w.v.change(tx, view, c); err != nil {
			return err
		}
		return w.v.changeAll(tx, c.Then)
	})
	if err != nil {
		return token.Token{}, err
	}
	return t, nil
}

// changeAll makes changes of other tokens, in the same transaction.
func (v *Vault) changeAll(tx *gorm.DB, all []token.Change) error {
	for _, c := range all {
		view, err := oneView(tx, c.Ref)
		if err != nil {
			return err
		}
		if _, err := v.change(tx, view, c); err != nil {
			return err
		}
	}
	return nil
}

// mutable are the columns that a change can write.
var mutable = []string{"state", "changed_at", "suspenders", "decision", "assurance_method", "assurance_data", "controls",
	"expiry", "not_after", "notice", "notice_reason", "noticed_at", "revision", "kept_until"}

// change writes c over the row that it was judged by, and keeps the event. What
// changes nothing writes nothing.
func (v *Vault) change(tx *gorm.DB, view tokenView, c token.Change) (token.Token, error) {
	before := view.Row
	told, err := v.apply(&view, c)
	if err != nil {
		return token.Token{}, err
	}
	if view.Row == before {
		return v.toToken(view)
	}
	view.Row.Revision++
	done := tx.Model(&tokenRow{}).Where("ref = ? AND revision = ?", before.Ref, before.Revision).Select(mutable).Updates(&view.Row)
	if done.Error != nil {
		return token.Token{}, fmt.Errorf("moving a token: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return token.Token{}, ErrConflict
	}
	if before.NotAfter != view.Row.NotAfter {
		if err := v.quarantine(tx, view.Row); err != nil {
			return token.Token{}, err
		}
	}
	if err := v.emit(tx, told); err != nil {
		return token.Token{}, err
	}
	return v.toToken(view)
}

// apply makes the row of view what c leads to, and says what to tell of it.
func (v *Vault) apply(view *tokenView, c token.Change) (event.Event, error) {
	row := &view.Row
	if row.State != string(c.From) || c.Revision != 0 && row.Revision != c.Revision {
		return event.Event{}, ErrConflict
	}
	t, err := v.toToken(*view)
	if err != nil {
		return event.Event{}, err
	}
	if !t.May(c.Verb) || c.Verb == token.Resume && !t.Holds(c.By) {
		return event.Event{}, fmt.Errorf("%w: %s refuses to %s", ErrConflict, t.State, c.Verb)
	}
	next, _ := t.State.Next(c.Verb)
	if err := row.take(c); err != nil {
		return event.Event{}, err
	}
	if c.Verb == token.Resume && row.Suspenders != 0 {
		next = token.Suspended
	}
	row.enter(next, c.At.UnixMilli())
	return told(*row, c), nil
}

// take writes what c brings beside a new state.
func (r *tokenRow) take(c token.Change) error {
	if d, ok := c.Verb.Verdict(); ok {
		r.Decision = string(d)
	}
	switch c.Verb {
	case token.Suspend:
		r.Suspenders |= bit(c.By)
	case token.Resume:
		r.Suspenders &^= bit(c.By)
	case token.Provision, token.Fail:
		r.Notice, r.NoticeReason, r.NoticedAt = string(c.Notice.Result), c.Notice.Reason, c.At.UnixMilli()
	case token.Update:
		return r.set(c)
	}
	return nil
}

// set writes attributes.
func (r *tokenRow) set(c token.Change) (err error) {
	if a := c.Set.Assurance; a != nil {
		r.AssuranceMethod, r.AssuranceData = a.Method, a.Data
	}
	if to := c.Set.NotAfter; to != nil {
		if to.UnixMilli() < r.NotAfter {
			r.KeptUntil = max(r.KeptUntil, r.NotAfter) // a device may hold keys until then
		}
		r.NotAfter, r.Expiry = to.UnixMilli(), string(c.Expiry)
	}
	if c.Set.Controls != nil {
		r.Controls, err = packControls(*c.Set.Controls)
	}
	return err
}

// enter moves the row to a state. A token that comes to its end while somebody
// holds it back keeps the moment since when: what it did after that stays
// refused.
func (r *tokenRow) enter(next token.State, at int64) {
	ends := next == token.Expired || next == token.Deleted
	if string(next) != r.State && !(ends && r.Suspenders != 0) {
		r.ChangedAt = at
	}
	r.State = string(next)
}

// tellings are the events of verbs.
var tellings = map[token.Verb]event.Type{
	token.Deliver: event.Delivered, token.Activate: event.Activated, token.Suspend: event.Suspended,
	token.Resume: event.Resumed, token.Expire: event.Expired, token.Delete: event.Deleted,
	token.Approve: event.Decided, token.StepUp: event.Decided, token.Decline: event.Decided,
	token.Provision: event.Provisioned, token.Fail: event.Provisioned,
	token.Update: event.Updated, token.Renew: event.Renewed, token.Replace: event.CardReplaced,
}

// told is the event of a change that led to row.
func told(row tokenRow, c token.Change) event.Event {
	data := map[string]string{"state": row.State}
	switch c.Verb {
	case token.Suspend, token.Resume:
		data["suspender"] = string(c.By)
	case token.Approve, token.StepUp, token.Decline:
		data["decision"] = row.Decision
	case token.Provision, token.Fail:
		data["result"] = row.Notice
		if row.NoticeReason != "" {
			data["reason"] = row.NoticeReason
		}
	case token.Update:
		for name, is := range map[string]bool{"assurance": c.Set.Assurance != nil, "controls": c.Set.Controls != nil} {
			if is {
				data[name] = "changed"
			}
		}
		if c.Set.NotAfter != nil {
			data["not_after"] = strconv.FormatInt(row.NotAfter/1000, 10)
		}
	}
	return event.Event{Type: tellings[c.Verb], Ref: token.Ref(row.Ref), Requestor: token.Requestor(row.Requestor), At: c.At, Data: data}
}

// quarantine keeps the number of a row away for as long as ever after the new
// end of its window. A window that became shorter changes nothing: a device may
// hold keys for the longer one.
func (v *Vault) quarantine(tx *gorm.DB, row tokenRow) error {
	until := moment(row.NotAfter).Add(v.cfg.Quarantine).UnixMilli()
	done := tx.Model(&numberRow{}).Where("range_id = ? AND serial = ? AND holder = ?", row.RangeID, row.Serial, row.Ref).
		Update("free_after", gorm.Expr("CASE WHEN free_after < ? THEN ? ELSE free_after END", until, until))
	if done.Error != nil {
		return fmt.Errorf("prolonging a quarantine: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return ErrConflict // the number has passed to another token
	}
	return nil
}
