package tree

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func line(n int) []byte { return fmt.Appendf(nil, "line %d", n) }

// record is n lines, as a file.
func record(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.Write(append(line(i), '\n'))
	}
	return b.Bytes()
}

func open(t *testing.T, path string, lines int) *Tree {
	t.Helper()
	tr, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	var last []byte
	if lines > 0 {
		last = line(lines - 1)
	}
	if err := tr.Resume(int64(lines), last, bytes.NewReader(record(lines))); err != nil {
		t.Fatal(err)
	}
	return tr
}

// roots are the heads of the trees of the first lines, by the definition of
// RFC 6962, 2.1.
func rootOf(lines [][]byte) Hash {
	if len(lines) == 1 {
		return tlog.RecordHash(lines[0])
	}
	k := 1
	for k*2 < len(lines) {
		k *= 2
	}
	return tlog.NodeHash(rootOf(lines[:k]), rootOf(lines[k:]))
}

// TestEveryProof grows a tree in groups of all sizes and proves every line, and
// every growth, at every size.
func TestEveryProof(t *testing.T) {
	const most = 70
	tr := open(t, filepath.Join(t.TempDir(), "tree"), 0)
	var all [][]byte
	var roll Roll
	heads := map[int64]Head{}
	for group := 1; len(all) < most; group++ {
		var lines [][]byte
		for range group {
			lines = append(lines, line(len(all)+len(lines)))
		}
		if err := tr.Append(lines); err != nil {
			t.Fatal(err)
		}
		all = append(all, lines...)
	}
	for i := range all {
		roll.Add(all[i])
		h, err := tr.At(int64(i + 1))
		if want := rootOf(all[:i+1]); err != nil || h.Root != want || roll.Head() != h {
			t.Fatalf("size %d: %v, %v; rolled %v, want %v", i+1, h, err, roll.Head(), want)
		}
		heads[h.Size] = h
	}
	if h, err := tr.Head(); err != nil || h != heads[int64(len(all))] {
		t.Fatalf("head %v, %v", h, err)
	}
	for size := int64(1); size <= int64(len(all)); size++ {
		for n := int64(1); n <= size; n++ {
			leaf, proof, err := tr.Inclusion(n, size)
			if err != nil || leaf != LeafHash(all[n-1]) || CheckInclusion(heads[size], n, leaf, proof) != nil {
				t.Fatalf("line %d of %d: %v", n, size, err)
			}
			if err := CheckInclusion(heads[size], n, LeafHash([]byte("another")), proof); !errors.Is(err, ErrProof) {
				t.Fatalf("line %d of %d: another line is proved too: %v", n, size, err)
			}
			proof, err = tr.Consistency(n, size)
			if err != nil || CheckConsistency(heads[n], heads[size], proof) != nil {
				t.Fatalf("from %d to %d: %v", n, size, err)
			}
			forged := Head{n, Hash{1}}
			if err := CheckConsistency(forged, heads[size], proof); !errors.Is(err, ErrProof) {
				t.Fatalf("from %d to %d: another root is proved too: %v", n, size, err)
			}
		}
	}
	for _, x := range [][2]int64{{0, 1}, {2, 1}, {1, int64(len(all)) + 1}, {-1, -1}} {
		if _, _, err := tr.Inclusion(x[0], x[1]); !errors.Is(err, ErrRange) {
			t.Errorf("inclusion of %v: %v", x, err)
		}
		if _, err := tr.Consistency(x[0], x[1]); !errors.Is(err, ErrRange) {
			t.Errorf("consistency of %v: %v", x, err)
		}
	}
}

// TestResume: a tree is taken as it is, or made anew when it is missing,
// behind, ahead, of another record or damaged at its end; it then goes on.
func TestResume(t *testing.T) {
	for name, spoil := range map[string]func(b []byte) []byte{
		"whole":          func(b []byte) []byte { return b },
		"missing":        func([]byte) []byte { return nil },
		"behind":         func(b []byte) []byte { return b[:tlog.StoredHashCount(9)*tlog.HashSize] },
		"cut short":      func(b []byte) []byte { return b[:len(b)-5] },
		"ahead":          func(b []byte) []byte { return append(b, make([]byte, 64)...) },
		"another leaf":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"another record": func(b []byte) []byte { return bytes.Repeat([]byte{7}, len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tree")
			const size = 21
			want, err := open(t, path, size).Head()
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(b), 0o600); err != nil {
				t.Fatal(err)
			}
			tr := open(t, path, size)
			if got, err := tr.Head(); err != nil || got != want {
				t.Fatalf("%v, %v; want %v", got, err, want)
			}
			if err := tr.Append([][]byte{line(size), line(size + 1)}); err != nil {
				t.Fatal(err)
			}
			var roll Roll
			for i := range size + 2 {
				roll.Add(line(i))
			}
			if got, err := tr.Head(); err != nil || got != roll.Head() {
				t.Fatalf("after it: %v, %v; want %v", got, err, roll.Head())
			}
			if h, err := tr.At(13); err != nil || h.Root == (Hash{}) {
				t.Fatal(err)
			}
		})
	}
}

