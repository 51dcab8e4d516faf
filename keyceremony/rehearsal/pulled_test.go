//go:build linux && cgo

package rehearsal_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// pulled is a token that can be pulled out during ceremonies.
type pulled struct {
	*testing.T
	shim    *shim.Shim
	config  hsm.Config
	held    int
	stopped int // ceremonies that stopped because of it
}

func newPulled(t *testing.T) *pulled {
	t.Helper()
	module, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	s, err := shim.Build(t.TempDir(), module)
	if err != nil {
		t.Fatal(err)
	}
	return &pulled{T: t, shim: s, config: hsmtest.EmptyOn(t, s.Module)}
}

const pulledScript = `ceremony: pulled-%d
kind: %s
reason: the token is pulled out
token: %s
audit_key: none
quorum: 2
people:
  - {name: alice, role: security-officer}
  - {name: bob, role: security-officer}
  - {name: carol, role: custodian}
  - {name: dan, role: custodian}
  - {name: walter, role: witness}
`

// ceremony is the next one of two keys, or of four that are made inside.
func (p *pulled) ceremony(kind string) (script.Plan, engine.Config, []string) {
	p.Helper()
	p.held++
	v := p.held
	text := fmt.Sprintf(pulledScript, v, kind, p.config.Token)
	labels := []string{fmt.Sprintf("pan-seal.v%d", v), fmt.Sprintf("transit.mpk.v%d", v)}
	if kind == "letters" {
		text += "custodians: [carol, dan]\n"
	} else {
		labels = append(labels, fmt.Sprintf("jwt-sign.v%d", v), fmt.Sprintf("pan-index.v%d", v))
	}
	plan, err := script.Read([]byte(text + "keys: [{label: " + strings.Join(labels, "}, {label: ") + "}]\n"))
	if err != nil {
		p.Fatal(err)
	}
	player := &rehearsal.Player{Seed: [32]byte{byte(v), byte(v >> 8)}, Out: io.Discard, PIN: hsmtest.PIN}
	people, err := player.People(plan.Script)
	if err != nil {
		p.Fatal(err)
	}
	return plan, engine.Config{Plan: plan, Dir: filepath.Join(p.TempDir(), "c"), Desk: player, Module: engine.HSM{Config: p.config}, People: people, Now: time.Now}, labels
}

// run carries a ceremony out until something stops it, and mends the module.
func (p *pulled) run(c engine.Config) error {
	_, err := engine.Run(p.Context(), c)
	p.shim.Heal()
	return err
}

// hold holds a ceremony of two keys, harmed as harm does when a key's birth
// has begun, and resumes it until it ends.
func (p *pulled) hold(kind string, harm func()) {
	p.Helper()
	plan, c, labels := p.ceremony(kind)
	left := 3
	c.At = func(step int, what string) {
		if op := plan.Steps[min(step, len(plan.Steps))-1].Op; left > 0 && what == "began" && (op == script.OpGenerate || op == script.OpImport) {
			left--
			harm()
		}
	}
	for n := 0; ; n++ {
		err := p.run(c)
		if err == nil {
			break
		}
		p.stopped++
		if n > 8 {
			p.Fatalf("%s: not resumed: %v", kind, err)
		}
		p.halves(labels)
		c.Resume = true
	}
	p.whole(c.Dir, labels)
}

// open logs in as somebody else would.
func (p *pulled) open() *hsm.Token {
	p.Helper()
	tok, err := hsm.Open(p.Context(), p.config)
	if err != nil {
		p.Fatalf("the token that was put back: %v", err)
	}
	return tok
}

// halves sees that no key can be used that is not whole.
func (p *pulled) halves(labels []string) {
	p.Helper()
	tok := p.open()
	defer tok.Close()
	for _, k := range keysOf(labels) {
		if tok.Require(p.Context(), k.Ref()) != nil {
			continue
		}
		if _, _, err := tok.ReadBack(p.Context(), k.Ref()); err != nil {
			p.Errorf("a half-made key is taken for use: %v", err)
		}
	}
}

func keysOf(labels []string) (keys []script.Key) {
	for _, l := range labels {
		keys = append(keys, script.Key{Label: l})
	}
	return keys
}

// whole sees that a ceremony left its keys and nothing else, and says so.
func (p *pulled) whole(dir string, labels []string) {
	p.Helper()
	tok := p.open()
	defer tok.Close()
	for _, k := range keysOf(labels) {
		if _, _, err := tok.ReadBack(p.Context(), k.Ref()); err != nil {
			p.Error(err)
		}
	}
	strays, err := tok.Strays(p.Context())
	more, err2 := tok.Unlabelled(p.Context(), false)
	if err = errors.Join(err, err2); err != nil || len(strays)+len(more) > 0 {
		p.Errorf("left behind: %q %q, %v", strays, more, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, engine.TranscriptFile))
	if err != nil {
		p.Fatal(err)
	}
	if _, err := transcript.Verify(text, transcript.Expect{}); err != nil {
		p.Error(err)
	}
}

// mostCalls is how many calls of the module a token may stay for after a key's birth
// began; a birth makes about 70.
const mostCalls = 90

// TestPulledToken pulls the token out while keys are born, drops its sessions
// and lets calls fail after they took effect; then it is put back and the
// ceremony goes on: its keys are whole, and nothing else is there.
func TestPulledToken(t *testing.T) {
	p := newPulled(t)
	random := rand.New(rand.NewPCG(3, 4))
	// By calls and not by time: a timer that fires late pulls out the token of whoever looks at it afterwards.
	later := func(at func(calls int)) func() { return func() { at(random.IntN(mostCalls)) } }
	for _, kind := range []string{"generate", "letters"} {
		for range 3 {
			p.hold(kind, later(p.shim.RemoveAt))
			p.hold(kind, later(p.shim.DropSessionsAt))
		}
		p.hold(kind, p.shim.LoseLogin)
		const removed = 0x32
		for i, call := range []shim.Call{shim.GenerateKey, shim.DeriveKey, shim.CopyObject, shim.CreateObject, shim.GetAttribute} {
			p.hold(kind, func() { p.shim.Fail(call, shim.Fault{Code: removed, Done: true, Skip: i % 2}) })
		}
	}
	t.Logf("%d ceremonies, %d stops", p.held, p.stopped)
	if p.stopped < p.held/3 {
		t.Errorf("only %d stops: the token was pulled too late", p.stopped)
	}
}
