package denylist

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Document is what a reader is sent.
type Document struct {
	Tag   string // its entity tag
	Bytes []byte // nil: whoever holds the tag has this already
}

// cache keeps what was signed for one version and moment of issue.
type cache struct {
	version  uint64
	issued   time.Time
	snapshot []byte
	deltas   map[uint64][]byte
}

// maxKeptDeltas bounds the cache: of versions that readers may be at, the recent
// ones matter.
const maxKeptDeltas = 1024

// Snapshot returns the whole list, unless the caller holds tag.
func (s *Service) Snapshot(ctx context.Context, c access.Caller, tag string) (Document, error) {
	return s.answer(ctx, c, tag, func() ([]byte, error) {
		if s.kept.snapshot != nil {
			return s.kept.snapshot, nil
		}
		lines := slices.Collect(maps.Values(s.lines))
		entries, err := s.entries(ctx, lines)
		if err != nil {
			return nil, err
		}
		doc, err := deny.Snapshot{Head: s.documentHead(s.kept.issued, s.cfg.Valid), Version: s.head.Number,
			Switches: s.head.Switches, Entries: entries}.Sign(s.signer(ctx))
		s.kept.snapshot = doc
		return doc, err
	})
}

// Delta returns what leads on from a version, unless the caller holds tag, or
// [ErrTooOld]. One that changes nothing says so, and when.
func (s *Service) Delta(ctx context.Context, c access.Caller, from uint64, tag string) (Document, error) {
	return s.answer(ctx, c, tag, func() ([]byte, error) {
		if doc := s.kept.deltas[from]; doc != nil {
			return doc, nil
		}
		d := deny.Delta{Head: s.documentHead(s.kept.issued, s.cfg.Valid), From: from, To: s.head.Number, Switches: s.head.Switches}
		if from != s.head.Number {
			if err := s.recent(ctx, from); err != nil {
				return nil, err
			}
			head, changes, err := s.cfg.Store.Changes(ctx, from)
			if err != nil {
				return nil, err
			}
			d.To, d.Switches = head.Number, head.Switches // another process may have gone on
			if err := s.fold(ctx, &d, changes); err != nil {
				return nil, err
			}
		}
		doc, err := d.Sign(s.signer(ctx))
		if err == nil && d.To == s.head.Number && len(s.kept.deltas) < maxKeptDeltas {
			s.kept.deltas[from] = doc
		}
		return doc, err
	})
}

// recent refuses versions that were followed by others too long ago.
func (s *Service) recent(ctx context.Context, from uint64) error {
	next, newer, known, err := s.cfg.History.After(ctx, from)
	if err != nil {
		return err
	}
	if !known || newer && s.now().Sub(next) > s.cfg.Deltas {
		return ErrTooOld
	}
	return nil
}

// answer publishes what there is to publish and has make make a document, all
// by the list of one moment.
func (s *Service) answer(ctx context.Context, c access.Caller, tag string, make func() ([]byte, error)) (Document, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.DenyRead, "denylist"); err != nil {
		return Document{}, err
	}
	arrived := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(ctx, arrived); err != nil {
		return Document{}, err
	}
	issued := s.now().UTC().Truncate(s.cfg.Refresh)
	if s.kept.version != s.head.Number || !s.kept.issued.Equal(issued) || s.kept.deltas == nil {
		s.kept = cache{version: s.head.Number, issued: issued, deltas: map[uint64][]byte{}}
	}
	out := Document{Tag: deny.Tag(s.head.Number, issued)}
	if tag == out.Tag {
		return out, nil
	}
	var err error
	if out.Bytes, err = make(); err != nil {
		return Document{}, err
	}
	return out, nil
}

func (s *Service) documentHead(issued time.Time, valid time.Duration) deny.Head {
	return deny.Head{KeyID: s.cfg.KeyID, Issued: issued, Until: issued.Add(valid)}
}

func (s *Service) signer(ctx context.Context) deny.Sign {
	return func(digest [32]byte) ([64]byte, error) { return s.cfg.Sign(ctx, digest) }
}

