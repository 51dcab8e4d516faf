package outbox

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// errRow reports a stored event that this program did not write.
var errRow = fault.New(fault.StoreDown, "a stored event cannot be read")

// row is an event as it is stored.
type row struct {
	ID        string `gorm:"primaryKey"`
	Ref       string // of its subject: a token, or a wallet
	Seq       int64
	Type      string
	Requestor string
	At        int64
	Data      string
	Position  int64
}

// TableName is the table.
func (row) TableName() string { return "events" }

func packData(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("keeping an event: %w", err)
	}
	return string(b), nil
}

func toEvents(rows []row) ([]event.Event, error) {
	out := make([]event.Event, len(rows))
	for i, r := range rows {
		var data map[string]string
		if r.Data != "" && json.Unmarshal([]byte(r.Data), &data) != nil {
			return nil, errRow
		}
		out[i] = event.Event{
			ID: r.ID, Type: event.Type(r.Type), Ref: token.Ref(r.Ref), Requestor: token.Requestor(r.Requestor),
			At: time.UnixMilli(r.At).UTC(), Data: data, Seq: r.Seq, Position: r.Position,
		}
		if w := token.WalletID(r.Ref); w.Valid() {
			out[i].Ref, out[i].Wallet = "", w
		}
	}
	return out, nil
}
