//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// desk is a room in which three people have cards. Whoever is asked for a PIN puts
// their card in, and the one before took theirs out.
type desk struct {
	*room
	readers  map[string]*shim.Shim
	master   published
	version  int
	asked    map[string]int                             // for a PIN, in the ceremony that is held
	harm     func(who string, s script.Step)            // when the PIN of a card is asked for
	atPrompt func(step script.Step, prompt string) bool // false kills the program
}

const cardPrefix = "card-of-"

var cardPIN = regexp.MustCompile(`^PIN of your token ` + cardPrefix + `(\w+): $`)

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{room: blank(t), readers: map[string]*shim.Shim{}, master: components(t)}
	d.pins = map[string]string{}
	for i, name := range []string{"alice", "bob", "carol"} {
		d.readers[name] = d.reader(name, strings.Repeat(fmt.Sprint(i+1), 6))
	}
	d.before = func(s script.Step, prompt string) bool {
		if m := cardPIN.FindStringSubmatch(prompt); m != nil {
			d.asked[m[1]]++
			d.swap(m[1])
			if d.harm != nil {
				d.harm(m[1], s)
			}
		}
		return d.atPrompt == nil || d.atPrompt(s, prompt)
	}
	return d
}

// reader makes a person a card, and lets them enrol with it. Its module is a copy of
// SoftHSM's, so that the HSM does not feel what is done to it.
func (d *desk) reader(name, pin string) *shim.Shim {
	d.t.Helper()
	path, err := softhsmconfig.Module()
	d.must(err)
	lib, err := os.ReadFile(path)
	d.must(err)
	own, dir := filepath.Join(d.dir, "module-of-"+name+".so"), filepath.Join(d.dir, "reader-of-"+name)
	d.must(os.WriteFile(own, lib, 0o600))
	d.must(os.Mkdir(dir, 0o700))
	s, err := shim.Build(dir, own)
	d.must(err)
	d.pins[cardPrefix+name] = pin
	d.ownToken(name, cardPrefix+name, pin, "--module", s.Module)
	return s
}

// swap puts one person's card in, and nobody else's.
func (d *desk) swap(who string) {
	for name, s := range d.readers {
		if s.Heal(); name != who {
			s.Remove()
		}
	}
}

// next is the next ceremony: three custodians bring a master.
func (d *desk) next() held {
	d.version++
	key := fmt.Sprintf("transit.mpk.v%d", d.version)
	for i, who := range []string{"carol", "dan", "erin"} {
		d.typed[key+"/"+who], d.checks[key+"/"+who] = d.master.Parts[i].Value, d.master.Parts[i].Check
	}
	h := held{d, fmt.Sprintf("ceremony-%d", d.version), key, "", script.Plan{}}
	h.file, h.plan = d.write(h.name, "import-components", "site-a", "none", "custodians: [carol, dan, erin]\nkeys: [{label: "+key+"}]")
	return h
}

// held is a ceremony that is held.
type held struct {
	*desk
	name, key, file string
	plan            script.Plan
}

// run holds it, harmed, or what is left of it.
func (h held) run(harm func(who string, s script.Step), more ...string) error {
	h.asked, h.harm = map[string]int{}, harm
	return h.hold(h.file, h.plan, more...)
}

// ends sees that it ends, whatever is done to it.
func (h held) ends(harm func(who string, s script.Step), more ...string) {
	h.t.Helper()
	h.must(h.run(harm, more...))
	h.judge()
}

// killed is what is told of a program that was killed.
const killed = "signal: killed"

// stops sees that it stops, and says what is to be done.
func (h held) stops(harm func(who string, s script.Step), says string) {
	h.t.Helper()
	err := h.run(harm)
	wants := []string{says, "--resume --out " + h.out(h.name)}
	if says == killed {
		wants = wants[:1] // nobody is left to say more
	}
	for _, want := range wants {
		if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), want) {
			h.t.Errorf("%s does not say %q: %v", h.name, want, err)
		}
	}
}

