package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Find lists tokens that f describes, newest first, up to limit of them after a
// mark. One that cannot be read is named beside the others, and the operator is told.
func (r *Reader) Find(ctx context.Context, f token.Filter, after token.Mark, limit int) (page token.Page, err error) {
	q := r.v.filter(views(r.v.cfg.DB.Read(ctx)), f)
	if after.Ref != "" {
		at := after.CreatedAt.UnixMilli()
		q = q.Where("(tokens.created_at < ? OR tokens.created_at = ? AND tokens.ref < ?)", at, at, string(after.Ref))
	}
	found, err := scanAll(q.Order("tokens.created_at DESC, tokens.ref DESC").Limit(limit + 1))
	if err != nil {
		return token.Page{}, fmt.Errorf("looking for tokens: %w", err)
	}
	for n, row := range found {
		if n == limit {
			if page.Next.Ref == "" {
				return token.Page{}, errUnplaced
			}
			break
		}
		if err := r.v.show(row.view, row.err, &page); err != nil {
			return token.Page{}, err
		}
		if at := row.view.Row.CreatedAt; at != 0 {
			page.Next = token.Mark{CreatedAt: moment(at), Ref: token.Ref(row.view.Row.Ref)}
		}
	}
	if len(found) <= limit {
		page.Next = token.Mark{}
	}
	if page.Unreadable != nil {
		passOver(ctx, r.v, "stored tokens cannot be read: who searches is told their references only", "tokens", page.Unreadable)
	}
	return page, nil
}

// errUnplaced reports a page of tokens of which nobody can say where it ends.
var errUnplaced = fault.Unreadable(errors.New("looking for tokens: none of a page says when it was made"))

// scannedView is a token, or the error of reading it and as much of it as can be read.
type scannedView struct {
	view tokenView
	err  error
}

// scanAll reads what a query of [views] finds.
func scanAll(q *gorm.DB) (all []scannedView, err error) {
	rows, err := q.Rows()
	if err != nil {
		return nil, store.Scanned(err)
	}
	defer func() { err = store.Scanned(errors.Join(err, rows.Err(), rows.Close())) }()
	for rows.Next() {
		var t tokenView
		err := t.scan(rows)
		its, err := scanned("token", t.Row.Ref, err)
		if err != nil {
			return nil, err
		}
		all = append(all, scannedView{t, its})
	}
	return all, nil
}

// show puts a token into a page, or its reference if it cannot be read.
func (v *Vault) show(row tokenView, err error, page *token.Page) error {
	var t token.Token
	if err == nil {
		t, err = v.toToken(row)
	}
	if err == nil && dated(t) {
		page.Tokens = append(page.Tokens, t)
		return nil
	}
	if err != nil && !fault.IsUnreadable(err) && !errors.Is(err, errNoRange) {
		return err
	}
	page.Unreadable = append(page.Unreadable, token.Ref(row.Row.Ref))
	return nil
}

// filter turns f into conditions.
func (v *Vault) filter(q *gorm.DB, f token.Filter) *gorm.DB {
	for column, value := range map[string]string{"tokens.ref": string(f.Ref), "cards.par": string(f.PAR),
		"tokens.requestor": string(f.Requestor), "cards.last4": f.Last4} {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	now := v.cfg.Now().UnixMilli()
	switch f.State {
	case "":
		return q
	case token.Deleted:
		return q.Where("tokens.state = ?", string(f.State))
	case token.Expired: // by the sweep, or by time alone
		return q.Where("(tokens.state = ? OR tokens.state <> ? AND tokens.not_after <= ?)", string(token.Expired), string(token.Deleted), now)
	}
	return q.Where("tokens.state = ? AND tokens.not_after > ?", string(f.State), now)
}

// dated reports whether the moments of a token are of years that can be written.
func dated(t token.Token) bool {
	all := []time.Time{t.NotBefore, t.NotAfter, t.CreatedAt, t.ChangedAt}
	if t.Provisioned != nil {
		all = append(all, t.Provisioned.At)
	}
	return !slices.ContainsFunc(all, func(at time.Time) bool { return at.Year() < 1 || at.Year() > 9999 })
}
