package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/wallet/credential"
)

// tap is a phone's nth tap.
func tap(t testing.TB, n int) terminal.Tap {
	t.Helper()
	u, err := credential.NewUD(noon.Add(12*time.Hour), uint16(n), 1000, credential.Medium, 1)
	if err != nil {
		t.Fatal(err)
	}
	return terminal.Tap{Terminal: number, Issuer: [8]byte{1}, ASN: [10]byte{0x03, 0x10, 0x42}, Phone: true, UD: u, Rand: [4]byte{4},
		Seq: u.Ctr, Amount: 300, Type: cryptogram.PurchaseCAPP, TermSeq: uint32(n), At: cryptogram.DateTimeOf(noon), KeyVer: 1,
		Balance: 3000, MAC1: [4]byte{1}, MAC2: [4]byte{2}, TAC: [4]byte{3}, ListVersion: 7}
}

// clearing is an uploader that remembers, and fails while down is set.
type clearing struct {
	got  []terminal.Tap
	down error
	drop bool // one receipt too few
}

func (c *clearing) Upload(_ context.Context, _ [6]byte, taps []terminal.Tap) ([]terminal.Receipt, error) {
	if c.down != nil {
		return nil, c.down
	}
	c.got = append(c.got, taps...)
	r := make([]terminal.Receipt, len(taps))
	if c.drop {
		r = r[1:]
	}
	return r, nil
}

