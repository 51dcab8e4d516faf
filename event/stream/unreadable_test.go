package stream_test

import (
	"testing"

	"github.com/tapvault/tapvault/event/stream"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestUnreadableEvent: an event that cannot be read keeps nobody's back. Whose it is learns
// that there was one.
func TestUnreadableEvent(t *testing.T) {
	w := newWorld(t, stream.Config{})
	w.emit(t, mine, 1)
	w.look(t)
	r := w.open(t, 0)
	seqs(t, r, 1, 1) // and waits for what the hub hands out
	w.emit(t, others, 1)
	w.emit(t, mine, 2)
	storetest.Exec(t, w.db, "UPDATE events SET data = '{' WHERE requestor = ?", string(others))
	storetest.Exec(t, w.db, "UPDATE events SET data = '{' WHERE requestor = ? AND seq = 2", string(mine))
	w.look(t)
	got := next(t, r)
	if len(got) != 2 || !got[0].Unreadable || got[0].Seq != 2 || got[1].Unreadable || got[1].Seq != 3 {
		t.Errorf("%+v", got)
	}
	seqs(t, w.open(t, 0), 1, 3)
}
