package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/token"
)

// deniedRow is what is asked about a token that may not pay.
type deniedRow struct {
	Ref       string
	NotAfter  int64
	KeptUntil int64
}

// Denied lists the tokens that may not pay although counters were handed out
// under them, and whose windows end after a moment: those that somebody holds
// back, also when their end came meanwhile, those that were deleted, and those whose
// window was made shorter and has ended, while devices hold keys for the longer one. It
// is made to be asked often.
func (r *Reader) Denied(ctx context.Context, after time.Time) ([]token.Denied, error) {
	var rows []deniedRow
	// The windows as they are, and then those that were longer once. Each
	// question has an index, whose condition stands here word for word.
	for _, denied := range []string{"(suspenders <> 0 OR state = 'DELETED') AND not_after > @after",
		"kept_until > 0 AND kept_until > @after AND not_after <= @after"} {
		var more []deniedRow
		err := r.v.cfg.DB.Read(ctx).Table("tokens").Select("ref, not_after, kept_until").
			Where(denied+" AND ctr_next > ctr_first", sql.Named("after", after.UnixMilli())).Find(&more).Error
		if err != nil {
			return nil, fmt.Errorf("looking for denied tokens: %w", err)
		}
		rows = append(rows, more...)
	}
	out := make([]token.Denied, len(rows))
	for i, row := range rows {
		out[i] = token.Denied{Ref: token.Ref(row.Ref), Until: moment(max(row.NotAfter, row.KeptUntil))}
	}
	return out, nil
}

// maxAsked bounds how many rows one statement asks for.
const maxAsked = 500

// Numbers returns the numbers of tokens. A reference that names no token is left
// out, and so is one of a token of which the number cannot be read.
func (r *Reader) Numbers(ctx context.Context, refs []token.Ref) (map[token.Ref]token.Number, error) {
	out := make(map[token.Ref]token.Number, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), maxAsked)
		if err := r.v.numbers(r.v.cfg.DB.Read(ctx), refs[:n], out); err != nil {
			return nil, err
		}
		refs = refs[n:]
	}
	return out, nil
}

func (v *Vault) numbers(db *gorm.DB, refs []token.Ref, into map[token.Ref]token.Number) error {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = string(ref)
	}
	var rows []struct {
		Ref     string
		RangeID string
		Serial  int64
	}
	if err := db.Table("tokens").Select("ref, range_id, serial").Where("ref IN ?", names).Find(&rows).Error; err != nil {
		return fmt.Errorf("reading the numbers of tokens: %w", err)
	}
	for _, row := range rows {
		n, err := v.rangeByName(row.RangeID)
		if err != nil && !errors.Is(err, errNoRange) {
			return fmt.Errorf("token %s: %w", row.Ref, err)
		}
		if err != nil {
			continue
		}
		if number, err := n.number(row.Serial); err == nil {
			into[token.Ref(row.Ref)] = number
		}
	}
	return nil
}
