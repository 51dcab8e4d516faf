package tapdb

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// bearable are the TACs that a phone may still get wrong. They are counted where its
// records are kept, so that neither one sync with many records nor many syncs at
// once find out more.
type bearable struct{ left int }

// left counts by when records came: of one whose TAC is bad nothing vouches for
// the time that it names. A phone's own copies count as well, because nobody else
// can say them in its name.
func left(tx *gorm.DB, w token.WalletID, since time.Time) (*bearable, error) {
	var n int
	err := tx.Raw(`SELECT COUNT(*) FROM taps JOIN wallet_tokens ON wallet_tokens.ref = taps.token_ref
		WHERE wallet_tokens.wallet = ? AND taps.tac_good = ? AND (taps.outcome <> ? OR (taps.sources & ?) <> 0) AND taps.received_at > ?`,
		string(w), false, string(account.Replay), uint8(account.ByPhone), store.Millis(since)).Scan(&n).Error
	if err != nil {
		return nil, fmt.Errorf("counting wrong PINs: %w", err)
	}
	return &bearable{account.MostWrong - n}, nil
}

// refuses takes a try for a record that is new and has a bad TAC. When none is
// left, no new record is looked at, whatever its TAC.
func (t *bearable) refuses(e account.Evidence, s *slot) account.Reason {
	if _, known := s.Find(e.ID()); known {
		return ""
	}
	if t.left <= 0 {
		return account.TokenSuspended
	}
	if !e.TACGood {
		t.left--
	}
	return ""
}
