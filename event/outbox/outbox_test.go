package outbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

const requestor = token.Requestor("12345678901")

// ref is the n-th reference of a test.
func ref(n int) token.Ref {
	return token.Ref("tr" + strings.Repeat("A", 24) + string(rune('A'+n/26)) + string(rune('A'+n%26)))
}

func open(t *testing.T, db *store.DB, now func() time.Time) (*outbox.Outbox, *store.DB) {
	t.Helper()
	o, err := outbox.New(outbox.Config{DB: db, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return o, db
}

func emit(t *testing.T, o *outbox.Outbox, db *store.DB, events ...event.Event) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		for _, e := range events {
			if err := o.Emit(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, o *outbox.Outbox, f event.Filter, after int64, limit int) []event.Event {
	t.Helper()
	got, err := o.List(t.Context(), f, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func what(events []event.Event) (out []string) {
	for _, e := range events {
		out = append(out, fmt.Sprintf("%d %s %s %d", e.Position, e.Type, e.Ref[26:], e.Seq))
	}
	return out
}

// On either kind of database.
func TestOutbox(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		t.Run("in order and once", func(t *testing.T) { inOrderAndOnce(t, db(t)) })
		t.Run("rolled back", func(t *testing.T) { rolledBack(t, db(t)) })
		t.Run("unreadable", func(t *testing.T) { unreadable(t, db(t)) })
		t.Run("nothing missed", func(t *testing.T) { nothingMissed(t, db(t)) })
	})
}

func inOrderAndOnce(t *testing.T, db *store.DB) {
	at := time.Date(2026, 2, 28, 15, 59, 59, 0, time.UTC)
	o, _ := open(t, db, func() time.Time { at = at.Add(time.Millisecond); return at })
	emit(t, o, db, event.Event{Type: event.Issued, Ref: ref(0), Requestor: requestor, Data: map[string]string{"state": "REQUESTED"}})
	emit(t, o, db, event.Event{Type: event.Issued, Ref: ref(1), Requestor: "10987654321"})
	emit(t, o, db, event.Event{Type: event.Delivered, Ref: ref(0), Requestor: requestor},
		event.Event{Type: event.Activated, Ref: ref(0), Requestor: requestor})
	all := list(t, o, event.Filter{}, 0, 10)
	// Of one token, each batch numbers the first: the third event waits for the
	// next one.
	want := []string{"1 token.issued AA 1", "2 token.issued AB 1", "3 token.delivered AA 2", "4 token.activated AA 3"}
	if !slices.Equal(what(all), want) {
		t.Errorf("listed %q, want %q", what(all), want)
	}
	if e := all[0]; e.Data["state"] != "REQUESTED" || e.Requestor != requestor || e.At.IsZero() || len(e.ID) != 28 {
		t.Errorf("the first event came back as %+v", e)
	}
	for _, c := range []struct {
		name   string
		filter event.Filter
		after  int64
		limit  int
		want   []string
	}{
		{"a page", event.Filter{}, 1, 2, want[1:3]},
		{"one requestor's", event.Filter{Requestor: "10987654321"}, 0, 9, want[1:2]},
		{"one token's", event.Filter{Ref: ref(0)}, 1, 9, want[2:]},
		{"behind the end", event.Filter{}, 4, 9, nil},
		{"before the beginning", event.Filter{}, -3, 1, want[:1]},
	} {
		if got := what(list(t, o, c.filter, c.after, c.limit)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	found, err := o.Find(t.Context(), []string{all[2].ID, all[0].ID, "evNONE"})
	if err != nil || len(found) != 2 || found[0].ID != all[0].ID {
		t.Errorf("found %v, %v", found, err)
	}
}

// An event of a transaction that fails is never told.
func rolledBack(t *testing.T, db *store.DB) {
	o, _ := open(t, db, nil)
	stop := errors.New("stop")
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		if err := o.Emit(tx, event.Event{Type: event.Issued, Ref: ref(0), Requestor: requestor}); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if got := list(t, o, event.Filter{}, 0, 9); len(got) != 0 {
		t.Errorf("told %v", got)
	}
}

// A reader that goes on from the last position it saw misses nothing, while
// others write, number and read.
func nothingMissed(t *testing.T, db *store.DB) {
	o, _ := open(t, db, nil)
	const writers, each = 4, 30
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				emit(t, o, db, event.Event{Type: event.Updated, Ref: ref(w), Requestor: requestor})
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var seen []event.Event
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for {
			after := int64(0)
			if len(seen) > 0 {
				after = seen[len(seen)-1].Position
			}
			page := list(t, o, event.Filter{}, after, 7)
			if len(page) == 0 {
				break
			}
			seen = append(seen, page...)
		}
	}
	next := map[token.Ref]int64{}
	for i, e := range seen {
		if next[e.Ref]++; e.Seq != next[e.Ref] || e.Position != int64(i+1) {
			t.Fatalf("event %d has position %d and is number %d of its token, want %d", i, e.Position, e.Seq, next[e.Ref])
		}
	}
	if len(seen) != writers*each {
		t.Errorf("saw %d events, want %d", len(seen), writers*each)
	}
}

func TestEmitRefusesWhatMayNotBeTold(t *testing.T) {
	o, db := open(t, storetest.New(t), nil)
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		return o.Emit(tx, event.Event{Type: event.Issued, Ref: ref(0), Requestor: requestor, Data: map[string]string{"card": "6212345600001234"}})
	})
	if !errors.Is(err, event.ErrInvalid) {
		t.Errorf("got %v, want %v", err, event.ErrInvalid)
	}
}

func TestNewRefusesAnEmptyConfig(t *testing.T) {
	if _, err := outbox.New(outbox.Config{}); err == nil {
		t.Error("an outbox without a database was opened")
	}
}

// unreadable: an event that cannot be read is told without its data, and so is whatever
// comes behind it, of its requestor and of others; the operator hears of it.
func unreadable(t *testing.T, db *store.DB) {
	var log strings.Builder
	o, err := outbox.New(outbox.Config{DB: db, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		emit(t, o, db, event.Event{Type: event.Issued, Ref: ref(n), Requestor: requestor, Data: map[string]string{"state": "REQUESTED"}})
	}
	whole := list(t, o, event.Filter{}, 0, 9)
	for i, c := range []struct{ damage, mend string }{
		{`data = '{"state":"4761739001010010'`, `data = '{"state":"REQUESTED"}'`},
		{"at = 9000000000000000000", fmt.Sprint("at = ", whole[1].At.UnixMilli())},
	} {
		storetest.Exec(t, db, "UPDATE events SET "+c.damage+" WHERE id = ?", whole[i].ID)
		got := list(t, o, event.Filter{Requestor: requestor}, 0, 9)
		if len(got) != 3 || !slices.Equal(what(got), what(whole)) || !got[i].Unreadable || got[2].Unreadable || got[2].Data["state"] != "REQUESTED" {
			t.Fatalf("%s: %+v", c.damage, got)
		}
		if _, err := json.Marshal(got[i].At); err != nil || got[0].Data != nil && i == 0 {
			t.Errorf("%s: told as %+v, %v", c.damage, got[i], err)
		}
		found, err := o.Find(t.Context(), []string{whole[i].ID, whole[2].ID})
		if err != nil || len(found) != 2 || !found[0].Unreadable {
			t.Errorf("%s: found %+v, %v", c.damage, found, err)
		}
		if o.Unreadable() != uint64(2*i+2) || !strings.Contains(log.String(), whole[i].ID) || strings.Contains(log.String(), "4761") {
			t.Errorf("%s: %d times, told:\n%s", c.damage, o.Unreadable(), log.String())
		}
		storetest.Exec(t, db, "UPDATE events SET "+c.mend+" WHERE id = ?", whole[i].ID)
	}
	if got := list(t, o, event.Filter{}, 0, 9); !reflect.DeepEqual(got, whole) {
		t.Errorf("mended: %+v", got)
	}
}
