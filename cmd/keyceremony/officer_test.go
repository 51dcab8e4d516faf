package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// ownToken makes a token for a person, with a tool that is none of ours, and
// lets them enrol with a key on it.
func (r *room) ownToken(name, label, pin string, more ...string) {
	r.t.Helper()
	c := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin)
	c.Env = append(os.Environ(), "SOFTHSM2_CONF="+r.conf)
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(r.dir, "keys", name+".key")
	r.must(os.RemoveAll(file))
	out, err := r.enrol(name, label, pin, more...)
	if err != nil {
		r.t.Fatalf("enrolling %s: %v\n%s", name, err, out)
	}
	public := regexp.MustCompile(`p256:[0-9A-F]{130}`).FindString(out)
	card, err := os.ReadFile(file)
	if err != nil || public == "" || !strings.Contains(string(card), public) || strings.Contains(out, pin) {
		r.t.Fatalf("%v\n%s\n%s", err, out, card)
	}
	r.people = regexp.MustCompile(`(name: `+name+`, .*key: )"[^"]*"`).ReplaceAllString(r.people, `${1}"`+public+`"`)
	list, err := os.ReadFile(filepath.Join(r.dir, "officers"))
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.dir, "officers"), append(list, public+" "+name+"\n"...), 0o600))
}

// enrol runs the command at a terminal and returns what it showed.
func (r *room) enrol(name, label, pin string, more ...string) (string, error) {
	c := r.command(append([]string{"enrol", name, "--keys", filepath.Join(r.dir, "keys"), "--token", label, "--softhsm-conf", r.conf}, more...)...)
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
	r.must(err)
	defer tty.Close()
	var shown bytes.Buffer
	buf, typed := make([]byte, 4096), false
	for {
		n, err := tty.Read(buf)
		if err != nil {
			break
		}
		shown.Write(buf[:n])
		if !typed && strings.HasSuffix(shown.String(), "PIN of your token "+label+": ") {
			typed = true
			_, err = tty.WriteString(pin + "\r")
			r.must(err)
		}
	}
	return unbroken(shown.Bytes()), c.Wait()
}

// TestOfficersOnTokens: an officer and a custodian approve, unlock and sign with
// keys on PKCS #11 tokens of their own, beside people whose keys are in files; the
// transcript is verified with public keys alone, when those tokens are gone.
func TestOfficersOnTokens(t *testing.T) {
	r := blank(t)
	r.pins = map[string]string{"card-of-alice": "246810", "card-of-carol": "135791"}
	r.ownToken("alice", "card-of-alice", r.pins["card-of-alice"])
	r.ownToken("carol", "card-of-carol", r.pins["card-of-carol"])
	file, plan := r.write("letters", "letters", "site-a", "none", "custodians: [carol, dan]\nkeys: [{label: transit.mpk.v1}]")
	r.must(r.hold(file, plan))

	// enrolled again: the key that is there, and never over the old file
	if out, err := r.enrol("alice", "card-of-alice", r.pins["card-of-alice"]); err == nil || !strings.Contains(out, "exists") {
		t.Errorf("a key file that exists: %v\n%s", err, out)
	}
	if out, err := r.enrol("bert", "no-such-token", "1234"); err == nil || !strings.Contains(out, "no-such-token") {
		t.Errorf("a token that is not there: %v\n%s", err, out)
	}

	file, plan = r.write("wrong-pin", "generate", "site-a", "none", "keys: [{label: pan-index.v1}]")
	right := r.pins["card-of-alice"]
	r.pins["card-of-alice"] = "999999"
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "wrong PIN") || strings.Contains(err.Error(), "PIN file") {
		t.Errorf("a wrong PIN: %v", err)
	}
	// another token under the same label, with a key of its own
	r.pins["card-of-alice"] = right
	r.delete("card-of-alice")
	card, err := os.ReadFile(filepath.Join(r.dir, "keys", "alice.key"))
	r.must(err)
	people := r.people
	r.ownToken("alice", "card-of-alice", right)
	r.people = people
	r.must(os.WriteFile(filepath.Join(r.dir, "keys", "alice.key"), card, 0o600))
	if err := r.hold(file, plan, "--resume"); err == nil || !strings.Contains(err.Error(), "another key than alice enrolled with") {
		t.Errorf("another token: %v", err)
	}
	r.delete("card-of-alice")
	r.delete("card-of-carol")
	if err := r.hold(file, plan, "--resume"); err == nil || !strings.Contains(err.Error(), "card-of-alice") {
		t.Errorf("a token that is gone: %v", err)
	}
	if s := r.story("letters"); !strings.Contains(fmt.Sprint(s.Records[0].Data), "p256:") {
		t.Error("the transcript names no key of a token")
	}
	for label, pin := range r.pins {
		if strings.Contains(r.screen.String(), pin) {
			t.Errorf("the PIN of %s is shown", label)
		}
	}
}

func (r *room) delete(label string) {
	r.t.Helper()
	c := exec.Command("softhsm2-util", "--delete-token", "--token", label)
	c.Env = append(os.Environ(), "SOFTHSM2_CONF="+r.conf)
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// TestEnrolRefusesFirst: a name that no script takes, and one that has a key, are refused
// before anybody types a passphrase or a key is made on a token.
func TestEnrolRefusesFirst(t *testing.T) {
	r := newRoom(t)
	for name, said := range map[string]string{"Al ice": "is no name of", "..": "is no name of", "": "is no name of", "alice": "exists already"} {
		out, err := r.enrol(name, "no-such-token", "1234")
		if err == nil || !strings.Contains(out, said) || strings.Contains(out, "PIN of your token") {
			t.Errorf("%q: %v\n%s", name, err, out)
		}
	}
}

// TestWrongPINTyped: who typed a wrong part of the user PIN is told so, and not of a file
// that nobody has.
func TestWrongPINTyped(t *testing.T) {
	r := blank(t)
	file, plan := r.write("wrong", "generate", "site-a", "none", "keys: [{label: pan-index.v1}]")
	right := r.typed["user PIN/dan"]
	r.typed["user PIN/dan"] = "9999"
	err := r.hold(file, plan)
	if err == nil || strings.Contains(err.Error(), "PIN file") || !strings.Contains(err.Error(), "whoever typed a part of it") {
		t.Errorf("a wrong part: %v", err)
	}
	r.typed["user PIN/dan"] = right
	r.must(r.hold(file, plan, "--resume"))
}
