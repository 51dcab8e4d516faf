package vault

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

const opIssue = "tokens:request"

// firstCtr is where the counters of a number begin.
const firstCtr = 1

// reusableCtr bounds the counters of a number that may come back: above it,
// too few are left for another token.
const reusableCtr = 60000

// errTaken reports a serial that is in the database already.
var errTaken = errors.New("the serial is taken")

// Asked returns the token that an earlier try of attempt a by caller made; ok
// is false when there was none. A key that was used for something else is an
// error of kind [fault.KeyReused].
func (w *Writer) Asked(ctx context.Context, caller string, a access.Attempt) (t token.Token, ok bool, err error) {
	return w.prior(ctx, opIssue, caller, a)
}

// prior returns the token that an attempt at op named, if it was made.
func (w *Writer) prior(ctx context.Context, op, caller string, a access.Attempt) (t token.Token, ok bool, err error) {
	ref, err := store.Prior(w.v.cfg.DB.Read(ctx), caller, a, op)
	if err != nil || ref == "" {
		return token.Token{}, false, err
	}
	t, err = w.v.one(w.v.cfg.DB.Read(ctx), token.Ref(ref))
	return t, err == nil, err
}

// Issue makes the token that o orders, once per attempt of a caller: a later
// try returns the token of the first. When o asks for the only one of its kind
// and such a token lives, that is the answer. The token is durable when Issue
// returns it. After an error it may exist all the same, which a try of the same
// attempt finds out.
func (w *Writer) Issue(ctx context.Context, o token.Order, caller string, a access.Attempt) (token.Token, error) {
	v := w.v
	if v.isTokenPAN(o.PAN) {
		return token.Token{}, ErrCardIsToken
	}
	d := draft{Order: o, op: opIssue, digits: o.PAN.Len(), scheme: v.schemeOf(o.PAN), caller: caller, attempt: a}
	for try := 0; ; try++ {
		var err error
		if d.card, err = v.prepare(ctx, o.PAN, o.CardExpiry); err != nil {
			return token.Token{}, err
		}
		t, err := v.issue(ctx, d)
		if !v.again(ctx, err, try) {
			return t, err
		}
	}
}

// draft is an order with everything that is known before a number is chosen.
type draft struct {
	token.Order
	op      string
	digits  int    // of the card number, and so of the token's
	scheme  string // whose card it is
	card    card
	caller  string
	attempt access.Attempt
}

// living names what there may be one living token of, or is nil. It is a hash,
// so that rows cannot be linked by it across requestors.
func (d draft) living() *string {
	if d.Only == "" {
		return nil
	}
	h := sha256.New()
	for _, part := range []string{"tapvault living", d.card.row.ID, string(d.Requestor), d.Device, d.Only} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	s := base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	return &s
}

// issue makes the token, or finds the living one that stands in its way.
func (v *Vault) issue(ctx context.Context, d draft) (token.Token, error) {
	for {
		t, err := v.issueNew(ctx, d)
		if !errors.Is(err, errLiving) {
			return t, err
		}
		if t, err = v.answerLiving(ctx, d); err != nil || t.Ref != "" {
			return t, err
		}
	}
}

// issueNew tries the ranges of the right length and purpose in turn.
func (v *Vault) issueNew(ctx context.Context, d draft) (token.Token, error) {
	err := ErrNoRange
	for _, n := range v.ranges.all() {
		if !n.issues || n.Length != d.digits || !n.keptFor(d.Requestor, d.scheme) {
			continue
		}
		var t token.Token
		if t, err = v.issueFrom(ctx, n, d); !errors.Is(err, ErrExhausted) {
			return t, err
		}
	}
	return token.Token{}, err
}

// issueFrom gives the token the next serial of a range or, when all were given
// out, one that has come back.
func (v *Vault) issueFrom(ctx context.Context, n *numbering, d draft) (token.Token, error) {
	for {
		s, err := v.take(ctx, n)
		if errors.Is(err, ErrExhausted) {
			now, err := v.surely(ctx)
			if err != nil {
				return token.Token{}, err
			}
			t, _, err := v.insert(ctx, n, d, func(tx *gorm.DB) (numberRow, error) { return v.comeBack(tx, n, d, now) })
			return t, err
		}
		if err != nil {
			return token.Token{}, err
		}
		t, made, err := v.insertFresh(ctx, ordered{n, s, d})
		switch {
		case made, errors.Is(err, errTaken):
			n.leases.used(s)
		default:
			n.leases.giveBack(s)
		}
		if !errors.Is(err, errTaken) {
			return t, err
		}
	}
}

