// Package engine carries a plan out, step by step, and can be killed anywhere and go on.
//
// A step is recorded before it is done and after. What the token holds then
// decides how a ceremony goes on that was cut off: a key that was born and reads
// back as it should is taken, anything less is destroyed and made again. A key
// that was there before is never touched.
package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// Token is an open token; *hsm.Token is one.
type Token interface {
	// GenerateMarked and ImportMarked bring a key to life that bears a mark, by which
	// it is known again after a ceremony was cut off. Bears reports whether what is
	// under a label bears it, or returns [hsm.ErrKeyMissing]. Orphans destroys the
	// objects without a label that these births left when they were cut off; it names
	// those, and those of others, which it leaves.
	GenerateMarked(ctx context.Context, ref keyref.Ref, mark string) error
	ImportMarked(ctx context.Context, ref keyref.Ref, value []byte, mark string) error
	Bears(ctx context.Context, ref keyref.Ref, mark string) (bool, error)
	Orphans(ctx context.Context, births []hsm.Birth) (gone, left []string, err error)
	Destroy(ctx context.Context, ref keyref.Ref) error

	// ReadBack compares what is under a label with what its usage demands, and says in
	// words what it read. Trial computes something that two keys agree on only when
	// they are equal.
	ReadBack(ctx context.Context, ref keyref.Ref) (keyref.Info, string, error)
	Trial(ctx context.Context, ref keyref.Ref) ([]byte, error)

	// Require, PublicKey and Sign are for the key that signs the transcript.
	Require(ctx context.Context, refs ...keyref.Ref) error
	PublicKey(ctx context.Context, ref keyref.Ref) (*ecdsa.PublicKey, error)
	Sign(ctx context.Context, ref keyref.Ref, digest [32]byte) ([64]byte, error)

	Random(ctx context.Context, b []byte) error // fills b
	Close() error
}

// Module gives tokens.
type Module interface {
	// Init initialises a token that does not exist, or finishes one whose
	// initialisation was cut off.
	Init(ctx context.Context, label string, so, user []byte) error
	// Open logs in. A nil PIN comes from where the caller said.
	Open(ctx context.Context, label string, pin []byte) (Token, error)
}

// Desk is the people, at a console or played.
type Desk interface {
	// Step tells what will happen; it returns when they are ready.
	Step(ctx context.Context, v View) error
	// Officer unlocks a person's signing key.
	Officer(ctx context.Context, p script.Person) (officer.Signer, error)
	// Confirm returns what was typed for the plan's short hash.
	Confirm(ctx context.Context, v View) (string, error)
	// Enter returns what a person typed: masked, and twice the same.
	Enter(ctx context.Context, a Ask) (*secret.Buffer, error)
	// Hand gives a letter to one person, and returns where it is.
	Hand(ctx context.Context, l Letter) (string, error)
}

// View is where the ceremony stands.
type View struct {
	Plan script.Plan
	Step script.Step
	Note string // why a step is done again, or what was refused; or empty
}

// Ask is a secret that one person has to type.
type Ask struct {
	View
	PIN    bool
	Length int // bytes; of a PIN, 0
	// Check returns the check value of what was typed, which the person
	// compares with the one in the letter. Nil for PINs.
	Check func(value []byte) (string, error)
	// Refused records why something typed was not taken by the desk itself.
	Refused func(why string) error
}

// Letter is what one custodian receives in writing.
type Letter struct {
	View
	Serial  string
	Attempt int // rises when a ceremony was cut off: older letters are void
	Check   string
	Value   []byte // the desk does not keep it
}

// Errors.
var (
	ErrAborted  = fault.New(fault.Refused, "the ceremony was aborted: it can be resumed")
	ErrStep     = fault.New(fault.Refused, "the step cannot be done")
	ErrApproval = fault.New(fault.Refused, "the approval does not hold")
)

// Config says how to carry a plan out.
type Config struct {
	Plan   script.Plan
	Dir    string // where transcript, letters and blocks go
	Desk   Desk
	Module Module
	// Live: the script's own people, with the keys that it names. Otherwise it
	// is a rehearsal, and People are those who play.
	Live   bool
	People map[string]officer.Public
	// Played: what is typed is made up, so that check values of the script,
	// key blocks and backups cannot be the real ones. Blocks and Backup then
	// stand in for those of the script.
	Played bool
	Blocks map[string]string
	Backup string
	// States are what earlier transcripts say of keys; see package register.
	States map[string]script.State
	Host   map[string]string // for the record: host, program, memory
	Resume bool
	Now    func() time.Time
	Rand   io.Reader // mixed with the token's own; nil means crypto/rand
	// At is called at every boundary of a step, for tests that kill there.
	At func(step int, what string)
}

