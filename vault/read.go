package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Reader looks at tokens. It is safe for concurrent use.
type Reader struct{ v *Vault }

// Writer issues tokens and moves them. It is safe for concurrent use.
type Writer struct{ *Reader }

// Opener gives back card numbers. It is safe for concurrent use.
type Opener struct{ *Reader }

// Reader returns the right to look.
func (v *Vault) Reader() *Reader { return &Reader{v} }

// Writer returns the right to look, to issue and to move.
func (v *Vault) Writer() *Writer { return &Writer{v.Reader()} }

// Opener returns the right to look and to get card numbers back.
func (v *Vault) Opener() *Opener { return &Opener{v.Reader()} }

// Token returns the token that ref names, as it is stored: time moves no state
// here. It returns [ErrNotFound] when there is none.
func (r *Reader) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	view, err := r.v.reading.tokens.Do(ctx, ref)
	if err != nil {
		return token.Token{}, err
	}
	return r.v.toToken(view)
}

// ByNumber returns the token that bore num at a time: the one whose window
// holds it or else is nearest. A number comes back only long after a window
// closed, so clocks that disagree by minutes do not matter. It returns
// [ErrNotFound] when no token ever bore num.
func (r *Reader) ByNumber(ctx context.Context, num token.Number, at time.Time) (token.Token, error) {
	p, ok := r.v.find(num)
	if !ok { // perhaps a range that another process has made since
		if err := r.v.LearnRanges(ctx); err != nil {
			return token.Token{}, err
		}
		if p, ok = r.v.find(num); !ok {
			return token.Token{}, ErrNotFound
		}
	}
	rows, err := r.v.reading.numbers.Do(ctx, p)
	if err != nil {
		return token.Token{}, err
	}
	if len(rows) == 0 {
		return token.Token{}, ErrNotFound
	}
	return r.v.toToken(nearest(rows, at.UnixMilli()))
}

// find says where a number stands, if one of the ranges that are known can have
// it; no two can.
func (v *Vault) find(num token.Number) (p place, ok bool) {
	for _, n := range v.ranges.all() {
		if serial, ok := n.serial(num); ok {
			return place{n.Name, serial}, true
		}
	}
	return place{}, false
}

// nearest picks the row whose window is least far from at.
func nearest(rows []tokenView, at int64) tokenView {
	far := func(r tokenView) int64 { return max(r.Row.NotBefore-at, at-r.Row.NotAfter+1, 0) }
	best := rows[0]
	for _, r := range rows[1:] {
		if far(r) < far(best) {
			best = r
		}
	}
	return best
}

// one reads the token that ref names.
func (v *Vault) one(db *gorm.DB, ref token.Ref) (token.Token, error) {
	view, err := oneView(db, ref)
	if err != nil {
		return token.Token{}, err
	}
	return v.toToken(view)
}

func oneView(db *gorm.DB, ref token.Ref) (view tokenView, err error) {
	err = views(db).Where("tokens.ref = ?", string(ref)).Take(&view).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return view, ErrNotFound
	}
	if err != nil {
		return view, fmt.Errorf("reading a token: %w", err)
	}
	return view, nil
}

// ofTokens are the columns of a token and what is shown of its card, in the
// order in which [tokenView.scan] reads them.
const (
	ofTokens = "tokens.ref, tokens.created_at, tokens.card_id, tokens.range_id, tokens.serial, tokens.requestor, tokens.psn, tokens.expiry, " +
		"tokens.location, tokens.state, tokens.not_before, tokens.not_after, tokens.ctr_first, tokens.ctr_next, " +
		"tokens.changed_at, tokens.assurance_method, tokens.assurance_data, tokens.form_factor, " +
		"tokens.device, tokens.suspenders, tokens.decision, tokens.controls, tokens.renews, tokens.renewed_by, " +
		"tokens.notice, tokens.notice_reason, tokens.noticed_at, tokens.revision, tokens.living, tokens.kept_until, cards.par, cards.last4"
	withCards = "JOIN cards ON cards.id = tokens.card_id"
)

// views selects tokens with what is shown of their cards.
func views(db *gorm.DB) *gorm.DB { return db.Table("tokens").Select(ofTokens).Joins(withCards) }

// scan reads [ofTokens].
func (t *tokenView) scan(rows *sql.Rows) error {
	r := &t.Row
	return rows.Scan(&r.Ref, &r.CreatedAt, &r.CardID, &r.RangeID, &r.Serial, &r.Requestor, &r.PSN, &r.Expiry,
		&r.Location, &r.State, &r.NotBefore, &r.NotAfter, &r.CtrFirst, &r.CtrNext,
		&r.ChangedAt, &r.AssuranceMethod, &r.AssuranceData, &r.FormFactor,
		&r.Device, &r.Suspenders, &r.Decision, &r.Controls, &r.Renews, &r.RenewedBy,
		&r.Notice, &r.NoticeReason, &r.NoticedAt, &r.Revision, &r.Living, &r.KeptUntil, &t.PAR, &t.Last4)
}

// Sealed returns how the token stands that ref names, and the card behind it. Whether that
// may be opened is the caller's to decide. It returns [ErrNotFound] when there
// is no such token.
func (o *Opener) Sealed(ctx context.Context, ref token.Ref) (token.Standing, token.Sealed, error) {
	row, err := o.v.reading.sealed.Do(ctx, ref)
	if err != nil {
		return token.Standing{}, nil, err
	}
	t, err := o.v.toStanding(row)
	if err != nil {
		return token.Standing{}, nil, err
	}
	return t, func(ctx context.Context) (token.PAN, token.Expiry, error) {
		pan, expiry, err := o.v.open(ctx, row)
		if fault.KindOf(err) == fault.HSMKey { // sealed anew since, and that key retired
			return o.PAN(ctx, ref)
		}
		return pan, expiry, err
	}, nil
}

// SealedByNumber is Sealed for the token that bore num at a time, as
// [Reader.ByNumber] finds it.
func (o *Opener) SealedByNumber(ctx context.Context, num token.Number, at time.Time) (token.Standing, token.Sealed, error) {
	t, err := o.ByNumber(ctx, num, at)
	return t.Standing(), func(ctx context.Context) (token.PAN, token.Expiry, error) { return o.PAN(ctx, t.Ref) }, err
}

// PAN gives back the number and the expiry date of the card behind a token.
// Whether it may be given is the caller's to have decided.
func (o *Opener) PAN(ctx context.Context, ref token.Ref) (token.PAN, token.Expiry, error) {
	row, err := o.v.reading.sealed.Do(ctx, ref)
	if err != nil {
		return token.PAN{}, "", err
	}
	return o.v.open(ctx, row)
}

// open opens the card behind a token.
func (v *Vault) open(ctx context.Context, r *sealedRow) (token.PAN, token.Expiry, error) {
	return v.unsealFrom(ctx, r.CardID, r.SealVersion, r.Sealed)
}