// insert is the one transaction in which a token comes into being; made is
// false when the attempt had made one before, which it returns.
func (v *Vault) insert(ctx context.Context, n *numbering, d draft, number func(*gorm.DB) (numberRow, error)) (t token.Token, made bool, err error) {
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		made = false
		prior, err := store.Once(tx, d.caller, d.attempt, d.op, string(d.Ref))
		if err != nil {
			return err
		}
		if prior != "" {
			t, err = v.one(tx, token.Ref(prior))
			return err
		}
		if err := d.card.store(v, tx); err != nil {
			return err
		}
		num, err := number(tx)
		if err != nil {
			return err
		}
		row, err := v.tokenRow(n, num, d)
		if err != nil {
			return err
		}
		if err := v.put(tx, row, d); err != nil {
			return err
		}
		made = true
		t, err = v.toToken(tokenView{row, d.card.row.PAR, d.card.row.Last4})
		return err
	})
	if err != nil {
		return token.Token{}, false, err
	}
	return t, made, nil
}

// put stores the row of a new token, ties it to the one it follows, and keeps
// the events.
func (v *Vault) put(tx *gorm.DB, row tokenRow, d draft) error {
	create := tx
	if row.Living != nil {
		create = tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "living"}}, DoNothing: true})
	}
	done := create.Create(&row)
	if done.Error != nil {
		return fmt.Errorf("storing a token: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return errLiving
	}
	if err := v.emit(tx, row.issued()); err != nil {
		return err
	}
	return v.follow(tx, d)
}

// issued is the event that tells of a new token.
func (r tokenRow) issued() event.Event {
	return event.Event{Type: event.Issued, Ref: token.Ref(r.Ref), Requestor: token.Requestor(r.Requestor), At: moment(r.CreatedAt),
		Data: map[string]string{"state": r.State, "decision": r.Decision}}
}

func (v *Vault) tokenRow(n *numbering, num numberRow, d draft) (tokenRow, error) {
	now := v.cfg.Now().UnixMilli()
	controls, err := packControls(d.Controls)
	if d.Decision == "" {
		d.Decision = token.DecisionApproved
	}
	return tokenRow{
		Ref: string(d.Ref), CardID: d.card.row.ID, RangeID: n.Name, Serial: num.Serial,
		Requestor: string(d.Requestor), PSN: d.PSN, Expiry: string(d.Expiry), Location: string(d.Location),
		State: string(token.Requested), NotBefore: d.NotBefore.UnixMilli(), NotAfter: d.NotAfter.UnixMilli(),
		CtrFirst: num.NextCtr, CtrNext: num.NextCtr, CreatedAt: now, ChangedAt: now,
		AssuranceMethod: d.Assurance.Method, AssuranceData: d.Assurance.Data, FormFactor: string(d.FormFactor),
		Device: d.Device, Decision: string(d.Decision), Controls: controls, Renews: string(d.Renews), Revision: 1,
		Living: d.living(),
	}, err
}

// fresh gives out a leased serial for the first time.
func (v *Vault) fresh(tx *gorm.DB, n *numbering, s slot, d draft) (numberRow, error) {
	row := v.freshRow(n, s, d)
	err := tx.Create(&row).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return row, errTaken
	}
	return row, err
}

func (v *Vault) freshRow(n *numbering, s slot, d draft) numberRow {
	return numberRow{n.Name, s.serial, string(d.Ref), firstCtr, v.freeAfter(d)}
}

// comeBack gives out the number that has been free for longest. Its counters
// go on where the last holder's stopped. Numbers without counters are put away
// as they are met, so that nobody has to pass them again.
func (v *Vault) comeBack(tx *gorm.DB, n *numbering, d draft, now time.Time) (numberRow, error) {
	for {
		var rows []numberRow
		err := tx.Where("range_id = ? AND free_after <= ?", n.Name, now.UnixMilli()).
			Order("free_after").Limit(1).Find(&rows).Error
		if err != nil {
			return numberRow{}, fmt.Errorf("looking for a number that came back: %w", err)
		}
		if len(rows) == 0 {
			return numberRow{}, ErrExhausted
		}
		row := rows[0]
		change := map[string]any{"holder": string(d.Ref), "free_after": v.freeAfter(d)}
		if row.NextCtr > reusableCtr {
			change = map[string]any{"free_after": int64(never)}
		}
		done := tx.Model(&numberRow{}).Where("range_id = ? AND serial = ? AND holder = ? AND free_after = ?",
			n.Name, row.Serial, row.Holder, row.FreeAfter).Updates(change)
		if done.Error != nil {
			return numberRow{}, fmt.Errorf("giving out a number that came back: %w", done.Error)
		}
		if done.RowsAffected == 1 && row.NextCtr <= reusableCtr {
			return row, nil
		}
	}
}

// freeAfter is when the quarantine of the draft's number ends.
func (v *Vault) freeAfter(d draft) int64 { return d.NotAfter.Add(v.cfg.Quarantine).UnixMilli() }
