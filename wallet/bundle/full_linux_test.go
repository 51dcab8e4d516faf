package bundle_test

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// full lets files grow to so many bytes while do runs.
func full(t *testing.T, size int64, do func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	do()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: a record that finds no room costs its slot, as it may have been kept.
// When there is room again the card pays on, and what was paid then is still known after
// a restart.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	j, err := bundle.OpenFile(dir, "b1")
	if err != nil {
		t.Fatal(err)
	}
	w := newBench(t, j)
	spend := func(want apdu.Status) {
		t.Helper()
		u, pur := w.begin(t, 300)
		command, _, _ := w.debit(t, u, pur)
		if r := w.send(t, command); r.SW != want {
			t.Errorf("slot %d: %v, want %v", u.Ctr, r.SW, want)
		}
	}
	spend(apdu.OK)
	st, err := os.Stat(filepath.Join(dir, "b1.journal"))
	if err != nil {
		t.Fatal(err)
	}
	full(t, st.Size()+10, func() { spend(apdu.MemoryFailure) })
	spend(apdu.OK)
	if w.card.Live() != wallettest.Slots-3 {
		t.Errorf("%d slots live", w.card.Live())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = bundle.OpenFile(dir, "b1"); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	recs, err := j.Records()
	if err != nil || len(recs) != 2 || recs[0].Ctr != 1 || recs[1].Ctr != 3 {
		t.Errorf("after a restart: %+v, %v", recs, err)
	}
}