// judge sees that the transcript is honest: each person approved and signed once, and
// one key was born, of the value that was typed.
func (h held) judge() {
	h.t.Helper()
	s := h.story(h.name)
	times, births := map[string]int{}, 0
	for _, r := range s.Records {
		if r.Type == transcript.Approved || r.Type == transcript.Signed {
			times[string(r.Type)+" "+r.Who]++
		}
		if r.Data["attributes"] != "" {
			births++
		}
	}
	for what, n := range times {
		if n != 1 {
			h.t.Errorf("%s: %s %d times", h.name, what, n)
		}
	}
	if got := check(s, h.key); births != 1 || got != h.master.Check || times["signed bob"] != 1 {
		h.t.Errorf("%s: %d births, of a key with the check value %q; %v", h.name, births, got, times)
	}
}

// at does something to a person's card when its PIN is asked for in a step, so often.
func (d *desk) at(who string, op script.Op, times int, harm func(*shim.Shim)) func(string, script.Step) {
	return func(asked string, s script.Step) {
		if asked == who && s.Op == op && times > 0 {
			times--
			harm(d.readers[who])
		}
	}
}

// TestCardsPulled: people's cards are pulled out, come late or stay away, and the
// program is killed there. Nothing is lost but what has to be done again, the transcript
// tells it as it was, and the screen says what to do.
func TestCardsPulled(t *testing.T) {
	d := newDesk(t)
	const bobs = `put the token "card-of-bob" of bob in`
	pull := (*shim.Shim).Remove

	// its person has been recognised: until they sign, a card may be away
	h, signed, calls := d.next(), 0, 0
	h.atPrompt = func(step script.Step, prompt string) bool {
		if step.Who == "carol" && strings.HasPrefix(prompt, "Type it:") {
			d.readers["carol"].Remove()
		}
		return true
	}
	h.ends(d.at("bob", script.OpSign, 1, func(s *shim.Shim) { signed, calls = s.Calls(shim.Sign), s.AllCalls() }))
	signed = d.readers["bob"].Calls(shim.Sign) - signed // tries of the key, and the signature
	calls = d.readers["bob"].AllCalls() - calls
	d.atPrompt = nil

	// one that comes late is waited for, and what others typed is not forgotten
	h = d.next()
	h.ends(d.at("carol", script.OpEnter, 2, pull))
	if h.asked["carol"] != 4 { // twice too early, to enter, to sign
		t.Errorf("a card that is late: its PIN was asked for %d times", h.asked["carol"])
	}

	// between two officers who sign: the first one's signature stands
	h = d.next()
	h.stops(d.at("bob", script.OpSign, 3, pull), bobs)
	if h.ends(nil, "--resume"); h.asked["alice"] != 0 || h.asked["bob"] != 1 || h.asked["carol"] != 1 {
		t.Errorf("resumed between two officers: PINs were asked for %v", h.asked)
	}

	// in the middle of a signature, which the card made and nobody has
	h = d.next()
	h.stops(d.at("bob", script.OpSign, 1, func(s *shim.Shim) {
		s.Fail(shim.Sign, shim.Fault{Code: 0x32, Done: true, Skip: signed - 1})
	}), bobs)
	h.ends(nil, "--resume")

	// killed between two officers, and while one component is in memory
	for _, c := range []struct {
		who    string
		op     script.Op
		prompt string
	}{{"bob", script.OpSign, "PIN of your token"}, {"dan", script.OpEnter, "Type it:"}} {
		h = d.next()
		h.atPrompt = func(step script.Step, prompt string) bool {
			return step.Who != c.who || step.Op != c.op || !strings.HasPrefix(prompt, c.prompt)
		}
		h.stops(nil, killed)
		d.atPrompt = nil
		h.ends(nil, "--resume")
	}

	// at calls of the module, of which the last are those of logging out
	for i, at := range []int{calls / 8, calls / 3, calls / 2, 3 * calls / 4} {
		op := []script.Op{script.OpApprove, script.OpSign}[i%2]
		h = d.next()
		pullAt := func(s *shim.Shim) { s.RemoveAt(at) }
		if i == 0 { // it is put in again
			h.ends(d.at("bob", op, 1, pullAt))
			continue
		}
		h.stops(d.at("bob", op, 3, pullAt), bobs)
		h.ends(nil, "--resume")
	}
}
