package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
)

var start = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string) *Trail {
	t.Helper()
	tr, err := Open(Config{Path: path, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// all takes every line.
func all(line, []byte) error { return nil }

func entry(n int) audit.Entry {
	return audit.Entry{Caller: access.Caller{ID: "bank", Role: access.Issuer}, Action: access.TokenRead,
		Object: fmt.Sprintf("tr%d", n), Outcome: audit.Allowed, Request: "r1"}
}

// record writes n entries one after another.
func record(t *testing.T, tr *Trail, n int) {
	t.Helper()
	for i := range n {
		if err := tr.Record(t.Context(), entry(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChainGoesOnAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if s, err := verify(strings.NewReader(""), func(line, []byte) error { return nil }); err != nil || s != (Summary{}) {
		t.Fatalf("an empty trail: %+v, %v", s, err)
	}
	for i := range 3 {
		tr := open(t, path)
		record(t, tr, 4)
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err := Verify(path); err != nil || s.Lines != uint64(4*(i+1)) || len(s.Last) != 64 || tr.Torn() != "" {
			t.Fatalf("%+v, %v", s, err)
		}
		if err := tr.Record(t.Context(), entry(0)); fault.KindOf(err) != fault.AuditDown {
			t.Fatalf("a closed trail recorded: %v", err)
		}
		if err := tr.Health(t.Context()); fault.KindOf(err) != fault.AuditDown {
			t.Fatalf("a closed trail is healthy: %v", err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
}

func TestManyRecordersShareSyncs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	tr := open(t, path)
	count := &flaky{File: tr.file}
	tr.file = count
	const n = 400
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := tr.Record(t.Context(), entry(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Verify(path); err != nil || s.Lines != n {
		t.Fatalf("%+v, %v", s, err)
	}
	if count.syncs >= n {
		t.Errorf("%d syncs for %d records", count.syncs, n)
	}
}

// TestTampering: every line changed, removed, doubled or moved shows.
func TestTampering(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	tr := open(t, path)
	record(t, tr, 5)
	_ = tr.Close()
	lines := bytes.SplitAfter(read(t, path), []byte("\n"))[:5]
	join := func(ls ...[]byte) []byte { return bytes.Join(ls, nil) }
	l := lines
	for name, b := range map[string][]byte{
		"first removed":     join(l[1], l[2], l[3], l[4]),
		"one removed":       join(l[0], l[1], l[3], l[4]),
		"two swapped":       join(l[0], l[2], l[1], l[3], l[4]),
		"one doubled":       join(l[0], l[1], l[1], l[2], l[3], l[4]),
		"one edited":        join(l[0], bytes.Replace(l[1], []byte("tr1"), []byte("tr9"), 1), l[2], l[3], l[4]),
		"spaces added":      join(l[0], bytes.Replace(l[1], []byte(`":"`), []byte(`": "`), 1), l[2], l[3], l[4]),
		"a field added":     join(l[0], bytes.Replace(l[1], []byte("{"), []byte(`{"x":1,`), 1), l[2], l[3], l[4]),
		"an empty line":     join(l[0], []byte("\n"), l[1], l[2], l[3], l[4]),
		"last line cut":     join(l[0], l[1], l[2], l[3], l[4][:20]),
		"its end cut":       join(l[0], l[1], l[2], l[3], bytes.TrimSuffix(l[4], []byte("\n"))),
		"a line of garbage": join(l[0], []byte("garbage\n"), l[1]),
		"an endless line":   bytes.Repeat([]byte("x"), 3*maxLine),
	} {
		if _, err := verify(bytes.NewReader(b), all); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole, err := verify(bytes.NewReader(join(l...)), all)
	if err != nil {
		t.Fatal(err)
	}
	short, err := verify(bytes.NewReader(join(l[:4]...)), all)
	if err != nil || short == whole {
		t.Errorf("a trail without its last line must have another summary: %v", err)
	}
}

func TestTornLineIsMovedAside(t *testing.T) {
	for _, torn := range []string{`{"seq":4,"ti`, "\x00\x00\x00\x00", "x"} {
		path := filepath.Join(t.TempDir(), "audit.log")
		tr := open(t, path)
		record(t, tr, 3)
		_ = tr.Close()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		again := open(t, path)
		if again.Torn() == "" || string(read(t, again.Torn())) != torn {
			t.Errorf("%q: moved to %q", torn, again.Torn())
		}
		record(t, again, 1)
		_ = again.Close()
		if s, err := Verify(path); err != nil || s.Lines != 4 {
			t.Errorf("%q: %+v, %v", torn, s, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"edited":   "{}\n",
		"no lines": strings.Repeat("x", 3*maxLine),
		"too long": "x\n" + strings.Repeat("x", 2*maxLine+1) + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Path: path}); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Config{Path: filepath.Join(dir, "none", "x")}); !errors.Is(err, ErrDown) {
		t.Errorf("no directory: %v", err)
	}
	path := filepath.Join(dir, "locked")
	open(t, path)
	if _, err := Open(Config{Path: path}); !errors.Is(err, ErrDown) {
		t.Errorf("a second writer: %v", err)
	}
}

// flaky is the real file, failing when told to.
type flaky struct {
	File
	write, sync, truncate error
	syncs                 int
}

func (f *flaky) Write(b []byte) (int, error) {
	if f.write != nil {
		n, _ := f.File.Write(b[:len(b)/2]) // a full disk takes a part
		return n, f.write
	}
	return f.File.Write(b)
}

func (f *flaky) Sync() error {
	f.syncs++
	return errors.Join(f.File.Sync(), f.sync)
}

func (f *flaky) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.File.Truncate(size)
}

func TestFailingFile(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		flaky
		recovers bool
		lines    uint64 // in the file after reopening, of 1 good, 1 failed, and 1 more if it recovers
	}{
		"write fails":              {flaky{write: boom}, true, 2},
		"write and truncate fail":  {flaky{write: boom, truncate: boom}, false, 1},
		"sync fails, but it stays": {flaky{sync: boom}, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			tr := open(t, path)
			record(t, tr, 1)
			f := c.flaky
			f.File = tr.file
			tr.file = &f
			if err := tr.Record(t.Context(), entry(1)); !errors.Is(err, ErrDown) || fault.KindOf(err) != fault.AuditDown {
				t.Fatalf("got %v", err)
			}
			f.write, f.sync, f.truncate = nil, nil, nil
			if err := tr.Record(t.Context(), entry(2)); (err == nil) != c.recovers {
				t.Fatalf("after the file was mended: %v", err)
			}
			if err := tr.Health(t.Context()); (err == nil) != c.recovers {
				t.Fatalf("health: %v", err)
			}
			_ = tr.Close()
			again := open(t, path)
			_ = again.Close()
			if s, err := Verify(path); err != nil || s.Lines != c.lines {
				t.Fatalf("%+v, %v", s, err)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	tr := open(t, filepath.Join(t.TempDir(), "audit.log"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Either answer is right; it must come, and be of the right kind.
	if err := tr.Record(ctx, entry(0)); err != nil && fault.KindOf(err) != fault.AuditDown {
		t.Fatal(err)
	}
}

// TestGateNeedsTheTrail: what cannot be recorded is not allowed.
func TestGateNeedsTheTrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	tr := open(t, path)
	g := audit.Gate{Recorder: tr}
	ctx := audit.WithRequestID(t.Context(), "req-7")
	bank := access.Caller{ID: "bank", Role: access.Issuer, Scopes: []access.Action{access.TokenRead}}
	if err := g.CheckBecause(ctx, bank, access.TokenRead, "tr1", "why"); err != nil {
		t.Fatal(err)
	}
	if err := g.Check(ctx, bank, access.TokenManage, "tr1"); !errors.Is(err, access.ErrDenied) {
		t.Fatalf("got %v", err)
	}
	_ = tr.Close()
	for name, err := range map[string]error{
		"allowed": g.Check(ctx, bank, access.TokenRead, "tr1"),
		"denied":  g.Check(ctx, bank, access.TokenManage, "tr1"),
	} {
		if fault.KindOf(err) != fault.AuditDown {
			t.Errorf("%s without a trail: %v", name, err)
		}
	}
	log := string(read(t, path))
	for _, want := range []string{`"request":"req-7"`, `"reason":"why"`, `"outcome":"refused","reason":"denied"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the trail", want)
		}
	}
}

// TestCardNumbersAreWithheld: a number in the wrong place is not kept, and what
// only resembles one is.
func TestCardNumbersAreWithheld(t *testing.T) {
	for in, want := range map[string]string{
		"6228480402564890018":              "[digits withheld]",
		"suspend: card 6228481234567894!":  "suspend: card [digits withheld]!",
		"/v1/tokens/6228481234567894":      "/v1/tokens/[digits withheld]",
		"card 6222 0212 3456 7894 called":  "card [digits withheld] called",
		"/v1/x/6222-0212-3456-7894":        "/v1/x/[digits withheld]",
		"000000000007":                     "000000000007", // a terminal
		"12345678901":                      "12345678901",  // a requestor
		"0a12345678901234567890123456789f": "0a12345678901234567890123456789f",
		"transit.mpk.v1":                   "transit.mpk.v1",
	} {
		e := audit.Entry{Object: in, Reason: in, Request: in}
		l := newLine(1, start, e, [32]byte{})
		if l.Object != want || l.Reason != want || l.Request != want {
			t.Errorf("%q is kept as %q", in, l.Object)
		}
	}
}

// FuzzRecord: whatever the fields hold, the trail verifies and says it.
func FuzzRecord(f *testing.F) {
	f.Add("bank", "tr1", "reason", "r1")
	f.Add("\xff\xfe", "\u2028<&>", "\n\"", strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, id, object, reason, request string) {
		e := audit.Entry{Caller: access.Caller{ID: id}, Object: object, Reason: reason, Request: request}
		b := newLine(1, start, e, [32]byte{}).print()
		l, err := parse(b)
		if err != nil || !bytes.Equal(l.print(), b) {
			t.Fatalf("%q: %v", b, err)
		}
		if _, err := verify(bytes.NewReader(append(b, '\n')), all); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzVerify: what verifies is exactly what would be written.
func FuzzVerify(f *testing.F) {
	f.Add(append(newLine(1, start, entry(1), [32]byte{}).print(), '\n'))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := verify(bytes.NewReader(b), all)
		if err != nil && !errors.Is(err, ErrBroken) {
			t.Fatal(err)
		}
		if err == nil && int(s.Lines) != bytes.Count(b, []byte("\n")) {
			t.Fatalf("%d lines of %q", s.Lines, b)
		}
	})
}

// TestTrailIsGone: a line written to a file without a name is not recorded.
func TestTrailIsGone(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed":  os.Remove,
		"moved":    func(path string) error { return os.Rename(path, path+".1") },
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		path := filepath.Join(t.TempDir(), "audit.log")
		tr := open(t, path)
		record(t, tr, 1)
		if err := errors.Join(tr.Health(t.Context()), change(path)); err != nil {
			t.Fatal(err)
		}
		if err := tr.Health(t.Context()); !errors.Is(err, ErrDown) {
			t.Errorf("%s: health: %v", name, err)
		}
		for range 2 {
			if err := tr.Record(t.Context(), entry(2)); !errors.Is(err, ErrDown) {
				t.Errorf("%s: recording: %v", name, err)
			}
		}
	}
}

// TestWaitsForAnother: a writer that is given time is let in when the one before it
// has ended, and goes on with its chain.
func TestWaitsForAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trail")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			tr, err := Open(Config{Path: path, Wait: time.Minute})
			if err == nil {
				err = errors.Join(tr.Record(t.Context(), audit.Entry{Action: "vault:rewrap", Outcome: audit.Allowed}), tr.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := Verify(path); err != nil || got.Lines != 8 {
		t.Errorf("%+v, %v", got, err)
	}
}
