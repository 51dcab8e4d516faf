// Package auditor lets auditors read the audit record, and proves to them what
// is in it, under checkpoints that the HSM signed.
package auditor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/fault"
)

// Errors.
var (
	ErrEmpty  = fault.New(fault.AuditDown, "nothing is recorded yet")
	ErrCursor = fault.New(fault.Malformed, "a cursor is one that an answer gave")
	// ErrForked reports a record that no longer goes on from what a checkpoint
	// said of it: it was edited, cut or exchanged.
	ErrForked = fault.New(fault.AuditDown, "the audit record does not go on from its last checkpoint")
	ErrKept   = fault.New(fault.AuditDown, "the file of checkpoints cannot be read or written")
)

// Tree is the Merkle tree over the record.
type Tree interface {
	Head() (tree.Head, error)
	At(size int64) (tree.Head, error)
	Inclusion(line, size int64) (leaf tree.Hash, proof []tree.Hash, err error)
	Consistency(from, to int64) ([]tree.Hash, error)
}

// Config is what a [Service] is made of. All fields but Now are required.
type Config struct {
	Record string // the file of the audit record
	Kept   string // the file that checkpoints are appended to
	Keeper string // whose record it is: the service's own URL when it began
	Tree   Tree
	Key    tree.Key
	Gate   audit.Gate
	Now    func() time.Time // nil: time.Now
}

// Service answers auditors. It is safe for concurrent use.
type Service struct {
	cfg    Config
	record *os.File

	mu     sync.Mutex
	kept   *os.File
	size   int64 // of kept
	origin string
	last   Signed
}

// Signed is a checkpoint as it is given out.
type Signed struct {
	tree.Checkpoint
	Note string
	At   time.Time
}

