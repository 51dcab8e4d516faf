package auditor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/audit/tree/treetest"
	"github.com/tapvault/tapvault/internal/fault"
)

var (
	reader = access.Caller{ID: "a", Role: access.Auditor, Scopes: []access.Action{access.AuditRead}}
	other  = access.Caller{ID: "i", Role: access.Issuer, Scopes: access.Actions}
)

// desk is a record on real files, with its tree and its checkpoints.
type desk struct {
	t     *testing.T
	dir   string
	url   string
	key   tree.Key
	now   time.Time
	tree  *tree.Tree
	trail *trail.Trail
	*auditor.Service
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, dir: t.TempDir(), url: "https://v", now: time.Unix(1e9, 0), key: treetest.NewKey(t)}
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

// open starts the service as its process does.
func (d *desk) open() error {
	d.t.Helper()
	var err error
	if d.tree, err = tree.Open(d.path("log.tree")); err != nil {
		d.t.Fatal(err)
	}
	if d.trail, err = trail.Open(trail.Config{Path: d.path("log"), Tree: d.tree}); err != nil {
		d.t.Fatal(err)
	}
	d.Service, err = auditor.New(auditor.Config{Record: d.path("log"), Kept: d.path("log.checkpoints"), Keeper: d.url, Tree: d.tree,
		Key: d.key, Gate: audit.Gate{Recorder: d.trail}, Now: func() time.Time { return d.now }})
	return err
}

