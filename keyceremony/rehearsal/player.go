// Package rehearsal plays every person of a ceremony on a scratch token, so that the day has no surprises.
package rehearsal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
)

// Player is an [engine.Desk] that plays every person. What a custodian types is
// what their letter says, or what is drawn for them from the seed: the same
// again when the rehearsal is resumed. Nothing of this is for production.
type Player struct {
	Seed    [32]byte
	Dir     string            // where letters go
	Letters map[string][]byte // component or share by key and person, see [Held]; nil: none
	Folders []string          // of letters of earlier ceremonies, which are then typed
	PIN     string            // of the user; a new one is made of the seed when it is empty
	SO      string
	Out     io.Writer // tells what is played; may be io.Discard
}

// Held names what a person holds of a key.
func Held(key, who string) string { return key + "/" + who }

// drawn is randomness that depends on the seed and a name only.
func (p *Player) drawn(name string, n int) []byte {
	var out []byte
	for i := byte(0); len(out) < n; i++ {
		sum := sha256.Sum256(append(append(append([]byte("tapvault rehearsal\x00"), p.Seed[:]...), name...), i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// Key is the signing key of a played person.
func (p *Player) Key(name string) (officer.Key, error) {
	return officer.New(bytes.NewReader(p.drawn("officer "+name, ed25519.SeedSize)))
}

// People are the public keys of everybody in a script.
func (p *Player) People(s script.Script) (map[string]officer.Public, error) {
	all := map[string]officer.Public{}
	for _, x := range s.People {
		k, err := p.Key(x.Name)
		if err != nil {
			return nil, err
		}
		all[x.Name] = k.Public()
	}
	return all, nil
}

// Step implements [engine.Desk].
func (p *Player) Step(ctx context.Context, v engine.View) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.Out, "%3d/%d  %s\n", v.Step.Number, len(v.Plan.Steps), v.Step.Says)
	return err
}

// Officer implements [engine.Desk].
func (p *Player) Officer(_ context.Context, x script.Person) (officer.Signer, error) {
	return p.Key(x.Name)
}

// Confirm implements [engine.Desk].
func (p *Player) Confirm(_ context.Context, v engine.View) (string, error) {
	return v.Plan.Short(), nil
}

// Enter implements [engine.Desk].
func (p *Player) Enter(_ context.Context, a engine.Ask) (*secret.Buffer, error) {
	if a.PIN {
		return secret.Of([]byte(p.pin(a.Step)))
	}
	for _, dir := range p.Folders {
		if held, err := readLetter(dir, a.Step.Who, a.Step.Key); err != nil || held != nil {
			return held, err
		}
	}
	if held := p.Letters[Held(a.Step.Key, a.Step.Who)]; held != nil {
		return secret.Of(bytes.Clone(held))
	}
	return secret.Of(p.drawn("component "+Held(a.Step.Key, a.Step.Who), a.Length))
}

// pin is a person's part of a PIN, of digits.
func (p *Player) pin(s script.Step) string {
	whole := map[string]string{script.SOPIN: p.SO, script.UserPIN: p.PIN}[s.Key]
	if whole == "" {
		for _, b := range p.drawn("pin "+s.Key, 16) {
			whole += string('0' + b%10)
		}
	}
	n := len(whole) / s.Parts
	if s.Part == s.Parts {
		return whole[n*(s.Part-1):]
	}
	return whole[n*(s.Part-1) : n*s.Part]
}

// UserPIN is the whole user PIN of a token that this player initialises.
func (p *Player) UserPIN() string { return p.pin(script.Step{Key: script.UserPIN, Part: 1, Parts: 1}) }

// SOPIN is the whole SO PIN of such a token.
func (p *Player) SOPIN() string { return p.pin(script.Step{Key: script.SOPIN, Part: 1, Parts: 1}) }

// Hand implements [engine.Desk]: the letter is remembered for the ceremony in
// which it is typed, and written when there is a folder.
func (p *Player) Hand(_ context.Context, l engine.Letter) (string, error) {
	if p.Letters == nil {
		p.Letters = map[string][]byte{}
	}
	p.Letters[Held(l.Step.Key, l.Step.Who)] = bytes.Clone(l.Value)
	if p.Dir == "" {
		return "kept in memory by the rehearsal", nil
	}
	return engine.WriteLetter(filepath.Join(p.Dir, "letters"), l, true)
}

var _ engine.Desk = (*Player)(nil)

// seedFile keeps the seed of a rehearsal, so that it can be resumed.
const seedFile = "rehearsal.seed"

// Seed reads the seed of a rehearsal folder, or draws it.
func Seed(dir string, random io.Reader) (seed [32]byte, err error) {
	name := filepath.Join(dir, seedFile)
	b, err := os.ReadFile(name)
	if err == nil && len(b) == len(seed) {
		return [32]byte(b), nil
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return seed, fmt.Errorf("reading the rehearsal's seed: %w", errors.Join(err, errors.New(name)))
	}
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return seed, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return seed, err
	}
	return seed, durable.Write(name, seed[:])
}

// readLetter finds a person's newest letter about a key, and types what it
// says; nil: there is none.
func readLetter(dir, who, key string) (*secret.Buffer, error) {
	names, err := filepath.Glob(filepath.Join(dir, who, "*.txt"))
	if err != nil {
		return nil, err
	}
	what := "of the key " + key + "\n"
	if key == script.BackupName {
		what = "of the key that opens a backup\n"
	}
	var digits string
	newest := time.Time{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		_, after, ok := strings.Cut(string(text), what)
		if lines := strings.Split(after, "\n"); ok && len(lines) > 4 && info.ModTime().After(newest) {
			digits, newest = strings.ReplaceAll(lines[4], " ", ""), info.ModTime()
		}
	}
	if digits == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("reading the letter of %s: %w", who, err)
	}
	return secret.Of(b)
}
