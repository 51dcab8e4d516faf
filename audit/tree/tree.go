// Package tree keeps a Merkle tree (RFC 6962) over the lines of the audit
// record, and signs and checks what its root was: with it a line is proved to
// be in the record, and a longer record to go on from a shorter one.
package tree

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tapvault/tapvault/internal/fault"
)

// Errors.
var (
	// ErrDown reports a tree that fell behind the record. It is made anew at the
	// next start.
	ErrDown = fault.New(fault.AuditDown, "the tree over the audit record cannot be read or written")
	// ErrRange reports a proof asked for of lines that are not there.
	ErrRange = fault.New(fault.Malformed, "the audit record has no such lines")
)

// Hash is a node of the tree: SHA-256.
type Hash = tlog.Hash

// Tree is the hashes of all whole subtrees, in a file beside the record. The
// file holds nothing that the record does not give: it is made anew from it
// when it is missing or behind. It is safe for concurrent use.
type Tree struct {
	mu     sync.Mutex
	file   *os.File
	size   int64
	edge   edge
	broken error
}

// edge is the roots of the whole subtrees at the right edge, by level: the
// root of level l is there while bit l of the tree's size is set.
type edge [64]Hash

// add adds the leaf of line n and returns the hashes that are stored for it.
func (e *edge) add(n int64, line []byte) []Hash {
	h := tlog.RecordHash(line)
	out := []Hash{h}
	level := 0
	for ; n>>level&1 == 1; level++ {
		h = tlog.NodeHash(e[level], h)
		out = append(out, h)
	}
	e[level] = h
	return out
}

// root is the root of the tree of so many lines.
func (e *edge) root(size int64) Hash {
	var root Hash
	first := true
	for level := range bits.Len64(uint64(size)) {
		if size>>level&1 == 0 {
			continue
		}
		if first {
			root, first = e[level], false
		} else {
			root = tlog.NodeHash(e[level], root)
		}
	}
	return root
}

// Open opens the file of a tree, or makes it. [Tree.Resume] then brings it in
// line with the record.
func Open(path string) (*Tree, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	return &Tree{file: f}, nil
}

// Close closes the file.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = fmt.Errorf("%w: it is closed", ErrDown)
	}
	return t.file.Close()
}

// Resume brings the tree in line with a record of so many lines, whose last
// one is last; all reads the record from its first line, when that is needed.
func (t *Tree) Resume(lines int64, last []byte, all io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	st, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	if st.Size() == tlog.StoredHashCount(lines)*tlog.HashSize && t.agrees(lines, last) {
		return nil
	}
	return t.rebuild(lines, all)
}

// agrees takes the tree as it is when its last leaf is last, and its last
// hashes are what they have to be.
func (t *Tree) agrees(lines int64, last []byte) bool {
	t.size, t.edge = 0, edge{}
	if lines == 0 {
		return true
	}
	before, err := t.edgeOf(lines - 1)
	if err != nil {
		return false
	}
	kept := tlog.StoredHashIndex(0, lines-1)
	for i, h := range before.add(lines-1, last) {
		have, err := t.read([]int64{kept + int64(i)})
		if err != nil || have[0] != h {
			return false
		}
	}
	t.size, t.edge = lines, before
	return true
}

// edgeOf reads the right edge of the tree of so many lines.
func (t *Tree) edgeOf(size int64) (e edge, err error) {
	for level := range bits.Len64(uint64(size)) {
		if size>>level&1 == 0 {
			continue
		}
		h, err := t.read([]int64{tlog.StoredHashIndex(level, size>>level-1)})
		if err != nil {
			return e, err
		}
		e[level] = h[0]
	}
	return e, nil
}

// rebuild makes the tree anew.
func (t *Tree) rebuild(lines int64, all io.Reader) error {
	t.size, t.edge = 0, edge{}
	if err := t.file.Truncate(0); err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	in := bufio.NewReaderSize(all, 1<<16)
	var group [][]byte
	for n := range lines {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%w: reading line %d of the record: %w", ErrDown, n+1, err)
		}
		if group = append(group, bytes.TrimSuffix(line, []byte("\n"))); len(group) < 1024 && n+1 < lines {
			continue
		}
		if err := t.append(group); err != nil {
			return err
		}
		group = group[:0]
	}
	return nil
}

