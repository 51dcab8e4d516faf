package detokenize_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
)

// slow is a recorder that takes until told.
type slow struct {
	*notes
	begun chan audit.Entry
	end   chan error
}

func (s slow) Begin(_ context.Context, e audit.Entry) (func() error, error) {
	s.begun <- e
	return func() error { return <-s.end }, nil
}

// TestNoAnswerBeforeItsRecord: the card is opened while its record is written,
// and given only when that is done.
func TestNoAnswerBeforeItsRecord(t *testing.T) {
	l := newLab(t)
	id := l.upload(l.tap(l.tok, 0, 10))
	down := fault.New(fault.AuditDown, "no room")
	for _, want := range []error{nil, down} {
		s := slow{l.notes, make(chan audit.Entry, 1), make(chan error)}
		l.cfg.Gate = audit.Gate{Recorder: s}
		service, err := detokenize.New(l.cfg)
		if err != nil {
			t.Fatal(err)
		}
		type outcome struct {
			answer detokenize.Answer
			err    error
		}
		done, before := make(chan outcome, 1), l.opener.opens()
		go func() {
			a, err := service.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, TapID: id}, detokenize.Settlement)
			done <- outcome{a, err}
		}()
		if e := <-s.begun; e.Reason != detokenize.Settlement || e.Outcome != audit.Allowed || e.Object != string(l.tok.Ref) {
			t.Fatalf("the record is %+v", e)
		}
		l.opener.wait(before + 1)
		select {
		case got := <-done:
			t.Fatalf("an answer without its record: %v", got.err)
		default:
		}
		s.end <- want
		got := <-done
		if !errors.Is(got.err, want) || got.answer.PAN.IsZero() == (want == nil) {
			t.Errorf("recorded with %v: %v", want, got.err)
		}
	}
}
