package register

import (
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// Flags of keys.
const (
	NoTranscript = "no transcript tells of it"
	OtherKey     = "its transcript tells of another key"
	Unreadable   = "the transcripts cannot be read"
	Gone         = "its transcript says that it was destroyed"
)

// Shelf is a folder of transcripts for as long as a process runs. It is read
// again when somebody asks and the last reading is older than Every. It is safe
// for concurrent use.
type Shelf struct {
	Dir   string // empty: there is none, and no key has a transcript
	Token string // label of the token whose keys are asked about
	Trust Trust
	Every time.Duration
	Now   func() time.Time

	mu   sync.Mutex
	read time.Time
	last Register
	err  error
}

// Register returns what the transcripts say now. After an error it is what
// they said before.
func (s *Shelf) Register() (Register, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Dir == "" {
		return Register{}, nil
	}
	if now := s.Now(); s.read.IsZero() || now.Sub(s.read) >= s.Every || now.Before(s.read) {
		r, err := Load(s.Dir, s.Trust)
		if s.err = err; err == nil {
			s.last = r
		}
		s.read = now
	}
	return s.last, s.err
}

// Annotate adds to a list of stored keys what ceremonies say of them.
func (s *Shelf) Annotate(list []keyref.Info) {
	r, err := s.Register()
	for i := range list {
		k := &list[i]
		kept, ok := r.Key(s.Token, k.Ref.Label())
		switch {
		case k.Flag != "": // the token itself says that something is wrong
		case err != nil:
			k.Flag = Unreadable
		case !ok || kept.Transcript == "":
			k.Flag = NoTranscript
		case k.Check != nil && kept.Check != k.Check.String():
			k.Flag = OtherKey
		case kept.State == script.Destroyed:
			k.Flag = Gone
		}
		if ok {
			k.State, k.Ceremony, k.Transcript = string(kept.State), kept.Ceremony, kept.Transcript
		}
	}
}

// Active returns the version of a usage that issues: the only ACTIVE one but for
// those that serve something else; ok is false when there is none or more than
// one.
func (r Register) Active(token, realm string, u keyref.Usage, but ...uint8) (version uint8, ok bool) {
	n := 0
	for at, k := range r.keys {
		ref, err := keyref.Parse(at[1])
		if err == nil && at[0] == token && ref.Realm == realm && ref.Usage == u && k.State == script.Active && !slices.Contains(but, ref.Version) {
			version = ref.Version
			n++
		}
	}
	return version, n == 1
}

// Verifying returns the versions of a usage that verify: pending, active and
// retiring ones.
func (r Register) Verifying(token, realm string, u keyref.Usage) (versions []uint8) {
	for at, k := range r.keys {
		ref, err := keyref.Parse(at[1])
		if err != nil || at[0] != token || ref.Realm != realm || ref.Usage != u {
			continue
		}
		if k.State == script.Pending || k.State == script.Active || k.State == script.Retiring {
			versions = append(versions, ref.Version)
		}
	}
	return versions
}
