package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/tree"
)

// Auditor lets auditors read the audit record, and proves what is in it.
type Auditor interface {
	Checkpoint(ctx context.Context, c access.Caller) (auditor.Signed, error)
	Inclusion(ctx context.Context, c access.Caller, line, size int64) (leaf tree.Hash, proof []tree.Hash, err error)
	Consistency(ctx context.Context, c access.Caller, from, to int64) ([]tree.Hash, error)
	Records(ctx context.Context, c access.Caller, cursor string, limit int) (lines []string, next string, err error)
}

func (s *server) checkpoint(ctx context.Context, q *request) (any, error) {
	c, err := s.Auditor.Checkpoint(ctx, q.caller)
	if err != nil {
		return nil, err
	}
	return wire.AuditCheckpoint{Origin: c.Origin, Size: c.Size, Root: wire.Hex32(c.Root), Checkpoint: c.Note, SignedAt: c.At.UTC()}, nil
}

func (s *server) inclusion(ctx context.Context, q *request) (any, error) {
	line, err := q.count("line")
	if err != nil {
		return nil, err
	}
	size, err := q.count("size")
	if err != nil {
		return nil, err
	}
	leaf, proof, err := s.Auditor.Inclusion(ctx, q.caller, line, size)
	if err != nil {
		return nil, err
	}
	return wire.AuditInclusion{Line: line, Size: size, Leaf: wire.Hex32(leaf), Hashes: hashes(proof)}, nil
}

func (s *server) consistency(ctx context.Context, q *request) (any, error) {
	from, err := q.count("from")
	if err != nil {
		return nil, err
	}
	to, err := q.count("to")
	if err != nil {
		return nil, err
	}
	proof, err := s.Auditor.Consistency(ctx, q.caller, from, to)
	if err != nil {
		return nil, err
	}
	return wire.AuditConsistency{From: from, To: to, Hashes: hashes(proof)}, nil
}

func (s *server) auditRecords(ctx context.Context, q *request) (any, error) {
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	lines, next, err := s.Auditor.Records(ctx, q.caller, q.query["cursor"], limit)
	if errors.Is(err, auditor.ErrCursor) {
		return nil, badCursor()
	}
	if err != nil {
		return nil, err
	}
	return wire.AuditRecords{Records: append([]string{}, lines...), NextCursor: next}, nil
}

// auditKeys prints the public keys that check checkpoints.
func (s *server) auditKeys(context.Context, *request) (any, error) { return s.AuditKeys() }

// count reads a parameter that is a whole number from 1.
func (q *request) count(name string) (int64, error) {
	text := q.query[name]
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
		return 0, &wire.FieldError{Path: name, Text: "must be a whole number from 1"}
	}
	return n, nil
}

func hashes(all []tree.Hash) []wire.Hex32 {
	out := make([]wire.Hex32, len(all))
	for i, h := range all {
		out[i] = wire.Hex32(h)
	}
	return out
}
