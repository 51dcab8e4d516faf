package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

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

// event reads a row. What cannot be read is left out, and that is said: an event that was
// passed over would be missed by its reader, and one that stopped its reader would keep
// everybody's events back.
func (r row) event() event.Event {
	e := event.Event{
		ID: r.ID, Type: event.Type(r.Type), Ref: token.Ref(r.Ref), Requestor: token.Requestor(r.Requestor),
		At: time.UnixMilli(r.At).UTC(), Seq: r.Seq, Position: r.Position,
	}
	if w := token.WalletID(r.Ref); w.Valid() {
		e.Ref, e.Wallet = "", w
	}
	if r.Data != "" && json.Unmarshal([]byte(r.Data), &e.Data) != nil {
		e.Data, e.Unreadable = nil, true
	}
	if y := e.At.Year(); y < 1970 || y > 9999 {
		e.At, e.Unreadable = time.UnixMilli(0).UTC(), true
	}
	return e
}

// toEvents reads rows, and tells the operator of those that cannot be read.
func (o *Outbox) toEvents(ctx context.Context, rows []row) []event.Event {
	out := make([]event.Event, len(rows))
	var damaged []string
	for i, r := range rows {
		if out[i] = r.event(); out[i].Unreadable {
			damaged = append(damaged, r.ID)
		}
	}
	if damaged != nil {
		o.unreadable.Add(uint64(len(damaged)))
		o.cfg.Log.ErrorContext(ctx, "stored events cannot be read: they are told without their data", "events", damaged)
	}
	return out
}

// Unreadable is how often an event was read that cannot be.
func (o *Outbox) Unreadable() uint64 { return o.unreadable.Load() }
