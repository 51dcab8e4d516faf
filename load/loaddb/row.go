package loaddb

import (
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/token"
)

// errRow reports a stored order that this program did not write.
var errRow = fault.New(fault.StoreDown, "a stored load cannot be read")

// cardLoad is a row of an order.
type cardLoad struct {
	ID        string `gorm:"primaryKey"`
	Card      []byte
	Purse     int
	Seq       uint16
	Kind      string
	State     string
	Account   string
	Requestor string
	Client    string
	Rand      []byte
	Balance   int64
	Amount    int64
	OldLimit  int64
	NewLimit  int64
	TxnType   int
	Terminal  []byte
	At        []byte
	Probe     []byte
	Misses    int
	Decided   bool
	Revision  int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ChangedAt int64
}

// TableName is the table.
func (cardLoad) TableName() string { return "card_loads" }

func toRow(r load.Record) cardLoad {
	return cardLoad{ID: r.ID, Card: r.Card[:], Purse: int(r.Purse()), Seq: r.Seq, Kind: string(r.Kind), State: string(r.State),
		Account: string(r.Account), Requestor: string(r.Requestor), Client: r.Client, Rand: r.Rand[:], Balance: int64(r.Balance),
		Amount: int64(r.Amount), OldLimit: int64(r.OldLimit.Fen()), NewLimit: int64(r.NewLimit.Fen()), TxnType: int(r.Type),
		Terminal: r.Terminal[:], At: r.At[:], Probe: r.Probe[:], Misses: r.Misses, Decided: r.Decided, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UnixMilli(), ChangedAt: r.ChangedAt.UnixMilli()}
}

func (c cardLoad) record() (load.Record, error) {
	r := load.Record{ID: c.ID, Requestor: token.Requestor(c.Requestor), Client: c.Client, State: load.State(c.State),
		Misses: c.Misses, Decided: c.Decided, Revision: c.Revision, CreatedAt: time.UnixMilli(c.CreatedAt).UTC(), ChangedAt: time.UnixMilli(c.ChangedAt).UTC(),
		Order: load.Order{Kind: load.Kind(c.Kind), Account: token.WalletID(c.Account), Seq: c.Seq, Balance: uint32(c.Balance),
			Amount: uint32(c.Amount), Type: cryptogram.Type(c.TxnType)}}
	ok := c.Balance>>32 == 0 && c.Amount>>32 == 0 && c.TxnType>>8 == 0 && c.OldLimit>>24 == 0 && c.NewLimit>>24 == 0
	for _, f := range []struct{ into, from []byte }{{r.Card[:], c.Card}, {r.Rand[:], c.Rand}, {r.Terminal[:], c.Terminal},
		{r.At[:], c.At}, {r.Probe[:], c.Probe}} {
		ok = ok && copy(f.into, f.from) == len(f.from) && len(f.from) == len(f.into)
	}
	if !ok {
		return r, errRow
	}
	var err1, err2 error
	r.OldLimit, err1 = cryptogram.NewLimit(uint32(c.OldLimit))
	r.NewLimit, err2 = cryptogram.NewLimit(uint32(c.NewLimit))
	if err1 != nil || err2 != nil || r.Validate() != nil {
		return r, errRow
	}
	return r, nil
}
