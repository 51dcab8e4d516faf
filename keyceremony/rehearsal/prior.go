package rehearsal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// priorToken is the token on which a restoration's backup was born.
const priorToken = "rehearsal-of-the-backup"

// prior plays the backup that a restoration needs, on a token of its own, and
// lets the players type the shares that they got there.
func prior(ctx context.Context, dir string, s script.Script, p *Player, m engine.HSM) (folder string, err error) {
	folder = filepath.Join(dir, "prior")
	p.Folders = append(p.Folders, filepath.Join(folder, "letters"))
	if _, err := os.Stat(filepath.Join(folder, engine.PageFile)); err == nil {
		return filepath.Join(folder, "backup"), nil
	}
	s.Kind, s.Ceremony, s.Token, s.AuditKey = script.Backup, "prior-backup", priorToken, script.NoKey
	b := *s.Backup
	b.File = ""
	s.Backup = &b
	text, err := yaml.Marshal(s)
	if err != nil {
		return "", err
	}
	plan, err := script.Read(text)
	if err != nil {
		return "", err
	}
	if err := m.Init(ctx, priorToken, []byte(p.SOPIN()), []byte(p.UserPIN())); err != nil {
		return "", err
	}
	people, err := p.People(plan.Script)
	if err != nil {
		return "", err
	}
	player := &Player{Seed: p.Seed, Dir: folder, Out: io.Discard}
	c := engine.Config{Plan: plan, Dir: folder, Desk: player, Module: m, People: people, Played: true, Now: time.Now}
	if _, err := os.Stat(filepath.Join(folder, engine.TranscriptFile)); err == nil {
		c.Resume = true
	}
	_, err = engine.Run(ctx, c)
	if errors.Is(err, transcript.ErrExists) { // closed, and killed before its page was written
		err = nil
	}
	return filepath.Join(folder, "backup"), err
}

// blocks wraps made-up keys under the protection key that the players type.
func blocks(s script.Script, p *Player) (map[string]string, error) {
	kbpk := make([]byte, s.KBPK.Bits/8)
	for _, who := range s.KBPK.Custodians {
		for i, b := range p.drawn("component "+Held(script.KBPKName, who), len(kbpk)) {
			kbpk[i] ^= b
		}
	}
	all := map[string]string{}
	for _, k := range s.Keys {
		b, err := keyblock.Parse(k.Block)
		if err != nil {
			return nil, err
		}
		h := b.Header
		h.Optional = nil
		random := bytes.NewReader(p.drawn("padding of "+k.Label, 256))
		if all[k.Label], err = keyblock.Wrap(random, kbpk, h, p.drawn("key "+k.Label, k.Length())); err != nil {
			return nil, err
		}
	}
	return all, nil
}