// Append adds lines that are durable in the record. After an error the tree
// gives no more proofs until it is opened anew; the record does without it.
func (t *Tree) Append(lines [][]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = t.append(lines)
	}
	return t.broken
}

func (t *Tree) append(lines [][]byte) error {
	next, at := t.edge, tlog.StoredHashCount(t.size)
	var b bytes.Buffer
	for i, line := range lines {
		for _, h := range next.add(t.size+int64(i), line) {
			b.Write(h[:])
		}
	}
	if _, err := t.file.WriteAt(b.Bytes(), at*tlog.HashSize); err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	t.size, t.edge = t.size+int64(len(lines)), next
	return nil
}

// Health reports whether proofs can be given.
func (t *Tree) Health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// Head is the size and the root of a tree.
type Head struct {
	Size int64
	Root Hash
}

// Head returns the tree's head as it is now.
func (t *Tree) Head() (Head, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Head{t.size, t.edge.root(t.size)}, t.broken
}

// At returns the head that the tree had at a size.
func (t *Tree) At(size int64) (Head, error) {
	if err := t.holds(size); err != nil {
		return Head{}, err
	}
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(t.read))
	return Head{size, root}, down(err)
}

// Inclusion proves that a line, counted from 1, is in the tree of a size.
func (t *Tree) Inclusion(line, size int64) (leaf Hash, proof []Hash, err error) {
	if err := t.holds(size); err != nil {
		return leaf, nil, err
	}
	if line < 1 || line > size {
		return leaf, nil, ErrRange
	}
	h, err := t.read([]int64{tlog.StoredHashIndex(0, line-1)})
	if err != nil {
		return leaf, nil, down(err)
	}
	proof, err = tlog.ProveRecord(size, line-1, tlog.HashReaderFunc(t.read))
	return h[0], proof, down(err)
}

// Consistency proves that the tree of size to goes on from the one of size from.
func (t *Tree) Consistency(from, to int64) ([]Hash, error) {
	if err := t.holds(to); err != nil {
		return nil, err
	}
	if from < 1 || from > to {
		return nil, ErrRange
	}
	proof, err := tlog.ProveTree(to, from, tlog.HashReaderFunc(t.read))
	return proof, down(err)
}

// holds reports whether the tree has, or has had, a size.
func (t *Tree) holds(size int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil && (size < 1 || size > t.size) {
		return ErrRange
	}
	return t.broken
}

// read reads stored hashes. What was written once is never changed, so it needs
// no lock.
func (t *Tree) read(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, at := range indexes {
		if _, err := t.file.ReadAt(out[i][:], at*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func down(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDown, err)
}

// CheckInclusion checks a proof of [Tree.Inclusion].
func CheckInclusion(h Head, line int64, leaf Hash, proof []Hash) error {
	if line < 1 || line > h.Size {
		return ErrRange
	}
	return wrong(tlog.CheckRecord(proof, h.Size, h.Root, line-1, leaf))
}

// CheckConsistency checks a proof of [Tree.Consistency].
func CheckConsistency(from, to Head, proof []Hash) error {
	if from.Size < 1 || from.Size > to.Size {
		return ErrRange
	}
	return wrong(tlog.CheckTree(proof, to.Size, to.Root, from.Size, from.Root))
}

// ErrProof reports a proof that does not hold.
var ErrProof = errors.New("the proof does not hold")

func wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrProof, err)
}

// LeafHash is the leaf of a line, without its end.
func LeafHash(line []byte) Hash { return tlog.RecordHash(line) }

// Roll computes heads while a record is read from its first line, without a
// file. The zero value has seen no line.
type Roll struct {
	size int64
	edge edge
}

// Add takes the next line, without its end.
func (r *Roll) Add(line []byte) {
	r.edge.add(r.size, line)
	r.size++
}

// Head returns the head of what was read.
func (r *Roll) Head() Head { return Head{r.size, r.edge.root(r.size)} }
