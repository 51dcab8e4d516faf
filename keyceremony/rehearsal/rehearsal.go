package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/script"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// Stage is a scratch token, with what a script expects to find on it.
type Stage struct {
	Module engine.HSM
	States map[string]script.State
	Blocks map[string]string // that stand in for the script's
	Backup string            // and for its backup
}

// Build makes, in dir, the token of a script and the keys that must exist
// before it. Built again it finds them.
func Build(ctx context.Context, dir string, s script.Script, p *Player) (Stage, error) {
	conf, err := softhsmconfig.Write(filepath.Join(dir, "softhsm"))
	if err != nil {
		return Stage{}, err
	}
	if err := softhsmconfig.Use(conf); err != nil {
		return Stage{}, err
	}
	module, err := softhsmconfig.Module()
	if err != nil {
		return Stage{}, err
	}
	st := Stage{Module: engine.HSM{Config: hsm.Config{Module: module, PIN: hsm.StaticPIN(p.UserPIN())}}, States: map[string]script.State{}}
	if s.Kind == script.InitToken {
		return st, nil
	}
	if err := st.Module.Init(ctx, s.Token, []byte(p.SOPIN()), []byte(p.UserPIN())); err != nil {
		return st, err
	}
	if s.Kind == script.Restore {
		if st.Backup, err = prior(ctx, dir, s, p, st.Module); err != nil {
			return st, fmt.Errorf("making a backup to restore: %w", err)
		}
	}
	if s.Kind == script.ImportTR31 {
		if st.Blocks, err = blocks(s, p); err != nil {
			return st, fmt.Errorf("making key blocks to import: %w", err)
		}
	}
	return st, st.furnish(ctx, dir, s, p)
}

// furnished marks that everything that a script expects was made.
const furnished = "furnished"

func (st Stage) furnish(ctx context.Context, dir string, s script.Script, p *Player) (err error) {
	for _, k := range s.Keys {
		switch s.Kind {
		case script.RotateKeys:
			st.States[k.Label] = script.Pending
			if k.Replaces != "" {
				st.States[k.Replaces] = script.Active
			}
		case script.RetireKeys:
			st.States[k.Label] = script.Retiring
		case script.DestroyKeys:
			st.States[k.Label] = script.Retired
		}
	}
	mark := filepath.Join(dir, "softhsm", furnished)
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	t, err := st.Module.Login(ctx, s.Token, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if _, err := t.Unlabelled(ctx, true); err != nil {
		return err
	}
	if err := st.expected(ctx, t, s, p); err != nil {
		return fmt.Errorf("preparing the scratch token: %w", err)
	}
	return durable.Write(mark, nil)
}

// expected makes the keys that a script does not make itself.
func (st Stage) expected(ctx context.Context, t *hsm.Token, s script.Script, p *Player) error {
	made := map[string]bool{}
	for _, k := range s.Keys {
		made[k.Label] = true
	}
	if s.AuditKey != script.NoKey && (s.Kind != script.Generate || !made[s.AuditKey]) {
		r, _ := keyref.Parse(s.AuditKey)
		if err := generate(ctx, t, r); err != nil {
			return err
		}
	}
	for _, k := range s.Keys {
		if s.Kind == script.ExportTR31 && k.Source == "components" {
			if err := assemble(ctx, t, s, k, p); err != nil {
				return err
			}
		}
	}
	for label := range st.States {
		r, _ := keyref.Parse(label)
		if err := generate(ctx, t, r); err != nil {
			return err
		}
	}
	return nil
}

func generate(ctx context.Context, t *hsm.Token, r keyref.Ref) error {
	if err := t.Generate(ctx, r); err != nil && !errors.Is(err, hsm.ErrKeyExists) {
		return err
	}
	return nil
}

// assemble imports the key that the players' components give.
func assemble(ctx context.Context, t *hsm.Token, s script.Script, k script.Key, p *Player) error {
	value := make([]byte, k.Length())
	for _, who := range s.Custodians {
		part := p.drawn("component "+Held(k.Label, who), k.Length())
		for i := range value {
			value[i] ^= part[i]
		}
	}
	if err := t.Import(ctx, k.Ref(), value); err != nil && !errors.Is(err, hsm.ErrKeyExists) {
		return err
	}
	return nil
}

// Config is that of a rehearsal of a plan in dir.
func Config(ctx context.Context, dir string, plan script.Plan, p *Player, resume bool) (engine.Config, error) {
	st, err := Build(ctx, dir, plan.Script, p)
	if err != nil {
		return engine.Config{}, err
	}
	people, err := p.People(plan.Script)
	if err != nil {
		return engine.Config{}, err
	}
	return engine.Config{Plan: plan, Dir: dir, Desk: p, Module: st.Module, People: people, States: st.States, Played: true,
		Blocks: st.Blocks, Backup: st.Backup, Resume: resume, Now: time.Now}, nil
}
