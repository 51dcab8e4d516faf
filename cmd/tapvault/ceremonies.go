package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/scripts"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// scriptFolder is where the ceremonies of a rehearsal are, and then their
// transcripts.
const scriptFolder = "rehearsal"

// holdCeremonies makes both tokens and their keys by holding the ceremonies of
// the rehearsal, with one program for all officers. It returns how many keys
// the service's token has got.
func (a *app) holdCeremonies(ctx context.Context, cfg assembly.Config, dir string) (births int, err error) {
	conf, err := softhsmconfig.Write(filepath.Join(dir, "softhsm"))
	if err != nil {
		return 0, err
	}
	if err := softhsmconfig.Use(conf); err != nil {
		return 0, err
	}
	players, err := newPlayers(dir)
	if err != nil {
		return 0, err
	}
	plans, err := rehearsalPlans()
	if err != nil {
		return 0, err
	}
	if missing := lacking(cfg, plans); len(missing) > 0 {
		return 0, fmt.Errorf("making rehearsal keys: no ceremony gives birth to %s", strings.Join(missing, ", "))
	}
	fmt.Fprintln(a.stderr, "tapvault: making rehearsal keys in key ceremonies")
	for _, plan := range plans {
		fmt.Fprintln(a.stderr, cli.Hang("tapvault: ", "          ", "ceremony "+plan.Script.Ceremony+": "+plan.Script.Reason))
		if err := hold(ctx, cfg, dir, plan, players[plan.Script.Token]); err != nil {
			return 0, fmt.Errorf("holding the ceremony %s: %w", plan.Script.Ceremony, err)
		}
		if plan.Script.Token == serviceToken {
			births += len(plan.Script.Keys)
		}
	}
	return births, nil
}

// newPlayers are the people of each token's ceremonies: the same ones, with
// PINs of their own, which go to secrets/.
func newPlayers(dir string) (map[string]*rehearsal.Player, error) {
	var seed [32]byte
	if _, err := io.ReadFull(rand.Reader, seed[:]); err != nil {
		return nil, err
	}
	letters, players := map[string][]byte{}, map[string]*rehearsal.Player{}
	for token, secret := range map[string]string{serviceToken: "hsm", psamToken: "psam"} {
		p := &rehearsal.Player{Seed: seed, Letters: letters, PIN: newPIN(), SO: newPIN(), Out: io.Discard}
		players[token] = p
		for end, pin := range map[string]string{"-so.pin": p.SO, "-user.pin": p.PIN} {
			if err := durable.Write(filepath.Join(dir, "secrets", secret+end), []byte(pin+"\n")); err != nil {
				return nil, fmt.Errorf("writing PINs: %w", err)
			}
		}
	}
	return players, nil
}

// rehearsalPlans reads the scripts in their order.
func rehearsalPlans() (plans []script.Plan, err error) {
	entries, err := scripts.Rehearsal.ReadDir(scriptFolder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := scripts.Rehearsal.ReadFile(scriptFolder + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		plan, err := script.Read(text)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Name(), err)
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// lacking are keys that the service needs and no ceremony makes.
func lacking(cfg assembly.Config, plans []script.Plan) (labels []string) {
	for _, r := range cfg.Keys() {
		made := slices.ContainsFunc(plans, func(p script.Plan) bool {
			return p.Script.Token == serviceToken && slices.ContainsFunc(p.Script.Keys, func(k script.Key) bool { return k.Label == r.Label() })
		})
		if !made {
			labels = append(labels, r.Label())
		}
	}
	return labels
}

func hold(ctx context.Context, cfg assembly.Config, dir string, plan script.Plan, p *rehearsal.Player) error {
	people, err := p.People(plan.Script)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	out := filepath.Join(dir, "ceremonies", plan.Script.Ceremony)
	_, err = engine.Run(ctx, engine.Config{Plan: plan, Dir: out, Desk: p, People: people,
		Module: engine.HSM{Config: hsm.Config{Module: cfg.HSM.Module, PIN: hsm.StaticPIN(p.PIN)}},
		Host:   map[string]string{"host": name, "program": "tapvault init"}, Now: time.Now})
	return errors.Join(err, durable.Write(filepath.Join(out, "script.yaml"), plan.Text))
}
