package tokenize

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// ErrCursor reports a cursor that no answer to the same search gave.
var ErrCursor = fmt.Errorf("%w: the cursor is not one that a search for this was answered with", token.ErrMalformed)

// MaxPage bounds the tokens of one answer of [Service.Search].
const MaxPage = 100

// Search lists tokens that f describes and c may know of, newest first, up to
// limit of them; 0 is [MaxPage]. When there are more, next is a cursor that
// goes on after them, for the same filter; it is "" on the last page. A token
// that is made meanwhile comes before the first page, so no page repeats one. A token that
// cannot be read is named beside the others of its page.
func (s *Service) Search(ctx context.Context, c access.Caller, f token.Filter, cursor string, limit int) (found token.Page, next string, err error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenRead, filterObject(f), "search"); err != nil {
		return token.Page{}, "", err
	}
	if err := checkFilter(f); err != nil {
		return token.Page{}, "", err
	}
	if limit == 0 {
		limit = MaxPage
	}
	if limit < 1 || limit > MaxPage {
		return token.Page{}, "", fmt.Errorf("%w: a page has 1 to %d tokens", token.ErrMalformed, MaxPage)
	}
	if f, err = s.narrow(ctx, c, f); err != nil {
		return token.Page{}, "", err
	}
	mark, err := parseCursor(cursor, f)
	if err != nil {
		return token.Page{}, "", err
	}
	if found, err = s.cfg.Vault.Find(ctx, f, mark, limit); err != nil {
		return token.Page{}, "", fmt.Errorf("searching tokens: %w", err)
	}
	if found.Next.Ref != "" {
		next = formatCursor(found.Next, f)
	}
	for i, t := range found.Tokens {
		found.Tokens[i] = s.present(t)
	}
	return found, next, nil
}

// filterObject names what is searched in the record.
func filterObject(f token.Filter) string {
	if f.Ref != "" {
		return f.Ref.Object()
	}
	return "tokens"
}

// narrow keeps a caller who acts for one requestor to that one's tokens.
func (s *Service) narrow(ctx context.Context, c access.Caller, f token.Filter) (token.Filter, error) {
	if c.Role != access.Issuer && c.Requestor == "" {
		return f, nil
	}
	if c.Requestor == "" || f.Requestor != "" && string(f.Requestor) != c.Requestor {
		return f, s.cfg.Gate.Refuse(ctx, c, access.TokenRead, filterObject(f), "other-requestor", access.ErrDenied)
	}
	f.Requestor = token.Requestor(c.Requestor)
	return f, nil
}

// checkFilter refuses values that no token has.
func checkFilter(f token.Filter) error {
	if f.Ref != "" && !f.Ref.Valid() {
		return fmt.Errorf("%w: not a token reference", token.ErrMalformed)
	}
	if f.PAR != "" && !f.PAR.Valid() {
		return fmt.Errorf("%w: a payment account reference has 29 upper-case letters and digits", token.ErrMalformed)
	}
	if f.Requestor != "" {
		if _, err := token.ParseRequestor(string(f.Requestor)); err != nil {
			return err
		}
	}
	if f.Last4 != "" && !token.IsLast4(f.Last4) {
		return fmt.Errorf("%w: last four are four digits", token.ErrMalformed)
	}
	if f.State != "" {
		if _, ok := f.State.Next(token.Delete); !ok {
			return fmt.Errorf("%w: an unknown state", token.ErrMalformed)
		}
	}
	return nil
}

// A cursor is a version, the time of the last token in milliseconds, its
// reference, and a hash of the filter it belongs to.
const (
	cursorVersion = 1
	cursorRef     = 28
	cursorHash    = 8
	cursorSize    = 1 + 8 + cursorRef + cursorHash
)

func formatCursor(m token.Mark, f token.Filter) string {
	b := append(make([]byte, 0, cursorSize), cursorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(m.CreatedAt.UnixMilli()))
	b = append(append(b, m.Ref...), filterHash(f)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a cursor of the same filter; "" is the beginning.
func parseCursor(s string, f token.Filter) (token.Mark, error) {
	if s == "" {
		return token.Mark{}, nil
	}
	if len(s) != base64.RawURLEncoding.EncodedLen(cursorSize) {
		return token.Mark{}, ErrCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	// Line ends are passed over in what is decoded, so it may be short.
	if err != nil || len(b) != cursorSize || b[0] != cursorVersion || string(b[cursorSize-cursorHash:]) != string(filterHash(f)) {
		return token.Mark{}, ErrCursor
	}
	m := token.Mark{CreatedAt: time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:9]))).UTC(), Ref: token.Ref(b[9 : 9+cursorRef])}
	if !m.Ref.Valid() {
		return token.Mark{}, ErrCursor
	}
	return m, nil
}

func filterHash(f token.Filter) []byte {
	h := sha256.Sum256(fmt.Appendf(nil, "tapvault cursor\x00%s\x00%s\x00%s\x00%s\x00%s", f.Ref, f.PAR, f.Requestor, f.Last4, f.State))
	return h[:cursorHash]
}