// fold makes a delta of changes: of several to one entry, the last counts.
func (s *Service) fold(ctx context.Context, d *deny.Delta, changes []Change) error {
	last := make(map[ID]Change, len(changes))
	for _, c := range changes {
		last[c.ID] = c
	}
	var adds, removes []Line
	for _, c := range last {
		switch {
		case c.Removed, c.Kind != deny.Token && !d.Issued.Before(c.Until):
			// An order that was made shorter and has ended: a reader may hold the
			// longer one. Entries of tokens never become shorter.
			removes = append(removes, c.Line)
		case d.Issued.Before(c.Until):
			adds = append(adds, c.Line)
		}
	}
	var err error
	if d.Adds, err = s.entries(ctx, adds); err != nil {
		return err
	}
	gone, err := s.entries(ctx, removes)
	for _, e := range gone {
		d.Removes = append(d.Removes, e.Key)
	}
	return err
}

// numbers asks for the numbers of tokens that lines name, once each.
func (s *Service) numbers(ctx context.Context, lines []Line) error {
	var unknown []token.Ref
	for _, l := range lines {
		ref := token.Ref(l.Name)
		if l.Kind != deny.Token && l.Kind != deny.MinCtr {
			continue
		}
		if _, ok := s.known[ref]; !ok {
			unknown = append(unknown, ref)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	found, err := s.cfg.Tokens.Numbers(ctx, unknown)
	if err != nil {
		return fmt.Errorf("numbering the deny list: %w", err)
	}
	if len(s.known)+len(found) > deny.MaxEntries {
		clear(s.known)
	}
	maps.Copy(s.known, found)
	return nil
}

// entries prints lines as readers see them, in order. A line that cannot be printed is left
// out, and the operator told: without the others readers would take everybody that was
// denied since.
func (s *Service) entries(ctx context.Context, lines []Line) ([]deny.Entry, error) {
	if err := s.numbers(ctx, lines); err != nil {
		return nil, err
	}
	out := make([]deny.Entry, 0, len(lines))
	for _, l := range lines {
		e, err := s.entry(l)
		if err != nil {
			s.unprinted.Add(1)
			s.cfg.Log.ErrorContext(ctx, "readers are not told of an entry", "error", err.Error())
			continue
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b deny.Entry) int { return a.Compare(b.Key) })
	return out, nil
}

func (s *Service) entry(l Line) (deny.Entry, error) {
	switch l.Kind {
	case deny.KeyID:
		if id, err := strconv.ParseUint(l.Name, 10, 16); err == nil {
			return deny.OfKeyID(uint16(id), l.Until), nil
		}
	case deny.SAM:
		if b, err := hex.DecodeString(l.Name); err == nil && len(b) == 6 {
			return deny.OfSAM([6]byte(b), l.Until), nil
		}
	case deny.Token, deny.MinCtr:
		n, ok := s.known[token.Ref(l.Name)]
		if ok && l.Kind == deny.Token {
			return deny.OfToken(n, l.Until), nil
		}
		if ok {
			return deny.Below(n, l.Ctr, l.Until), nil
		}
	}
	return deny.Entry{}, fmt.Errorf("reading the deny list: the entry of %s cannot be read", l.Name)
}

// Policy returns what terminals are told, signed, unless the caller holds tag.
func (s *Service) Policy(ctx context.Context, c access.Caller, tag string) (Document, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.DenyRead, "policy"); err != nil {
		return Document{}, err
	}
	if err := s.look(ctx); err != nil {
		return Document{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	issued, p := s.now().UTC().Truncate(policyRefresh), s.cfg.Policy
	if s.cfg.Ranges != nil {
		p.Ranges = s.cfg.Ranges()
	}
	if s.policy.doc == nil || !s.policy.issued.Equal(issued) || !slices.Equal(s.policy.ranges, p.Ranges) {
		p.Head = s.documentHead(issued, policyValid)
		doc, err := p.Sign(s.signer(ctx))
		if err != nil {
			return Document{}, err
		}
		s.policy.issued, s.policy.ranges, s.policy.doc = issued, p.Ranges, doc
	}
	var stamp [8]byte
	binary.BigEndian.PutUint32(stamp[:4], uint32(issued.Unix()))
	ranges := sha256.Sum256(fmt.Append(nil, p.Ranges))
	copy(stamp[4:], ranges[:])
	out := Document{Tag: `"policy-` + hex.EncodeToString(stamp[:]) + `"`, Bytes: s.policy.doc}
	if tag == out.Tag {
		out.Bytes = nil
	}
	return out, nil
}

// A policy changes when a service is configured anew, this process or another
// with one more token range.
const (
	policyRefresh = time.Hour
	policyValid   = 30 * 24 * time.Hour
)