// File names in the folder of a ceremony.
const (
	TranscriptFile = "transcript.jsonl"
	PageFile       = "transcript.html"
)

type run struct {
	Config
	book  *transcript.Book
	nonce string
	token Token
	done  map[int]transcript.Record // steps, with the record that did them last
	begun map[int]transcript.Record
	again map[int]bool // to be done once more in this run
	parts map[string][]*secret.Buffer
}

// Run carries the plan out from its first step, or from where it was cut off,
// and returns the digest of the transcript.
func Run(ctx context.Context, c Config) (digest string, err error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.At == nil {
		c.At = func(int, string) {}
	}
	r := &run{Config: c, done: map[int]transcript.Record{}, begun: map[int]transcript.Record{}, again: map[int]bool{},
		parts: map[string][]*secret.Buffer{}}
	defer r.wipe()
	if err := r.open(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.book.Close()) }()
	for _, s := range c.Plan.Steps {
		if _, ok := r.done[s.Number]; ok && !r.again[s.Number] {
			continue
		}
		if err := r.step(ctx, s); err != nil {
			return "", r.stop(s, err)
		}
	}
	if err := r.book.Add(transcript.Record{Type: transcript.Closed, Says: transcript.ClosedSays}); err != nil {
		return "", err
	}
	r.At(len(c.Plan.Steps)+1, "closed")
	return r.book.Head(), r.page()
}

func (r *run) wipe() {
	for _, list := range r.parts {
		for _, b := range list {
			b.Wipe()
		}
	}
	if r.token != nil {
		r.token.Close()
	}
}

// stop records why the ceremony stands still.
func (r *run) stop(s script.Step, err error) error {
	rec := transcript.Record{Type: transcript.Failed, Step: s.Number, Who: s.Who, Says: reason(err)}
	if errors.Is(err, ErrAborted) || errors.Is(err, context.Canceled) {
		rec.Type, rec.Says = transcript.Aborted, "The ceremony was stopped here. It can be resumed."
	}
	return errors.Join(fmt.Errorf("step %d: %w", s.Number, err), r.book.Add(rec))
}

// reason is an error on one line.
func reason(err error) string {
	text := err.Error()
	if len(text) > 1000 {
		text = text[:1000]
	}
	return text
}

func (r *run) path(name string) string { return filepath.Join(r.Dir, name) }

// step does one step: told, recorded, done, recorded.
func (r *run) step(ctx context.Context, s script.Step) error {
	r.At(s.Number, "before")
	v := View{Plan: r.Plan, Step: s}
	if r.again[s.Number] && r.done[s.Number].Number > 0 {
		v.Note = "This is done again, because the ceremony was interrupted."
	}
	if err := r.Desk.Step(ctx, v); err != nil {
		return err
	}
	begin := transcript.Record{Type: transcript.Began, Step: s.Number, Who: s.Who, Says: s.Says}
	var err error
	switch {
	case bears(s.Op):
		begin.Data, err = r.intent(s)
	case s.Op == script.OpDestroy:
		begin.Data, err = r.doomed(ctx, s)
	}
	if err != nil {
		return err
	}
	if err := r.book.Add(begin); err != nil {
		return err
	}
	r.At(s.Number, "began")
	rec, err := r.do(ctx, v)
	if err != nil {
		return err
	}
	r.At(s.Number, "did")
	return r.finish(s, rec)
}

func (r *run) finish(s script.Step, rec transcript.Record) error {
	if rec.Type == "" {
		rec.Type = transcript.Done
	}
	rec.Step, rec.Who, rec.Says = s.Number, s.Who, s.Says
	if err := r.book.Add(rec); err != nil {
		return err
	}
	r.done[s.Number] = rec
	r.At(s.Number, "done")
	return nil
}

// page writes the transcript for the binder.
func (r *run) page() error {
	text, err := os.ReadFile(r.path(TranscriptFile))
	if err != nil {
		return err
	}
	story, err := transcript.Verify(text, transcript.Expect{Script: r.Plan.Text})
	if err != nil {
		return err
	}
	page, err := story.Page()
	if err != nil {
		return err
	}
	return writeNew(r.path(PageFile), page)
}

// writeNew writes a file that is never another one's, into a folder that may not
// be there yet.
func writeNew(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.Write(name, data)
}
