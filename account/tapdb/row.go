package tapdb

import (
	"fmt"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// errRow reports a stored tap that this program did not write.
var errRow = fault.Unreadable(fault.New(fault.StoreDown, "a stored tap cannot be read"))

// tap is a row of evidence.
type tap struct {
	ID          string `gorm:"primaryKey"`
	TokenRef    string
	Ctr         uint16
	Outcome     string
	TACGood     bool `gorm:"column:tac_good"`
	Moment      int64
	Reporter    string
	ReceivedAt  int64
	ChangedAt   int64
	Terminal    []byte
	Issuer      []byte
	UD          []byte `gorm:"column:ud"`
	CardRandom  []byte
	Amount      int64
	TxnType     uint8
	TermSeq     int64
	At          []byte
	KeyVersion  uint8
	AlgorithmID uint8
	Balance     int64
	MAC1        []byte `gorm:"column:mac1"`
	MAC2        []byte `gorm:"column:mac2"`
	TAC         []byte `gorm:"column:tac"`
	ListVersion int64
	Sources     uint8
	Fresh       bool
	Late        uint8
	Owned       bool
	Rival       string
}

// TableName is the table.
func (tap) TableName() string { return "taps" }

func toRow(e account.Entry, now time.Time) tap {
	t, ud := e.Tap, e.Tap.UD.Bytes()
	return tap{
		ID: e.ID(), TokenRef: string(e.Ref), Ctr: t.Seq, Outcome: string(e.Outcome), TACGood: e.TACGood,
		Moment: e.Moment.UnixMilli(), Reporter: e.Reporter, ReceivedAt: e.Received.UnixMilli(), ChangedAt: now.UnixMilli(),
		Terminal: t.Terminal[:], Issuer: t.Issuer[:], UD: ud[:], CardRandom: t.Rand[:],
		Amount: int64(t.Amount), TxnType: uint8(t.Type), TermSeq: int64(t.TermSeq), At: t.At[:],
		KeyVersion: t.KeyVer, AlgorithmID: t.AlgID, Balance: int64(t.Balance),
		MAC1: t.MAC1[:], MAC2: t.MAC2[:], TAC: t.TAC[:], ListVersion: int64(t.ListVersion),
		Sources: uint8(e.Sources), Fresh: e.Fresh, Late: uint8(e.Late), Owned: e.Owned, Rival: e.Rival,
	}
}

// entry is the inverse of toRow, but for the token number, which is not stored.
func (r tap) entry() (account.Entry, error) {
	ud, err := credential.ParseUD(r.UD)
	if err != nil {
		return account.Entry{}, fmt.Errorf("%w: use descriptor", errRow)
	}
	for _, n := range []int64{r.Amount, r.TermSeq, r.Balance} {
		if int64(uint32(n)) != n {
			return account.Entry{}, fmt.Errorf("%w: a number out of range", errRow)
		}
	}
	t := account.Tap{
		UD: ud, Seq: r.Ctr, Amount: token.Amount(r.Amount), Type: cryptogram.Type(r.TxnType), TermSeq: uint32(r.TermSeq),
		KeyVer: r.KeyVersion, AlgID: r.AlgorithmID, Balance: uint32(r.Balance), ListVersion: uint64(r.ListVersion),
		Failed: account.Sources(r.Sources)&(account.ByFailure|account.ByTerminal|account.BySystem) == account.ByFailure,
	}
	fields := []struct{ to, from []byte }{
		{t.Terminal[:], r.Terminal}, {t.Issuer[:], r.Issuer}, {t.Rand[:], r.CardRandom}, {t.At[:], r.At},
		{t.MAC1[:], r.MAC1}, {t.MAC2[:], r.MAC2}, {t.TAC[:], r.TAC},
	}
	for _, f := range fields {
		if copy(f.to, f.from) != len(f.to) || len(f.from) != len(f.to) {
			return account.Entry{}, fmt.Errorf("%w: length of a field", errRow)
		}
	}
	return account.Entry{Outcome: account.Outcome(r.Outcome), Evidence: account.Evidence{
		Ref: token.Ref(r.TokenRef), Tap: t, Moment: time.UnixMilli(r.Moment).UTC(), TACGood: r.TACGood,
		Reporter: r.Reporter, Received: time.UnixMilli(r.ReceivedAt).UTC(),
		Sources: account.Sources(r.Sources), Fresh: r.Fresh, Late: account.Lateness(r.Late), Owned: r.Owned, Rival: r.Rival,
	}}, nil
}

// refusal is a row of a rejected record.
type refusal struct {
	ID         string `gorm:"primaryKey"`
	TokenRef   string
	Ctr        uint16
	Reason     string
	Reporter   string
	ReceivedAt int64
	Terminal   []byte
	TermSeq    int64
	At         []byte
	Amount     int64
}

// TableName is the table.
func (refusal) TableName() string { return "tap_refusals" }

func toRefusal(r account.Refusal) refusal {
	t := r.Tap
	return refusal{ID: r.ID(), TokenRef: string(r.Ref), Ctr: t.Seq, Reason: string(r.Reason), Reporter: r.Reporter,
		ReceivedAt: r.Received.UnixMilli(), Terminal: t.Terminal[:], TermSeq: int64(t.TermSeq), At: t.At[:], Amount: int64(t.Amount)}
}
