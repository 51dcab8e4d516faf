// Package register reads a folder of transcripts and says of each key in which state it is, and which ceremony says so.
//
// Transcripts are the only source: a state that no ceremony gave does not
// exist. One that is not whole, not signed, or approved by others than the
// trusted officers is an error and not left out, because what it hides may be a
// destruction.
package register

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// ErrUntrusted reports a transcript that is whole and does not count here.
var ErrUntrusted = fault.New(fault.Refused, "the transcript is not one to go by")

// Trust says whose transcripts count. The zero value takes live ceremonies of
// whichever officers: for a rehearsal alone.
type Trust struct {
	Officers   []string // public keys; when there are any, whoever approved has to be among them
	Rehearsals bool     // rehearsals count too: for a rehearsal of the service only
}

// Key is what the transcripts say of one key of one token.
type Key struct {
	Token, Label string
	State        script.State
	Check        string // as the token shows it; empty: unknown
	Ceremony     string // that gave birth to it
	Transcript   string // digest of that ceremony's transcript
}

// Register is what all transcripts of a folder say together.
type Register struct {
	keys    map[[2]string]Key
	stories int
}

// Load reads every file of dir, at any depth, whose name ends in .jsonl. A
// ceremony that is not closed yet says nothing.
func Load(dir string, t Trust) (Register, error) {
	var stories []transcript.Story
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".jsonl") {
			return err
		}
		s, err := read(name, t)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !s.Open {
			stories = append(stories, s)
		}
		return nil
	})
	if err != nil {
		return Register{}, fmt.Errorf("reading transcripts: %w", err)
	}
	slices.SortStableFunc(stories, func(a, b transcript.Story) int { // by what signatures cover: the end of a file can be written anew
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Head, b.Head))
	})
	r := Register{map[[2]string]Key{}, len(stories)}
	seen := map[string]bool{}
	for _, s := range stories {
		if !seen[s.Head] { // the same ceremony, copied
			seen[s.Head] = true
			r.tell(s)
		}
	}
	return r, nil
}

func read(name string, t Trust) (s transcript.Story, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	if s, err = transcript.Peek(text); err != nil || s.Open {
		return s, err
	}
	if s, err = transcript.Verify(text, transcript.Expect{}); err != nil {
		return s, err
	}
	if s.Mode == transcript.Rehearsal && !t.Rehearsals {
		return s, fmt.Errorf("%w: it is a rehearsal: its keys are for nothing else", ErrUntrusted)
	}
	for _, r := range s.Records {
		if r.Type != transcript.Approved || len(t.Officers) == 0 {
			continue
		}
		if k, err := s.Person(r.Who); err != nil || !slices.Contains(t.Officers, k.String()) {
			return s, fmt.Errorf("%w: %s, who approved it, is no officer of ours", ErrUntrusted, r.Who)
		}
	}
	return s, nil
}

// tell takes in what one ceremony did.
func (r Register) tell(s transcript.Story) {
	token := s.Plan.Script.Token
	for _, x := range s.Records {
		label, state := x.Data[transcript.DataKey], script.State(x.Data[transcript.DataState])
		if x.Type != transcript.Done || label == "" || state == "" {
			continue
		}
		at := [2]string{token, label}
		k := r.keys[at]
		if bears(s.Plan.Steps[x.Step-1].Op) {
			k = Key{Token: token, Label: label, Check: x.Data[transcript.DataTokenCheck], Ceremony: s.Plan.Script.Ceremony, Transcript: s.Digest}
			k.Check, _, _ = strings.Cut(k.Check, " ") // what kind of value it is
		}
		k.Token, k.Label, k.State = token, label, state
		r.keys[at] = k
		if old := x.Data[transcript.DataReplaces]; old != "" {
			o := r.keys[[2]string{token, old}]
			o.Token, o.Label, o.State = token, old, script.Retiring
			r.keys[[2]string{token, old}] = o
		}
	}
}

func bears(o script.Op) bool {
	return o == script.OpGenerate || o == script.OpImport || o == script.OpUnwrap || o == script.OpRestore
}

// Transcripts is how many ceremonies were read.
func (r Register) Transcripts() int { return r.stories }

// Key returns what is known of a key.
func (r Register) Key(token, label string) (Key, bool) {
	k, ok := r.keys[[2]string{token, label}]
	return k, ok
}

// States are those of all keys of a token.
func (r Register) States(token string) map[string]script.State {
	all := map[string]script.State{}
	for at, k := range r.keys {
		if at[0] == token {
			all[at[1]] = k.State
		}
	}
	return all
}
