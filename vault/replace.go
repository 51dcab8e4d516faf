package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

const opReplace = "cards:replace"

// Card returns what is known of the card of a number, or [ErrCardUnknown]. A
// number that was replaced leads to the card as it is now.
func (r *Reader) Card(ctx context.Context, pan token.PAN) (token.Card, error) {
	s, err := r.v.look(ctx, pan)
	if err != nil {
		return token.Card{}, err
	}
	id := ""
	switch {
	case s.card != nil:
		id = s.card.ID
	case s.former != nil:
		id = s.former.CardID
	default:
		return token.Card{}, ErrCardUnknown
	}
	return r.v.cardWhere(r.v.cfg.DB.Read(ctx), "id = ?", id)
}

// cardWhere reads what may be told of one card.
func (v *Vault) cardWhere(db *gorm.DB, where, value string) (token.Card, error) {
	var rows []cardRow
	if err := db.Where(where, value).Limit(1).Find(&rows).Error; err != nil {
		return token.Card{}, fmt.Errorf("reading a card: %w", err)
	}
	if len(rows) == 0 {
		return token.Card{}, ErrCardUnknown
	}
	living, err := v.living(db, rows[0].ID)
	return token.Card{PAR: token.PAR(rows[0].PAR), Last4: rows[0].Last4, Living: len(living)}, err
}

// living lists the tokens of a card that have not come to their end.
func (v *Vault) living(db *gorm.DB, card string) (rows []tokenRow, err error) {
	err = db.Select("ref", "requestor").
		Where("card_id = ? AND not_after > ? AND state NOT IN ?", card, v.cfg.Now().UnixMilli(), ended).
		Order("ref").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the tokens of a card: %w", err)
	}
	return rows, nil
}

// ReplaceCard puts another number, another expiry date or both behind the
// tokens of a card, once per attempt of a caller. All its tokens lead to the
// new card from then on, and its payment account reference stays. The number
// before is remembered: it finds the same card, and gets no tokens any more.
//
// It returns [ErrCardUnknown] when no token was made for old, [ErrCardKnown]
// when the new number is another card's, and changes nothing then. Replacing
// again what is replaced already succeeds. The change is durable on return.
func (w *Writer) ReplaceCard(ctx context.Context, old, pan token.PAN, expiry token.Expiry, caller string, a access.Attempt) (token.Card, error) {
	switch {
	case w.v.isTokenPAN(pan):
		return token.Card{}, ErrCardIsToken
	case pan.Len() != old.Len():
		return token.Card{}, ErrCardLength
	}
	par, err := store.Prior(w.v.cfg.DB.Read(ctx), caller, a, opReplace)
	if err != nil {
		return token.Card{}, err
	}
	if par != "" {
		return w.v.cardWhere(w.v.cfg.DB.Read(ctx), "par = ?", par)
	}
	for try := 0; ; try++ {
		r, err := w.v.replacement(ctx, old, pan, expiry)
		if err != nil {
			return token.Card{}, err
		}
		c, err := w.v.replace(ctx, r, caller, a)
		if !w.v.again(ctx, err, try) {
			return c, err
		}
	}
}

// replacement is what is to be written when a card is replaced.
type replacement struct {
	row    cardRow
	expiry token.Expiry
	oldTag []byte     // of the row it replaces
	former *formerRow // nil: the number stays
	back   *formerRow // a former number of the card that becomes its number again
	done   bool       // the row is as it should be
}

// replacement finds the card and asks the HSM for what has to be written.
func (v *Vault) replacement(ctx context.Context, old, pan token.PAN, expiry token.Expiry) (replacement, error) {
	was, err := v.look(ctx, old)
	if err != nil {
		return replacement{}, err
	}
	next, err := v.look(ctx, pan)
	switch {
	case err != nil:
		return replacement{}, err
	case was.card != nil:
		return v.replaceWith(ctx, was, next, pan, expiry)
	case was.former != nil && next.card != nil && next.card.ID == was.former.CardID:
		// The number was replaced already; the date may still be another.
		return v.replaceWith(ctx, next, next, pan, expiry)
	}
	return replacement{}, ErrCardUnknown
}