func add(t testing.TB, q *terminal.Queue, taps ...terminal.Tap) {
	t.Helper()
	for _, x := range taps {
		if err := q.Add(x); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	plain := terminal.Tap{ASN: [10]byte{9}, TermSeq: 3}
	add(t, q, tap(t, 1), tap(t, 2), plain)
	if !q.Seen(tap(t, 1).ASN, 1) || q.Seen(tap(t, 1).ASN, 9) {
		t.Error("the slots seen are wrong")
	}
	down := &clearing{down: errors.New("no network")}
	if _, err := q.Flush(t.Context(), number, down); !errors.Is(err, down.down) || q.Pending() != 3 {
		t.Fatalf("%v, %d wait", err, q.Pending())
	}
	if _, err := q.Flush(t.Context(), number, &clearing{drop: true}); err == nil || q.Pending() != 3 {
		t.Fatalf("a receipt is missing: %v, %d wait", err, q.Pending())
	}
	_ = q.Close()
	q = openQueue(t, path, noon) // restart: nothing is lost
	up := &clearing{}
	if got, err := q.Flush(t.Context(), number, up); err != nil || len(got) != 3 || q.Pending() != 0 {
		t.Fatalf("%d receipts, %v, %d wait", len(got), err, q.Pending())
	}
	if up.got[0] != tap(t, 1) || up.got[1] != tap(t, 2) || up.got[2] != plain {
		t.Errorf("taps changed on the way: %+v", up.got)
	}
	add(t, q, tap(t, 4))
	_ = q.Close()
	q = openQueue(t, path, noon)
	if q.Pending() != 1 || !q.Seen(tap(t, 1).ASN, 1) {
		t.Errorf("%d wait; an uploaded slot is seen: %v", q.Pending(), q.Seen(tap(t, 1).ASN, 1))
	}
	_ = q.Close()
	q = openQueue(t, path, noon.Add(37*time.Hour)) // a day after the slots ended
	if q.Pending() != 1 || q.Seen(tap(t, 1).ASN, 1) || !q.Seen(tap(t, 4).ASN, 4) {
		t.Errorf("%d wait; forgotten: %v; waiting is seen: %v", q.Pending(), !q.Seen(tap(t, 1).ASN, 1), q.Seen(tap(t, 4).ASN, 4))
	}
}

func TestQueueBatches(t *testing.T) {
	q := openQueue(t, filepath.Join(t.TempDir(), "taps"), noon)
	for n := range terminal.MaxBatch + 1 {
		add(t, q, tap(t, n))
	}
	sizes := []int{}
	up := uploaderFunc(func(taps []terminal.Tap) { sizes = append(sizes, len(taps)) })
	if got, err := q.Flush(t.Context(), number, up); err != nil || len(got) != terminal.MaxBatch+1 || len(sizes) != 2 || sizes[1] != 1 {
		t.Errorf("%d receipts in batches of %v, %v", len(got), sizes, err)
	}
}

type uploaderFunc func([]terminal.Tap)

func (f uploaderFunc) Upload(_ context.Context, _ [6]byte, taps []terminal.Tap) ([]terminal.Receipt, error) {
	f(taps)
	return make([]terminal.Receipt, len(taps)), nil
}

func TestQueueRun(t *testing.T) {
	q := openQueue(t, filepath.Join(t.TempDir(), "taps"), noon)
	add(t, q, tap(t, 1))
	ctx, stop := context.WithCancel(t.Context())
	up := &clearing{down: errors.New("no network")}
	rounds := 0
	q.Run(ctx, number, up, time.Millisecond, func(_ []terminal.Receipt, err error) {
		if rounds++; err == nil {
			stop()
		} else if rounds == 3 {
			up.down = nil
		}
	})
	if len(up.got) != 1 || q.Pending() != 0 || rounds != 4 {
		t.Errorf("%d taps in %d rounds, %d wait", len(up.got), rounds, q.Pending())
	}
}

func TestQueueDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	add(t, q, tap(t, 1), tap(t, 2))
	_ = q.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(whole[:len(whole)-3]) // power cut in the last line
	if q = openQueue(t, path, noon); q.Pending() != 1 {
		t.Errorf("%d wait after a cut write", q.Pending())
	}
	for name, b := range map[string][]byte{
		"half a line":        append([]byte(`{"tap":{"term_id"`+"\n"), whole...),
		"more than is":       append(bytes.Clone(whole), []byte(`{"done":3}`+"\n")...),
		"nothing":            append(bytes.Clone(whole), []byte(`{}`+"\n")...),
		"two objects":        append(bytes.Clone(whole), []byte(`{"done":1}{"done":1}`+"\n")...),
		"unknown":            append(bytes.Clone(whole), []byte(`{"do":1}`+"\n")...),
		"short field":        bytes.Replace(whole, []byte(`"tac":"03000000"`), []byte(`"tac":"0300"`), 1),
		"no such slot":       bytes.Replace(whole, []byte(`31"`), []byte(`01"`), 1),
		"a blank line":       append([]byte("\n"), whole...),
		"but of none":        append(bytes.Clone(whole), []byte(`{"done":2,"but":[2]}`+"\n")...),
		"but of before":      append(bytes.Clone(whole), []byte(`{"done":2,"but":[-1]}`+"\n")...),
		"all but":            append(bytes.Clone(whole), []byte(`{"done":2,"but":[0,1]}`+"\n")...),
		"but twice":          append(bytes.Clone(whole), []byte(`{"done":2,"but":[0,0]}`+"\n")...),
		"but nothing done":   append(bytes.Clone(whole), []byte(`{"but":[0]}`+"\n")...),
		"negative, uploaded": append(bytes.Clone(whole), []byte(`{"done":-1}`+"\n")...),
	} {
		write(b)
		if _, err := terminal.OpenQueue(path, noon); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestQueueCutAnywhere: a process that dies in the middle of any write leaves
// every tap that it had accepted, and none that it had not.
func TestQueueCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taps")
	q := openQueue(t, path, noon)
	failed := tap(t, 3)
	failed.Fail = terminal.BadMAC2
	add(t, q, tap(t, 1), tap(t, 2), failed)
	if _, err := q.Flush(t.Context(), number, &clearing{}); err != nil {
		t.Fatal(err)
	}
	add(t, q, tap(t, 4))
	_ = q.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	waits := map[int]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 5: 1} // by whole lines: three taps, "done", a tap
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(whole[:cut], []byte{'\n'})
		if q = openQueue(t, path, noon); q.Pending() != waits[lines] || q.Seen(failed.ASN, 3) {
			t.Fatalf("cut at %d, after %d lines: %d wait", cut, lines, q.Pending())
		}
		if want := lines >= 1; q.Seen(tap(t, 1).ASN, 1) != want {
			t.Fatalf("cut at %d: the first slot is seen: %v", cut, !want)
		}
		_ = q.Close()
	}
}

// TestQueueFull: a tap that cannot be kept is refused, and the reader stops
// taking taps rather than writing after half a line.
func TestQueueFull(t *testing.T) {
	r := softRig(t)
	reader := r.reader(t)
	_ = r.queue.Close() // writing fails from here on
	if _, err := reader.Tap(t.Context(), r.phone, 300); !errors.Is(err, terminal.NotKept) || r.queue.Pending() != 0 {
		t.Errorf("%v, %d wait", err, r.queue.Pending())
	}
	live := r.phone.Live()
	if _, err := reader.Tap(t.Context(), r.phone, 300); !errors.Is(err, terminal.NotKept) || r.phone.Live() != live {
		t.Errorf("the next tap: %v, %d of %d slots live", err, r.phone.Live(), live)
	}
}
