package hookdb_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/webhook"
	"github.com/tapvault/tapvault/webhook/hookdb"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// TestQueue: an endpoint begins with what comes after it was first seen, and is sent its own
// requestor's events; of two who change how it fares from the same, one does.
func TestQueue(t *testing.T) {
	db := storetest.New(t)
	events, err := outbox.New(outbox.Config{DB: db, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	q := hookdb.New(db, events, now)
	e := webhook.Endpoint{Name: "bank", Requestor: "12345678901", URL: "https://bank.example"}
	emit := func(w token.WalletID, r token.Requestor) {
		t.Helper()
		err := db.Tx(t.Context(), func(tx *gorm.DB) error {
			return events.Emit(tx, event.Event{Type: event.WalletOpened, Wallet: w, Requestor: r, At: now(), Data: map[string]string{"state": "ACTIVE"}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	emit("wlAAAAAAAAAAAAAAAAAAAAAAAAAA", e.Requestor)
	if err := q.Fill(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	emit("wlBAAAAAAAAAAAAAAAAAAAAAAAAA", "50110000001")
	emit("wlCAAAAAAAAAAAAAAAAAAAAAAAAA", e.Requestor)
	if err := q.Fill(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	got, err := q.Claim(t.Context(), e, now().Add(time.Minute), 10)
	if err != nil || len(got) != 1 || got[0].Event.Wallet != "wlCAAAAAAAAAAAAAAAAAAAAAAAAA" || got[0].Attempt != 1 {
		t.Errorf("%+v, %v", got, err)
	}

	was, rests, well := webhook.Rest{}, webhook.Rest{Failures: 3, Until: now()}, webhook.Rest{Failures: 3, Until: now().Add(time.Minute)}
	for i, c := range []struct {
		from, to webhook.Rest
		changed  bool
	}{{was, rests, true}, {was, well, false}, {rests, well, true}, {rests, was, false}, {webhook.Rest{Failures: 2, Until: well.Until}, was, false}, {well, was, true}} {
		if ok, err := q.Change(t.Context(), e, c.from, c.to); err != nil || ok != c.changed {
			t.Errorf("change %d: %t, %v", i, ok, err)
		}
	}
}