func (d *desk) mustOpen() {
	d.t.Helper()
	if err := d.open(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) close() {
	d.t.Helper()
	errs := []error{d.trail.Close(), d.tree.Close()}
	if d.Service != nil {
		errs = append(errs, d.Service.Close())
	}
	if err := errors.Join(errs...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) record(n int, what string) {
	d.t.Helper()
	for i := range n {
		e := audit.Entry{Caller: other, Action: access.TokenRead, Object: fmt.Sprint(what, i), Outcome: audit.Allowed}
		if err := d.trail.Record(d.t.Context(), e); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *desk) checkpoint() auditor.Signed {
	d.t.Helper()
	d.now = d.now.Add(time.Minute)
	c, err := d.Checkpoint(d.t.Context(), reader)
	if err != nil {
		d.t.Fatal(err)
	}
	if opened, err := d.key.OpenCheckpoint(c.Note, c.Origin); err != nil || opened != c.Checkpoint {
		d.t.Fatalf("%+v, %v", opened, err)
	}
	return c
}

// TestAuditorsProve goes the way of an auditor: checkpoints, the growth between
// them, every line read and proved, over a restart.
func TestAuditorsProve(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	if _, err := d.Seal(t.Context()); !errors.Is(err, auditor.ErrEmpty) {
		t.Fatalf("of nothing: %v", err)
	}
	d.record(5, "a")
	first := d.checkpoint()
	d.record(3, "b")
	if again, err := d.Checkpoint(t.Context(), reader); err != nil || again != first {
		t.Fatalf("within a second: %+v, %v", again, err)
	}
	d.close()
	d.mustOpen()
	defer d.close()
	second := d.checkpoint()
	d.close()
	d.mustOpen()
	if again := d.checkpoint(); again.Note != second.Note || !again.At.Equal(second.At) {
		t.Fatalf("after a restart: %+v, want %+v", again, second)
	}
	if first.Size != 5 || second.Size != 8 || d.checkpoint().Note != second.Note {
		t.Fatalf("sizes %d and %d", first.Size, second.Size)
	}
	proof, err := d.Consistency(t.Context(), reader, first.Size, second.Size)
	if err != nil || tree.CheckConsistency(first.Head, second.Head, proof) != nil {
		t.Fatal(err)
	}
	var read []string
	cursor := ""
	for range 4 {
		lines, next, err := d.Records(t.Context(), reader, cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		read, cursor = append(read, lines...), next
	}
	if len(read) != 8+4 { // each reading is a record
		t.Fatalf("%d lines", len(read))
	}
	for n := int64(1); n <= second.Size; n++ {
		leaf, proof, err := d.Inclusion(t.Context(), reader, n, second.Size)
		if err != nil || leaf != tree.LeafHash([]byte(read[n-1])) || tree.CheckInclusion(second.Head, n, leaf, proof) != nil {
			t.Fatalf("line %d: %v", n, err)
		}
	}
	if !strings.Contains(read[len(read)-1], `"action":"audit:read"`) {
		t.Errorf("reading left no record: %s", read[len(read)-1])
	}
}

// TestKeepsItsName: a service whose URL changed goes on with its record, under the
// name that the record was first signed with.
func TestKeepsItsName(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	d.record(3, "a")
	first := d.checkpoint()
	d.close()
	d.url = "https://w"
	d.mustOpen()
	d.record(2, "b")
	next := d.checkpoint()
	if next.Origin != first.Origin || next.Size <= first.Size {
		t.Errorf("%+v after %+v", next, first)
	}
	d.close()
	d.mustOpen()
	d.close()
}

func TestRefusals(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(3, "a")
	d.checkpoint()
	for name, call := range map[string]func(access.Caller) error{
		"checkpoint":  func(c access.Caller) error { _, err := d.Checkpoint(t.Context(), c); return err },
		"inclusion":   func(c access.Caller) error { _, _, err := d.Inclusion(t.Context(), c, 1, 2); return err },
		"consistency": func(c access.Caller) error { _, err := d.Consistency(t.Context(), c, 1, 2); return err },
		"records":     func(c access.Caller) error { _, _, err := d.Records(t.Context(), c, "", 1); return err },
	} {
		if err := call(other); fault.KindOf(err) != fault.Denied {
			t.Errorf("%s to an issuer: %v", name, err)
		}
		if err := call(reader); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, cursor := range []string{"x", "-1", "01", "1", "99999999", "9223372036854775808"} {
		if _, _, err := d.Records(t.Context(), reader, cursor, 1); !errors.Is(err, auditor.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// TestHowManyRecords: as many lines as were asked for, and the cursor is of the next.
func TestHowManyRecords(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(9, "a")
	for limit := 1; limit < 5; limit++ {
		found, next, err := d.Records(t.Context(), reader, "", limit)
		if err != nil || len(found) != limit {
			t.Fatalf("%d lines of %d, %v", len(found), limit, err)
		}
		if rest, _, err := d.Records(t.Context(), reader, next, 1); err != nil || len(rest) != 1 || rest[0] == found[limit-1] {
			t.Errorf("after %d: %d lines, %v", limit, len(rest), err)
		}
		for _, spelled := range []string{"0" + next, "+" + next, next + " "} {
			if _, _, err := d.Records(t.Context(), reader, spelled, 1); !errors.Is(err, auditor.ErrCursor) {
				t.Errorf("cursor %q: %v", spelled, err)
			}
		}
		if first, _, err := d.Records(t.Context(), reader, "0", 1); err != nil || len(first) != 1 || first[0] != found[0] {
			t.Errorf("from 0: %d lines, %v", len(first), err)
		}
	}
}

// TestFreshCheckpoint: within a second there is no other, and after it what was recorded
// meanwhile is in the next one; a clock that was set back signs again.
func TestFreshCheckpoint(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(2, "a")
	first := d.checkpoint()
	made := d.now
	for _, tc := range []struct {
		after time.Duration
		again bool
	}{{0, true}, {time.Second - 1, true}, {time.Second, false}, {-1, false}} {
		d.record(1, "b")
		d.now = made.Add(tc.after)
		c, err := d.Seal(t.Context())
		if err != nil || (c.Note == first.Note) != tc.again {
			t.Errorf("after %v: of %d lines, %v", tc.after, c.Size, err)
		}
		if !tc.again {
			first, made = c, d.now
		}
	}
}

// TestForks: a record exchanged for another good one, or cut, by somebody with
// every right on the files, is noticed at the next start, whatever was done
// with the tree; what a crash left half-written is not mistaken for that.
func TestForks(t *testing.T) {
	rewrite := func(d *desk, lines int) {
		d.t.Helper()
		if err := os.Remove(d.path("log")); err != nil {
			d.t.Fatal(err)
		}
		tr, err := trail.Open(trail.Config{Path: d.path("log")})
		if err != nil {
			d.t.Fatal(err)
		}
		was := d.trail
		d.trail = tr
		d.record(lines, "forged")
		d.trail = was
		if err := tr.Close(); err != nil {
			d.t.Fatal(err)
		}
	}
	cut := func(d *desk, name string, by int) {
		b, err := os.ReadFile(d.path(name))
		if err == nil {
			err = os.WriteFile(d.path(name), b[:len(b)-by], 0o600)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name string
		do   func(d *desk)
		want error
	}{
		{"untouched", func(*desk) {}, nil},
		{"tree lost", func(d *desk) { os.Remove(d.path("log.tree")) }, nil},
		{"half a checkpoint", func(d *desk) { cut(d, "log.checkpoints", 7) }, nil},
		{"written anew", func(d *desk) { rewrite(d, 6) }, auditor.ErrForked},
		{"written anew and longer", func(d *desk) { rewrite(d, 9) }, auditor.ErrForked},
		{"emptied", func(d *desk) { os.WriteFile(d.path("log"), nil, 0o600) }, auditor.ErrForked},
		{"lines cut off", func(d *desk) {
			b, _ := os.ReadFile(d.path("log"))
			lines := strings.SplitAfter(string(b), "\n")
			os.WriteFile(d.path("log"), []byte(strings.Join(lines[:4], "")), 0o600)
		}, auditor.ErrForked},
		{"a checkpoint of another key", func(d *desk) { d.key = newDesk(d.t).key }, auditor.ErrForked},
		{"no file of checkpoints", func(d *desk) { os.WriteFile(d.path("log.checkpoints"), []byte("x\n"), 0o600) }, auditor.ErrKept},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := newDesk(t)
			d.mustOpen()
			d.record(3, "a")
			d.checkpoint()
			d.record(3, "b")
			d.checkpoint()
			d.close()
			x.do(d)
			err := d.open()
			if !errors.Is(err, x.want) || x.want == nil && err != nil {
				t.Errorf("%v, want %v", err, x.want)
			}
			if err == nil {
				d.record(1, "c")
				if c := d.checkpoint(); c.Size != 7 {
					t.Errorf("went on at %d", c.Size)
				}
			}
			d.close()
		})
	}
}

// TestForkWhileRunning: nothing is signed over a record that a checkpoint
// speaks against.
func TestForkWhileRunning(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(4, "a")
	d.checkpoint()
	b, err := os.ReadFile(d.path("log.tree"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d.path("log.tree"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, len(b)), 0); err != nil {
		t.Fatal(err)
	}
	d.record(1, "b")
	d.now = d.now.Add(time.Minute)
	if _, err := d.Checkpoint(t.Context(), reader); !errors.Is(err, auditor.ErrForked) {
		t.Fatal(err)
	}
}

// early is a tree that was looked at just before its first line.
type early struct{ *tree.Tree }

func (early) Head() (tree.Head, error) { return tree.Head{}, nil }

// TestNothingIsNotSigned: a checkpoint of a record that is only just begun would
// not be one that anybody opens.
func TestNothingIsNotSigned(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(1, "a")
	s, err := auditor.New(auditor.Config{Record: d.path("log"), Kept: d.path("early.checkpoints"), Keeper: "https://v", Tree: early{d.tree},
		Key: d.key, Gate: audit.Gate{Recorder: d.trail}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Seal(t.Context()); !errors.Is(err, auditor.ErrEmpty) {
		t.Errorf("%+v, %v", c, err)
	}
	if kept, err := os.ReadFile(d.path("early.checkpoints")); err != nil || len(kept) > 0 {
		t.Errorf("%s was kept, %v", kept, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFirstLine: who asks for a checkpoint before anything was recorded is answered one:
// of the line that they asked. It is written once.
func TestFirstLine(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	if _, err := d.Checkpoint(t.Context(), access.Caller{ID: "nobody", Role: access.Terminal}); !errors.Is(err, access.ErrDenied) {
		t.Errorf("without the right: %v", err)
	}
	empty := newDesk(t)
	empty.mustOpen()
	defer empty.close()
	for range 2 {
		if c := empty.checkpoint(); c.Size != 1 {
			t.Errorf("%+v", c)
		}
	}
	if lines, _, err := empty.Records(t.Context(), reader, "", 10); err != nil || len(lines) != 2 || !strings.Contains(lines[0], `"first"`) {
		t.Errorf("%q, %v", lines, err)
	}
}

// TestRunEndsWithACheckpoint: what was recorded last is signed too.
func TestRunEndsWithACheckpoint(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	defer d.close()
	d.record(2, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.Run(ctx, time.Hour, func(err error) { t.Error(err) })
	f, err := os.Open(d.path("log.checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	notes, _, err := auditor.Kept(f)
	if err != nil || len(notes) != 1 {
		t.Fatalf("%d checkpoints, %v", len(notes), err)
	}
}

// TestFullDisk: a checkpoint that could not be written whole is not given out,
// and leaves nothing that the next one, or the next start, would stumble over.
func TestFullDisk(t *testing.T) {
	d := newDesk(t)
	d.mustOpen()
	d.record(2, "a")
	d.checkpoint()
	st, err := os.Stat(d.path("log.checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	d.record(2, "b")
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	tight := syscall.Rlimit{Cur: uint64(st.Size()) + 10, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(time.Minute)
	_, err = d.Checkpoint(t.Context(), reader)
	if back := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, auditor.ErrKept) {
		t.Fatal(err)
	}
	if c := d.checkpoint(); c.Size != 4 {
		t.Errorf("went on at %d", c.Size)
	}
	d.close()
	d.mustOpen()
	d.close()
}

// FuzzKept: whatever stands in the file, whole lines are all that is taken.
func FuzzKept(f *testing.F) {
	f.Add(`{"at":"2026-01-01T00:00:00Z","checkpoint":"x"}` + "\n" + `{"at`)
	f.Fuzz(func(t *testing.T, text string) {
		notes, whole, err := auditor.Kept(strings.NewReader(text))
		if err == nil && (whole > int64(len(text)) || strings.Count(text[:whole], "\n") != len(notes)) {
			t.Errorf("%d notes in %d bytes", len(notes), whole)
		}
	})
}