func (v *Vault) replaceWith(ctx context.Context, was, next sight, pan token.PAN, expiry token.Expiry) (replacement, error) {
	if next.card != nil && next.card.ID != was.card.ID || next.former != nil && next.former.CardID != was.card.ID {
		return replacement{}, ErrCardKnown
	}
	if next.card != nil && subtle.ConstantTimeCompare(next.card.ExpiryTag, next.print.tag(expiry)) == 1 {
		return replacement{row: *next.card, done: true}, nil
	}
	r := replacement{row: *was.card, expiry: expiry, oldTag: was.card.ExpiryTag, back: next.former}
	r.row.PANIndex, r.row.IndexVersion = next.first.index(), next.first.version
	r.row.ExpiryTag, r.row.Last4 = next.first.tag(expiry), pan.Last4()
	if next.card == nil {
		var err error
		if r.former, err = v.retire(ctx, *was.card); err != nil {
			return replacement{}, err
		}
	}
	return r, v.seal(ctx, &r.row, pan, expiry)
}

// retire makes the row that remembers the number of a card.
func (v *Vault) retire(ctx context.Context, row cardRow) (*formerRow, error) {
	pan, expiry, err := v.unseal(ctx, row)
	if err != nil {
		return nil, err
	}
	f := formerRow{CardID: row.ID, PANIndex: row.PANIndex, IndexVersion: row.IndexVersion,
		SealVersion: v.cfg.Keys.Seal, ReplacedAt: v.cfg.Now().UnixMilli()}
	if f.ID, err = v.name(); err != nil {
		return nil, err
	}
	f.Sealed, err = v.sealFor(ctx, f.ID, f.SealVersion, pan, expiry)
	return &f, err
}

// replace is the one transaction in which a card is replaced.
func (v *Vault) replace(ctx context.Context, r replacement, caller string, a access.Attempt) (c token.Card, err error) {
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opReplace, r.row.PAR)
		if err != nil {
			return err
		}
		if prior == "" && !r.done {
			if err := v.swap(tx, r); err != nil {
				return err
			}
		}
		c, err = v.cardWhere(tx, "par = ?", r.row.PAR)
		return err
	})
	if err != nil {
		return token.Card{}, err
	}
	return c, nil
}

// swap writes r over the row it was made from, unless that has changed.
func (v *Vault) swap(tx *gorm.DB, r replacement) error {
	err := v.mayWrite(tx)
	if err == nil && r.back != nil {
		err = tx.Where("id = ?", r.back.ID).Delete(&formerRow{}).Error
	}
	if err == nil && r.former != nil {
		err = tx.Create(r.former).Error
	}
	if err != nil {
		return raced(err, "remembering a replaced card")
	}
	done := tx.Model(&cardRow{}).Where("id = ? AND expiry_tag = ?", r.row.ID, r.oldTag).
		Updates(map[string]any{"pan_index": r.row.PANIndex, "index_version": r.row.IndexVersion, "expiry_tag": r.row.ExpiryTag,
			"sealed": r.row.Sealed, "seal_version": r.row.SealVersion, "last4": r.row.Last4})
	if done.Error != nil {
		return raced(done.Error, "replacing a card")
	}
	if done.RowsAffected != 1 {
		return errCardRace
	}
	if err := v.part(tx, r.row.ID, r.expiry); err != nil {
		return err
	}
	return v.tellReplaced(tx, r.row)
}

// tellReplaced keeps an event for each living token of a card. It takes their
// rows first, so that nobody else tells of one of them at the same time.
func (v *Vault) tellReplaced(tx *gorm.DB, card cardRow) error {
	done := tx.Model(&tokenRow{}).Where("card_id = ? AND state NOT IN ?", card.ID, ended).Update("revision", gorm.Expr("revision + 1"))
	if done.Error != nil {
		return fmt.Errorf("taking the tokens of a card: %w", done.Error)
	}
	rows, err := v.living(tx, card.ID)
	for i := 0; err == nil && i < len(rows); i++ {
		err = v.emit(tx, event.Event{Type: event.CardReplaced, Ref: token.Ref(rows[i].Ref),
			Requestor: token.Requestor(rows[i].Requestor), At: v.cfg.Now(), Data: map[string]string{"last4": card.Last4}})
	}
	return err
}

// raced is the error of a write that another one may have come before: another
// look tells.
func raced(err error, doing string) error {
	if errors.Is(err, ErrKeyRetired) {
		return err
	}
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return errCardRace
	}
	return fmt.Errorf("%s: %w", doing, err)
}
