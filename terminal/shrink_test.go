package terminal_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/wallet/credential"
)

// dayOf makes what was tapped on a day: so many slots, which end when it does.
func dayOf(t testing.TB, day, n int) (taps []terminal.Tap) {
	t.Helper()
	at := noon.AddDate(0, 0, day)
	for i := range n {
		u, err := credential.NewUD(at.Add(12*time.Hour), uint16(i), 1000, credential.Medium, 1)
		if err != nil {
			t.Fatal(err)
		}
		x := tap(t, i)
		x.UD, x.ASN[9], x.At = u, byte(day), cryptogram.DateTimeOf(at)
		taps = append(taps, x)
	}
	return taps
}

// fileSize is how large the queue's file is.
func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestQueueShrinks has a reader run for a week: its file and its memory stay what a day or
// two come to, and what waits is not lost.
func TestQueueShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	const days, perDay = 8, 150
	var largest int64
	for day := range days {
		taps := dayOf(t, day, perDay)
		add(t, q, taps...)
		up := uploaderFunc(func([]terminal.Tap) {})
		if _, err := q.Flush(t.Context(), number, up); err != nil {
			t.Fatal(err)
		}
		if !q.Seen(taps[0].ASN, 0) || !q.Seen(taps[perDay-1].ASN, perDay-1) {
			t.Fatalf("the slots of day %d are forgotten on that day", day)
		}
		largest = max(largest, fileSize(t, path))
	}
	if now := fileSize(t, path); now >= largest {
		t.Errorf("the file never shrank: %d bytes of at most %d", now, largest)
	}
	if q.Seen(dayOf(t, 0, 1)[0].ASN, 0) {
		t.Error("slots that ended a week ago are remembered")
	}
	waits := dayOf(t, days, 1)
	add(t, q, waits...)
	_ = q.Close()
	q = openQueue(t, path, noon.AddDate(0, 0, days))
	up := &clearing{}
	if _, err := q.Flush(t.Context(), number, up); err != nil || len(up.got) != 1 || up.got[0] != waits[0] {
		t.Fatalf("behind a file that was written anew: %v, %v", up.got, err)
	}
}

// TestQueueShrinksAroundDeferred: what was deferred stays, at its place, with what waits
// behind it.
func TestQueueShrinksAroundDeferred(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	odd, up := tap(t, 9999), &deferring{ill: map[uint16]bool{9999: true}}
	add(t, q, odd)
	largest, shrank := int64(0), false
	for day := 1; day < 10 && !shrank; day++ {
		add(t, q, dayOf(t, day, 150)...)
		if _, err := q.Flush(t.Context(), number, up); err != nil {
			t.Fatal(err)
		}
		now := fileSize(t, path)
		largest, shrank = max(largest, now), now < largest
	}
	if !shrank || q.Pending() != 1 || !q.Seen(odd.ASN, odd.UD.Ctr) {
		t.Fatalf("it shrank: %v, %d wait, the slot of the one is seen: %v", shrank, q.Pending(), q.Seen(odd.ASN, odd.UD.Ctr))
	}
	_ = q.Close()
	q = openQueue(t, path, noon)
	all := &clearing{}
	if _, err := q.Flush(t.Context(), number, all); err != nil || len(all.got) != 1 || all.got[0] != odd {
		t.Fatalf("%v, %v", all.got, err)
	}
}

// TestQueueInAnothersPlace: where another file has the queue's name, the queue goes on
// with its own and touches neither.
func TestQueueInAnothersPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for day := range 9 {
		add(t, q, dayOf(t, day, 150)...)
		if _, err := q.Flush(t.Context(), number, &clearing{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := fileSize(t, path); n != 0 {
		t.Errorf("%d bytes were written into another's file", n)
	}
}
