package vault

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/token"
)

// Find lists tokens that f describes, newest first, up to limit of them after a
// mark. more tells whether there are others after the last.
func (r *Reader) Find(ctx context.Context, f token.Filter, after token.Mark, limit int) (found []token.Token, more bool, err error) {
	q := r.v.filter(views(r.v.cfg.DB.Read(ctx)), f)
	if after.Ref != "" {
		at := after.CreatedAt.UnixMilli()
		q = q.Where("(tokens.created_at < ? OR tokens.created_at = ? AND tokens.ref < ?)", at, at, string(after.Ref))
	}
	var rows []tokenView
	if err := q.Order("tokens.created_at DESC, tokens.ref DESC").Limit(limit + 1).Find(&rows).Error; err != nil {
		return nil, false, fmt.Errorf("looking for tokens: %w", err)
	}
	if more = len(rows) > limit; more {
		rows = rows[:limit]
	}
	for _, row := range rows {
		t, err := r.v.toToken(row)
		if err != nil {
			return nil, false, err
		}
		found = append(found, t)
	}
	return found, more, nil
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