// New opens the record and its checkpoints, and compares both: a record that
// does not go on from its last checkpoint is [ErrForked].
func New(cfg Config) (*Service, error) {
	if cfg.Record == "" || cfg.Kept == "" || cfg.Keeper == "" || cfg.Tree == nil || cfg.Key.Public == nil || cfg.Key.Sign == nil || cfg.Gate.Recorder == nil {
		return nil, errors.New("configuring checkpoints: record, file, keeper, tree, key and gate are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Service) open() (err error) {
	if s.record, err = os.Open(s.cfg.Record); err != nil {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	if s.kept, err = os.OpenFile(s.cfg.Kept, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	if err := durable.Folder(filepath.Dir(s.cfg.Kept)); err != nil { // a new file's name
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	last, size, err := newest(s.kept)
	if s.size = size; err != nil || last.Note == "" {
		return err
	}
	origin, err := s.nameOf(last.Note)
	if errors.Is(err, ErrEmpty) { // there were lines
		return ErrForked
	}
	if err != nil {
		return err
	}
	c, err := s.cfg.Key.OpenCheckpoint(last.Note, origin)
	if err != nil {
		return fmt.Errorf("%w: the last checkpoint: %w", ErrForked, err)
	}
	s.last = Signed{c, last.Note, last.At}
	return s.goesOn()
}

// goesOn compares the tree with the last checkpoint.
func (s *Service) goesOn() error {
	if s.last.Size == 0 {
		return nil
	}
	was, err := s.cfg.Tree.At(s.last.Size)
	if errors.Is(err, tree.ErrRange) {
		return fmt.Errorf("%w: it ends before the %d lines that were signed", ErrForked, s.last.Size)
	}
	if err == nil && was.Root != s.last.Root {
		return fmt.Errorf("%w: it holds other lines than the %d that were signed", ErrForked, s.last.Size)
	}
	return err
}

// Close closes the files.
func (s *Service) Close() error {
	var errs []error
	for _, f := range []*os.File{s.record, s.kept} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// nameOf is the name under which a checkpoint of this record was signed. The
// record keeps it, whatever the service is called since (docs/decisions/162).
func (s *Service) nameOf(checkpoint string) (string, error) {
	first, _, err := lines(s.record, 0, 1)
	if err != nil {
		return "", err
	}
	if len(first) == 0 {
		return "", ErrEmpty
	}
	if s.origin = tree.OriginOf(checkpoint, []byte(first[0])); s.origin == "" {
		return "", fmt.Errorf("%w: that is of a record that began otherwise", ErrForked)
	}
	return s.origin, nil
}

// name names a record of which there is no checkpoint by its first line, once
// there is one.
func (s *Service) name() (string, error) {
	if s.origin != "" {
		return s.origin, nil
	}
	first, _, err := lines(s.record, 0, 1)
	if err != nil {
		return "", err
	}
	if len(first) == 0 {
		return "", ErrEmpty
	}
	s.origin = tree.Origin(s.cfg.Keeper, []byte(first[0]))
	return s.origin, nil
}

// fresh is how old a checkpoint may be that is given out again.
const fresh = time.Second

// Checkpoint returns a signed checkpoint of the record, not older than a
// second unless nothing was recorded since. When nothing was recorded yet, that it
// was asked for is the first line.
func (s *Service) Checkpoint(ctx context.Context, c access.Caller) (Signed, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.AuditRead, "checkpoint"); err != nil {
		return Signed{}, err
	}
	signed, err := s.Seal(ctx)
	if !errors.Is(err, ErrEmpty) {
		return signed, err
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.AuditRead, "checkpoint", "first"); err != nil {
		return Signed{}, err
	}
	return s.Seal(ctx)
}

// Seal signs and keeps a checkpoint, if something was recorded since the last
// one. It never signs a record that does not go on from that.
func (s *Service) Seal(ctx context.Context) (Signed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if age := now.Sub(s.last.At); s.last.Size > 0 && age >= 0 && age < fresh {
		return s.last, nil
	}
	head, err := s.cfg.Tree.Head()
	if err != nil {
		return Signed{}, err
	}
	if head.Size == s.last.Size && s.last.Size > 0 && head.Root == s.last.Root {
		return s.last, nil
	}
	if err := s.goesOn(); err != nil {
		return Signed{}, err
	}
	if head.Size == 0 { // its first line may be on its way; nobody opens what is signed of none
		return Signed{}, ErrEmpty
	}
	origin, err := s.name()
	if err != nil {
		return Signed{}, err
	}
	return s.sign(ctx, tree.Checkpoint{Origin: origin, Head: head}, now)
}

func (s *Service) sign(ctx context.Context, c tree.Checkpoint, now time.Time) (Signed, error) {
	text, err := s.cfg.Key.SignCheckpoint(ctx, c)
	if err != nil {
		return Signed{}, err
	}
	if s.size, err = keep(s.kept, s.size, kept{now.UTC(), text}); err != nil {
		return Signed{}, err
	}
	s.last = Signed{c, text, now}
	return s.last, nil
}

// Run signs a checkpoint every so often, and a last one when ctx ends. It tells
// of failures.
func (s *Service) Run(ctx context.Context, every time.Duration, failed func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		if _, err := s.Seal(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, ErrEmpty) {
			failed(err)
		}
	}
}

// Inclusion proves that a line, counted from 1, is in the record of a size.
func (s *Service) Inclusion(ctx context.Context, c access.Caller, line, size int64) (leaf tree.Hash, proof []tree.Hash, err error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.AuditRead, "inclusion"); err != nil {
		return leaf, nil, err
	}
	return s.cfg.Tree.Inclusion(line, size)
}

// Consistency proves that the record of size to goes on from that of size from.
func (s *Service) Consistency(ctx context.Context, c access.Caller, from, to int64) ([]tree.Hash, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.AuditRead, "consistency"); err != nil {
		return nil, err
	}
	return s.cfg.Tree.Consistency(from, to)
}

// Records returns up to limit lines after a cursor, the first ones for "". next
// is where to go on, also when there are no more lines yet. Reading is itself
// recorded.
func (s *Service) Records(ctx context.Context, c access.Caller, cursor string, limit int) (found []string, next string, err error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.AuditRead, "records", "read"); err != nil {
		return nil, "", err
	}
	from, err := s.place(cursor)
	if err != nil {
		return nil, "", err
	}
	found, end, err := lines(s.record, from, limit)
	if err != nil {
		return nil, "", err
	}
	return found, strconv.FormatInt(end, 10), nil
}

// place reads a cursor: where a line of the record begins.
func (s *Service) place(cursor string) (int64, error) {
	if cursor == "" || cursor == "0" {
		return 0, nil
	}
	at, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || at < 1 || strconv.FormatInt(at, 10) != cursor {
		return 0, ErrCursor
	}
	before := make([]byte, 1)
	if _, err := s.record.ReadAt(before, at-1); errors.Is(err, io.EOF) || err == nil && before[0] != '\n' {
		return 0, ErrCursor
	} else if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrKept, err)
	}
	return at, nil
}
