package terminal_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapvault/tapvault/terminal"
)

// deferring is an uploader that does not judge the taps of some slots, and remembers which were sent.
type deferring struct {
	ill  map[uint16]bool
	sent [][]uint16 // slots, by batch
}

func (d *deferring) Upload(_ context.Context, _ [6]byte, taps []terminal.Tap) ([]terminal.Receipt, error) {
	var slots []uint16
	out := make([]terminal.Receipt, len(taps))
	for i, t := range taps {
		slots = append(slots, t.Seq)
		if out[i].Outcome = "POSTED"; d.ill[t.Seq] {
			out[i] = terminal.Receipt{Outcome: terminal.Deferred, Reason: "UNREADABLE"}
		}
	}
	d.sent = append(d.sent, slots)
	return out, nil
}

// flush flushes and reports which slots were sent, in one batch or none.
func (d *deferring) flush(t *testing.T, q *terminal.Queue) []uint16 {
	t.Helper()
	d.sent = nil
	got, err := q.Flush(t.Context(), number, d)
	if err != nil || len(d.sent) > 1 {
		t.Fatalf("%v: %v, %v", d.sent, got, err)
	}
	if d.sent == nil {
		return nil
	}
	return d.sent[0]
}

// TestDeferredTapHoldsUpNoOther: a tap that is deferred stays in the queue, also when it is opened again; those behind it
// go, and it is sent again later, less and less often, until it is judged.
func TestDeferredTapHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "taps")
		q := openQueue(t, path, noon)
		d := &deferring{ill: map[uint16]bool{1: true, 3: true}}
		sends := func(name string, waits int, want ...uint16) {
			t.Helper()
			if got := d.flush(t, q); !slices.Equal(got, want) || q.Pending() != waits {
				t.Errorf("%s: %v are sent, want %v; %d wait, want %d", name, got, want, q.Pending(), waits)
			}
		}
		add(t, q, tap(t, 1), tap(t, 2), tap(t, 3), tap(t, 4))
		sends("at first", 2, 1, 2, 3, 4)
		sends("at once", 2)
		add(t, q, tap(t, 5))
		sends("one behind it", 2, 5)
		time.Sleep(59 * time.Second)
		add(t, q, tap(t, 6))
		sends("within a minute", 2, 6)
		time.Sleep(time.Second)
		add(t, q, tap(t, 7))
		sends("after a minute", 2, 1, 3, 7)
		time.Sleep(time.Minute)
		sends("within two more", 2)
		time.Sleep(time.Minute)
		d.ill[3] = false
		sends("after two more", 1, 1, 3)
		tries := 0
		for range 24 * 60 {
			time.Sleep(time.Minute)
			tries += len(d.flush(t, q))
		}
		if tries < 24 || tries > 28 {
			t.Errorf("it was sent %d times in a day", tries)
		}
		_ = q.Close()
		q = openQueue(t, path, noon) // a restart asks at once
		for n := uint16(1); n <= 7; n++ {
			if !q.Seen(tap(t, 1).ASN, n) {
				t.Errorf("slot %d is forgotten", n)
			}
		}
		sends("opened again", 1, 1)
		d.ill = nil
		time.Sleep(time.Minute)
		sends("mended", 0, 1)
		_ = q.Close()
		if q = openQueue(t, path, noon); q.Pending() != 0 {
			t.Errorf("%d wait", q.Pending())
		}
	})
}

// TestDeferredCutAnywhere: a process that dies in the middle of a write has no tap less that was not judged.
func TestDeferredCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	d := &deferring{ill: map[uint16]bool{1: true, 3: true}}
	add(t, q, tap(t, 1), tap(t, 2), tap(t, 3))
	d.flush(t, q)
	add(t, q, tap(t, 4))
	d.ill[4] = true
	d.flush(t, q) // changes nothing
	add(t, q, tap(t, 5))
	d.flush(t, q)
	_ = q.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	waits := [][]uint16{{}, {1}, {1, 2}, {1, 2, 3}, {1, 3}, {1, 3, 4}, {1, 3, 4, 5}, {1, 3, 4}} // by whole lines
	if n := bytes.Count(whole, []byte{'\n'}); n != len(waits)-1 {
		t.Fatalf("%d lines", n)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		q := openQueue(t, path, noon)
		want := waits[bytes.Count(whole[:cut], []byte{'\n'})]
		if got := (&deferring{}).flush(t, q); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v wait, want %v", cut, got, want)
		}
		_ = q.Close()
	}
}

// TestManyDeferred: more deferred taps than a batch holds keep no other waiting, and each is sent once.
func TestManyDeferred(t *testing.T) {
	q := openQueue(t, filepath.Join(t.TempDir(), "taps"), noon)
	d := &deferring{ill: map[uint16]bool{}}
	for n := range terminal.MaxBatch + 2 {
		add(t, q, tap(t, n))
		d.ill[uint16(n)] = n <= terminal.MaxBatch
	}
	got, err := q.Flush(t.Context(), number, d)
	if err != nil || len(got) != terminal.MaxBatch+2 || len(d.sent) != 2 || len(d.sent[1]) != 2 || q.Pending() != terminal.MaxBatch+1 {
		t.Errorf("%d receipts in %d batches, %v; %d wait", len(got), len(d.sent), err, q.Pending())
	}
}
