package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

func (r *run) open() (err error) {
	if r.Resume {
		return r.reopen()
	}
	if r.Live {
		for _, p := range r.Plan.Script.People {
			if p.Key == "" {
				return fmt.Errorf("%w: %s has no key in the script: run keyceremony enrol, and add what it prints", script.ErrScript, p.Name)
			}
		}
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the ceremony: %w", err)
	}
	if r.book, err = transcript.Create(r.path(TranscriptFile), r.Now); err != nil {
		return err
	}
	return r.opening()
}

func (r *run) opening() error {
	var n [16]byte
	if _, err := io.ReadFull(r.Rand, n[:]); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	r.nonce = fmt.Sprintf("%X", n)
	data := map[string]string{transcript.DataScript: string(r.Plan.Text), transcript.DataDigest: fmt.Sprintf("%X", r.Plan.Digest()),
		transcript.DataMode: transcript.Rehearsal, transcript.DataNonce: r.nonce}
	if r.Live {
		data[transcript.DataMode] = transcript.Live
	}
	for k, v := range r.Host {
		data[k] = v
	}
	for _, p := range r.Plan.Script.People {
		public := p.Key
		if !r.Live {
			public = r.People[p.Name].String()
		}
		data[transcript.PersonData(p.Name)] = public
	}
	return r.book.Add(transcript.Record{Type: transcript.Opened, Says: "The ceremony " + r.Plan.Script.Ceremony + " begins.", Data: data})
}

// reopen reads where the ceremony stood, after judging what is written.
func (r *run) reopen() (err error) {
	text, err := os.ReadFile(r.path(TranscriptFile))
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	book, torn, err := transcript.Reopen(r.path(TranscriptFile), r.Now)
	if err != nil {
		return err
	}
	r.book = book
	if len(book.Records()) == 0 { // killed before the first record
		return r.opening()
	}
	story, err := transcript.Peek(text)
	if err == nil && string(story.Plan.Text) != string(r.Plan.Text) {
		err = fmt.Errorf("%w: the transcript in this folder is of another script: resume that one, or name another folder", script.ErrScript)
	}
	if err == nil && (story.Mode == transcript.Live) != r.Live {
		err = fmt.Errorf("%w: a rehearsal stays one, and a live ceremony too", script.ErrScript)
	}
	if err != nil {
		return errors.Join(err, book.Close())
	}
	r.nonce = story.Records[0].Data[transcript.DataNonce]
	for _, x := range story.Records {
		switch x.Type {
		case transcript.Began:
			r.begun[x.Step] = x
		case transcript.Done, transcript.Approved, transcript.Signed:
			r.done[x.Step] = x
		}
	}
	if len(r.done) == len(r.Plan.Steps) { // only the end is missing, and nothing may stand between it and the last signature
		return nil
	}
	r.rewind()
	data := map[string]string{}
	for k, v := range r.Host {
		data[k] = v
	}
	if torn > 0 {
		data["cut off"] = strconv.Itoa(torn) + " bytes of a record whose writing was interrupted"
	}
	return book.Add(transcript.Record{Type: transcript.Resumed, Says: "The ceremony goes on.", Data: data})
}

// rewind marks what has to be done once more: logging in, always; and in a
// group that is not finished, whatever lay in memory and what hangs on it.
func (r *run) rewind() {
	open := map[int]bool{} // groups that still need what lay in memory
	for _, s := range r.Plan.Steps {
		if _, ok := r.done[s.Number]; !ok && needsMemory(s.Op) {
			open[s.Group] = true
		}
	}
	redraw := map[int]bool{}
	for _, s := range r.Plan.Steps {
		switch {
		case s.Op == script.OpPIN || s.Op == script.OpOpen:
			r.again[s.Number] = true
		case !open[s.Group]:
		case s.Op == script.OpDraw || s.Op == script.OpSealKey:
			redraw[s.Group] = true
			r.again[s.Number] = true
		case !s.Op.Lasting():
			r.again[s.Number] = true
		case redraw[s.Group] && needsMemory(s.Op) && s.Op != script.OpImport:
			r.again[s.Number] = true
		}
	}
}

// needsMemory reports whether a step uses what earlier steps of its group left
// in memory.
func needsMemory(o script.Op) bool {
	switch o {
	case script.OpLetter, script.OpImport, script.OpUnwrap, script.OpWrap, script.OpSeal, script.OpRestore, script.OpOpenBack, script.OpInit:
		return true
	}
	return false
}