// TestFailingFile: a tree that could not be written gives no proof and says so.
func TestFailingFile(t *testing.T) {
	tr := open(t, filepath.Join(t.TempDir(), "tree"), 3)
	tr.file.Close()
	if err := tr.Append([][]byte{line(3)}); !errors.Is(err, ErrDown) {
		t.Fatal(err)
	}
	if err := tr.Health(); !errors.Is(err, ErrDown) {
		t.Fatal(err)
	}
	if _, err := tr.Consistency(1, 2); !errors.Is(err, ErrDown) {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) Key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Public: &k.PublicKey, Sign: func(_ context.Context, digest [32]byte) (out [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err == nil {
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
		}
		return out, err
	}}
}

// TestCheckpoint: what was signed is read back; with any byte changed, of
// another record or by another key it is none.
func TestCheckpoint(t *testing.T) {
	k := newKey(t)
	c := Checkpoint{Origin("https://vault.example:8443", line(0)), Head{42, LeafHash(line(7))}}
	if !strings.HasPrefix(c.Origin, "vault.example:8443/audit/") {
		t.Fatal(c.Origin)
	}
	text, err := k.SignCheckpoint(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenCheckpoint(text, c.Origin); err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if got, err := k.OpenCheckpoint(string(changed), c.Origin); err == nil {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	if _, err := k.OpenCheckpoint(text, "another"); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
	if _, err := newKey(t).OpenCheckpoint(text, c.Origin); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
	if _, err := k.OpenCheckpoint(strings.Repeat("x", maxCheckpoint+1), c.Origin); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
}

// TestCheckpointOfAnother: the name on a signature is not under it. Who writes another
// record's name there has no checkpoint of that record.
func TestCheckpointOfAnother(t *testing.T) {
	k := newKey(t)
	c := Checkpoint{Origin("vault.example", line(0)), Head{42, LeafHash(line(7))}}
	text, err := k.SignCheckpoint(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	other := Origin("vault.example", line(1))
	renamed := strings.Replace(text, "\n\u2014 "+c.Origin+" ", "\n\u2014 "+other+" ", 1)
	if renamed == text {
		t.Fatal(text)
	}
	if got, err := k.OpenCheckpoint(renamed, other); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("%+v, %v", got, err)
	}
	if OriginOf(text, line(0)) != c.Origin || OriginOf(text, line(1)) != "" {
		t.Errorf("it says that it is of %q and %q", OriginOf(text, line(0)), OriginOf(text, line(1)))
	}
}

// TestCheckpointSizes: what is signed and says nothing is no checkpoint.
func TestCheckpointSizes(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for text, ok := range map[string]bool{
		"o\n1\n" + root + "\n": true, "o\n0\n" + root + "\n": false, "o\n-1\n" + root + "\n": false, "o\n01\n" + root + "\n": false,
		"o\n9223372036854775807\n" + root + "\n": true, "o\n9223372036854775808\n" + root + "\n": false, "o\nx\n" + root + "\n": false,
		"o\n1\n" + root[4:] + "\n": false, "o\n1\nAAAA" + root + "\n": false, "o\n1\n" + root: false, "o\n1\n" + root + "\nmore\n": false,
		"o\n1\n" + root[:42] + "B=\n": false, "o\n1\n": false, "": false,
	} {
		if c, err := parse(text); ok != (err == nil) || err != nil && !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// TestProofsOfNothing: no proof is about less than one line, or more than there are.
func TestProofsOfNothing(t *testing.T) {
	tr := open(t, filepath.Join(t.TempDir(), "tree"), 5)
	head, err := tr.Head()
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(-1); n <= 6; n++ {
		in := n >= 1 && n <= 5
		at, err := tr.At(n)
		if in != (err == nil) || err != nil && !errors.Is(err, ErrRange) {
			t.Errorf("the head at %d: %v", n, err)
		}
		leaf, proof, err := tr.Inclusion(n, 5)
		if in != (err == nil) || err != nil && !errors.Is(err, ErrRange) {
			t.Errorf("line %d: %v", n, err)
		}
		if err := CheckInclusion(head, n, leaf, proof); in != (err == nil) || !in && !errors.Is(err, ErrRange) {
			t.Errorf("line %d checked: %v", n, err)
		}
		proof, err = tr.Consistency(n, 5)
		if in != (err == nil) || err != nil && !errors.Is(err, ErrRange) {
			t.Errorf("from %d: %v", n, err)
		}
		at.Size = n
		if err := CheckConsistency(at, head, proof); in != (err == nil) || !in && !errors.Is(err, ErrRange) {
			t.Errorf("from %d checked: %v", n, err)
		}
	}
}

// FuzzCheckpoint: what is taken for a checkpoint is exactly its text.
func FuzzCheckpoint(f *testing.F) {
	f.Add(Checkpoint{"a/audit/1", Head{1, Hash{1}}}.text())
	f.Add("a\n01\nAA==\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parse(text); err == nil && c.text() != text {
			t.Errorf("%q was read as %q", text, c.text())
		}
	})
}
