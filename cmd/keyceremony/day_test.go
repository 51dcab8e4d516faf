package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// TestMain lets this binary be the command.
func TestMain(m *testing.M) {
	if args := os.Getenv("KEYCEREMONY_ARGS"); args != "" {
		os.Exit(attended(strings.Split(args, "\n")))
	}
	os.Exit(m.Run())
}

var roles = []script.Person{{Name: "alice", Role: script.Officer}, {Name: "bob", Role: script.Officer}, {Name: "carol", Role: script.Custodian},
	{Name: "dan", Role: script.Custodian}, {Name: "erin", Role: script.Custodian},
	{Name: "frank", Role: script.Custodian}, {Name: "grace", Role: script.Custodian}, {Name: "walter", Role: script.Witness}, {Name: "ada", Role: script.Auditor}}

// room is where a day of ceremonies is held.
type room struct {
	t       *testing.T
	dir     string
	people  string            // of every script
	typed   map[string]string // what a person types for a key, by "key/person"
	checks  map[string]string // check value in their letter
	spoil   func(step script.Step, n int) string
	before  func(step script.Step, prompt string) (goOn bool) // an answer is typed; false kills the program
	after   func(tty *os.File)                                // a program has ended at it
	conf    string                                            // of SoftHSM
	pins    map[string]string                                 // of people's own tokens
	program atomic.Pointer[os.Process]                        // that holds the ceremony
	screen  bytes.Buffer                                      // everything that the terminal showed
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{t: t, dir: t.TempDir(), people: "quorum: 2\npeople:\n", typed: map[string]string{}, checks: map[string]string{}}
	var err error
	officers := "# security officers\n"
	if r.conf, err = softhsmconfig.Write(filepath.Join(r.dir, "softhsm")); err != nil {
		t.Fatal(err)
	}
	r.must(os.Mkdir(filepath.Join(r.dir, "keys"), 0o700))
	for _, p := range roles {
		k, err := officer.New(rand.Reader)
		r.must(err)
		text, err := k.SealAt(rand.Reader, p.Name, passphrase(p.Name), 1, 8<<10)
		r.must(err)
		r.must(os.WriteFile(filepath.Join(r.dir, "keys", p.Name+".key"), text, 0o600))
		r.people += fmt.Sprintf("  - {name: %s, role: %s, key: %q}\n", p.Name, p.Role, k.Public())
		if p.Role == script.Officer {
			officers += fmt.Sprintf("%s  %s\n", k.Public(), p.Name)
		}
	}
	r.must(os.WriteFile(filepath.Join(r.dir, "officers"), []byte(officers), 0o600))
	for who, pin := range map[string]string{"so PIN/alice": "1234", "so PIN/carol": "5678", "user PIN/dan": "4321", "user PIN/erin": "8765"} {
		r.typed[who] = pin
	}
	return r
}

func passphrase(name string) []byte { return []byte("passphrase of " + name) }

func (r *room) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// write writes a script and returns its plan.
func (r *room) write(name, kind, token, audit, body string) (string, script.Plan) {
	r.t.Helper()
	return r.save(name, r.text(name, kind, token, audit, body))
}

// text is a script with everybody in it.
func (r *room) text(name, kind, token, audit, body string) string {
	text := fmt.Sprintf("ceremony: %s\nkind: %s\nreason: a day of ceremonies\ntoken: %s\naudit_key: %s\n%s%s\n", name, kind, token, audit, r.people, body)
	if !strings.Contains(body, "pins:") {
		text += "pins: {user: [dan, erin]}\n"
	}
	return text
}

func (r *room) save(name, text string) (string, script.Plan) {
	r.t.Helper()
	file := filepath.Join(r.dir, name+".yaml")
	r.must(os.WriteFile(file, []byte(text), 0o600))
	plan, err := script.Read([]byte(text))
	r.must(err)
	return file, plan
}

func (r *room) out(name string) string { return filepath.Join(r.dir, "out", name) }

// given is where letters are written, one folder for each person.
func (r *room) given(name string) string { return filepath.Join(r.dir, "letters", name) }

// command is the binary with arguments.
func (r *room) command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "KEYCEREMONY_ARGS="+strings.Join(args, "\n"))
	return c
}

// running is a ceremony that is to be held.
func (r *room) running(file string, plan script.Plan, more ...string) *exec.Cmd {
	r.t.Helper()
	args := append([]string{"run", file, "--out", r.out(plan.Script.Ceremony), "--letters", r.given(plan.Script.Ceremony), "--keys", filepath.Join(r.dir, "keys"),
		"--softhsm-conf", r.conf, "--transcripts", filepath.Join(r.dir, "out"), "--officers", filepath.Join(r.dir, "officers")}, more...)
	r.must(os.MkdirAll(filepath.Join(r.dir, "out"), 0o700))
	return r.command(args...)
}

// hold holds a ceremony at a terminal of 80 by 24, typing what people would.
func (r *room) hold(file string, plan script.Plan, more ...string) error {
	r.t.Helper()
	c := r.running(file, plan, more...)
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
	r.must(err)
	defer tty.Close()
	r.program.Store(c.Process)
	shown := r.play(tty, plan, c.Process)
	err = c.Wait()
	if r.after != nil {
		r.after(tty)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, unbroken(tail(shown)))
	}
	return nil
}

// unbroken puts the lines of what a terminal was told together again.
func unbroken(told []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(told), "\r", ""), "\n"+strings.Repeat(" ", len("keyceremony: ")), " ")
}

func tail(b []byte) []byte { return b[max(0, len(b)-1500):] }

var (
	arrow  = regexp.MustCompile(`-> +(\d+) `)
	prompt = regexp.MustCompile(`(press Enter[^\r\n]*: |PIN of your token ([a-z-]+): |(\w+) \([a-z-]+\), passphrase of your key: |Short hash of the plan[^\r\n]*: |Type it: {7}|Type it again: |Check value in the letter: )(\r[^\n]*)?$`)
)

// play answers prompts until the terminal closes, and returns what it showed.
func (r *room) play(tty *os.File, plan script.Plan, program *os.Process) []byte {
	var shown []byte
	at, entries, answered := 0, map[int]int{}, false
	buf := make([]byte, 4096)
	for {
		n, err := tty.Read(buf)
		if err != nil {
			r.screen.Write(shown)
			return shown
		}
		shown = append(shown, buf[:n]...)
		if answered { // until Enter is shown, the prompt may be drawn again for each key
			i := bytes.Index(shown[at:], []byte("\r\n"))
			if i < 0 {
				continue
			}
			at, answered = at+i+2, false
		}
		m := prompt.FindSubmatch(shown[at:])
		if m == nil {
			continue
		}
		at, answered = len(shown), true
		step := script.Step{}
		if all := arrow.FindAllSubmatch(shown, -1); len(all) > 0 {
			i, _ := strconv.Atoi(string(all[len(all)-1][1]))
			step = plan.Steps[i-1]
		}
		if r.before != nil && !r.before(step, string(m[1])) {
			r.must(program.Kill())
		}
		answer := ""
		switch p := string(m[1]); {
		case strings.HasPrefix(p, "press Enter"):
		case strings.Contains(p, "passphrase"):
			answer = string(passphrase(string(m[3])))
		case strings.HasPrefix(p, "PIN of"):
			answer = r.pins[string(m[2])]
		case strings.HasPrefix(p, "Short hash"):
			answer = plan.Short()
		case strings.HasPrefix(p, "Type it"):
			answer = r.typed[step.Key+"/"+step.Who]
			if strings.Contains(p, "Type it:") {
				entries[step.Number]++
			}
			if r.spoil != nil {
				if s := r.spoil(step, entries[step.Number]); s != "" {
					answer = s
				}
			}
		default:
			answer = r.checks[step.Key+"/"+step.Who]
		}
		if _, err := tty.WriteString(answer + "\r"); err != nil {
			r.t.Error(err)
		}
	}
}

// component lets a person hold a component, with its check value in the letter.
func (r *room) component(a keyblock.Algorithm, key, who, digits string) {
	r.t.Helper()
	var raw []byte
	_, err := fmt.Sscanf(digits, "%X", &raw)
	r.must(err)
	c, err := keyblock.Check(a, raw)
	r.must(err)
	r.typed[key+"/"+who], r.checks[key+"/"+who] = digits, c.String()
}

// letters reads what a ceremony handed out.
func (r *room) letters(ceremony, key string) {
	r.t.Helper()
	for _, p := range roles {
		files, err := filepath.Glob(filepath.Join(r.given(ceremony), p.Name, "*"))
		r.must(err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			r.must(err)
			lines := strings.Split(string(text), "\n")
			if !strings.Contains(lines[2], key) {
				continue
			}
			r.typed[key+"/"+p.Name] = lines[7]
			r.checks[key+"/"+p.Name] = strings.TrimPrefix(lines[5], "check value  ")
		}
	}
}

// story is a transcript, judged by the command itself as well.
func (r *room) story(name string) transcript.Story {
	r.t.Helper()
	file := filepath.Join(r.out(name), "transcript.jsonl")
	if out, err := r.command("verify", file, "--script", filepath.Join(r.dir, name+".yaml")).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("whole and signed")) {
		r.t.Fatalf("verify: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	r.must(err)
	s, err := transcript.Verify(text, transcript.Expect{})
	r.must(err)
	return s
}

// check is the check value of a key as the record of its birth has it.
func check(s transcript.Story, label string) string {
	for _, x := range s.Records {
		if x.Data[transcript.DataKey] == label && x.Data["attributes"] != "" {
			return x.Data[transcript.DataCheck]
		}
	}
	return ""
}

// published is a vector of test/vectors: three components and their key.
type published struct {
	Parts  []struct{ Value, Check string }
	Key    string
	Check  string
	Source string
}

func components(t *testing.T) published {
	t.Helper()
	text, err := os.ReadFile("testdata/components.json")
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

const masters = "custodians: [carol, dan, erin]\nkeys: [{label: transit.mpk.v1, check: DDA8BA}]"

// TestDay holds a day of ceremonies at a terminal, from a blank token to one
// that was restored at the other site.
func TestDay(t *testing.T) {
	r := newRoom(t)
	held := func(name, kind, token, audit, body string, more ...string) transcript.Story {
		t.Helper()
		began := time.Now()
		file, plan := r.write(name, kind, token, audit, body)
		if err := r.hold(file, plan, more...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
		return r.story(name)
	}
	pins := "pins: {so: [alice, carol], user: [dan, erin]}"
	held("init-a", "init-token", "site-a", "none", pins)
	held("first-keys", "generate", "site-a", "audit-sign.v1", "keys: [{label: audit-sign.v1}, {label: pan-index.v1}, {label: jwt-sign.v1}]")
	p := components(t)
	for i, who := range []string{"carol", "dan", "erin"} {
		r.typed["transit.mpk.v1/"+who], r.checks["transit.mpk.v1/"+who] = p.Parts[i].Value, p.Parts[i].Check
	}
	if s := held("mpk", "import-components", "site-a", "audit-sign.v1", masters); check(s, "transit.mpk.v1") != p.Check {
		t.Errorf("the key's check value is %s", check(s, "transit.mpk.v1"))
	}

	kbpk := "kbpk: {algorithm: aes, bits: 256, custodians: [carol, dan]}\n"
	r.component(keyblock.AES, "kbpk", "carol", strings.Repeat("00112233445566778899AABBCCDDEEFF", 2))
	r.component(keyblock.AES, "kbpk", "dan", strings.Repeat("0A1B2C3D4B5A69788796A5B4C3D2E1F0", 2))
	out := held("to-partner", "export-tr31", "site-a", "audit-sign.v1", kbpk+"keys: [{label: transit.imk-ac.v1, source: birth, state: ACTIVE}]")
	block, err := os.ReadFile(filepath.Join(r.out("to-partner"), "blocks", "transit.imk-ac.v1.tr31"))
	r.must(err)
	held("init-b", "init-token", "site-b", "none", pins)
	in := held("from-us", "import-tr31", "site-b", "none", kbpk+"keys: [{label: partner.imk-ac.v1, block: "+strings.TrimSpace(string(block))+", check: "+check(out, "transit.imk-ac.v1")+"}]")
	if check(in, "partner.imk-ac.v1") != check(out, "transit.imk-ac.v1") {
		t.Error("the partner has another key")
	}

	second := held("mpk2", "letters", "site-a", "audit-sign.v1", "custodians: [carol, dan, erin]\nkeys: [{label: transit.mpk.v2, state: PENDING}]")
	r.letters("mpk2", "transit.mpk.v2")
	atB := held("mpk2-at-b", "import-components", "site-b", "none", "custodians: [carol, dan, erin]\nkeys: [{label: transit.mpk.v2, state: PENDING, check: "+check(second, "transit.mpk.v2")+"}]")
	if check(atB, "transit.mpk.v2") != check(second, "transit.mpk.v2") {
		t.Error("the letters give another key than they came from")
	}
	held("rotate", "rotate", "site-a", "audit-sign.v1", "keys: [{label: transit.mpk.v2, replaces: transit.mpk.v1, held_by: [{device: site-b, check: "+check(second, "transit.mpk.v2")+"}]}]")
	held("retire", "retire", "site-a", "audit-sign.v1", "keys: [{label: transit.mpk.v1, evidence: the last card is gone}]")
	held("destroy", "destroy", "site-a", "audit-sign.v1", "keys: [{label: transit.mpk.v1, evidence: decision 1}]")

	held("backup", "backup", "site-a", "audit-sign.v1", "backup: {threshold: 2, custodians: [carol, dan, erin]}\nkeys: [{label: pan-seal.v2, state: PENDING}, {label: transit.mtk.v1, state: PENDING}]")
	held("lost", "destroy", "site-a", "audit-sign.v1", "keys: [{label: pan-seal.v2, evidence: a fire drill}]")
	r.letters("backup", "a backup")
	for _, who := range []string{"carol", "erin"} {
		r.typed["backup key/"+who], r.checks["backup key/"+who] = r.typed["a backup/"+who], r.checks["a backup/"+who]
	}
	back := held("restore", "restore", "site-b", "none", "backup: {threshold: 2, custodians: [carol, erin], file: "+filepath.Join(r.out("backup"), "backup")+"}\nkeys: [{label: pan-seal.v2}, {label: transit.mtk.v1}]")
	if !strings.Contains(back.Tell(), "trial") {
		t.Error("nothing proves the restored keys")
	}
	r.secretsStayed()
	r.attributes()
}

// secretsStayed looks for what was typed in everything that was shown or
// written: letters apart, which are made for it.
func (r *room) secretsStayed() {
	err := filepath.WalkDir(filepath.Join(r.dir, "out"), func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, "/letters/") {
			return err
		}
		text, err := os.ReadFile(name)
		r.screen.Write(text)
		return err
	})
	r.must(err)
	all := r.screen.String()
	for who, v := range r.typed {
		if len(v) > 8 && (strings.Contains(all, v) || strings.Contains(all, strings.ReplaceAll(v, " ", ""))) {
			r.t.Errorf("what %s was typed is shown or written somewhere", who)
		}
	}
	for _, p := range roles {
		if strings.Contains(all, string(passphrase(p.Name))) {
			r.t.Errorf("the passphrase of %s is shown or written somewhere", p.Name)
		}
	}
}

// attributes asks pkcs11-tool, which is none of ours.
func (r *room) attributes() {
	module, err := softhsmconfig.Module()
	r.must(err)
	for _, token := range []string{"site-a", "site-b"} {
		for _, kind := range []string{"secrkey", "privkey"} {
			c := exec.Command("pkcs11-tool", "--module", module, "--token-label", token, "--login", "--pin", "43218765", "--list-objects", "--type", kind)
			c.Env = append(os.Environ(), "SOFTHSM2_CONF="+filepath.Join(r.dir, "softhsm", "softhsm2.conf"))
			out, err := c.Output()
			if err != nil {
				r.t.Fatalf("pkcs11-tool: %v\n%s", err, out)
			}
			for object := range strings.SplitSeq(string(out), " Object") {
				if !strings.Contains(object, "Access:") {
					continue
				}
				access := object[strings.Index(object, "Access:"):]
				if !strings.Contains(access, "sensitive") || strings.Contains(strings.ReplaceAll(access, "never extractable", ""), "extractable") {
					r.t.Errorf("%s: %s", token, object)
				}
			}
		}
	}
}

// TestRefusals: each bad input is refused, and it is said what to do next.
func TestRefusals(t *testing.T) {
	r := newRoom(t)
	p := components(t)
	for i, who := range []string{"carol", "dan", "erin"} {
		r.typed["transit.mpk.v1/"+who], r.checks["transit.mpk.v1/"+who] = p.Parts[i].Value, p.Parts[i].Check
	}
	file, plan := r.write("init", "init-token", "site-a", "none", "pins: {so: [alice, carol], user: [dan, erin]}")
	r.must(r.hold(file, plan))

	spoil := func(who string, n int, text string) func(script.Step, int) string {
		return func(s script.Step, entry int) string {
			if s.Op == script.OpEnter && s.Who == who && (n == 0 || entry <= n) {
				return text
			}
			return ""
		}
	}
	swapped := p.Parts[1].Value[:4] + p.Parts[1].Value[5:6] + p.Parts[1].Value[4:5] + p.Parts[1].Value[6:]
	for name, c := range map[string]struct {
		spoil func(script.Step, int) string
		says  string
	}{
		"short":   {spoil("dan", 0, p.Parts[1].Value[:30]), "30 digits were typed, and 32 are wanted"},
		"swapped": {spoil("dan", 0, swapped), "two digits changed places"},
		"foreign": {spoil("dan", 0, p.Parts[0].Value), "another check value than the letter"},
	} {
		r.spoil = c.spoil
		file, plan := r.write("bad-"+name, "import-components", "site-a", "none", masters)
		if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "--resume") || !strings.Contains(r.last(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		r.spoil = nil
	}
	// The same custodian's component under another's name, with its own check value.
	r.typed["transit.mpk.v1/dan"], r.checks["transit.mpk.v1/dan"] = p.Parts[0].Value, p.Parts[0].Check
	file, plan = r.write("same", "import-components", "site-a", "none", masters)
	if err := r.hold(file, plan); err == nil || !strings.Contains(r.last(), "equals a component that was typed before") {
		t.Errorf("one component twice: %v", err)
	}
	r.typed["transit.mpk.v1/dan"], r.checks["transit.mpk.v1/dan"] = p.Parts[1].Value, p.Parts[1].Check
	// It goes on where it stood, and then the label exists.
	r.must(r.hold(file, plan, "--resume"))
	r.story("same")
	file, plan = r.write("exists", "import-components", "site-a", "none", masters)
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "take the next version") {
		t.Errorf("a label that exists: %v", err)
	}
	if err := r.hold(filepath.Join(r.dir, "same.yaml"), plan); err == nil || !strings.Contains(err.Error(), "never overwritten") {
		t.Errorf("a transcript that exists: %v", err)
	}
	// The key of somebody else under an officer's name.
	r.must(os.Rename(filepath.Join(r.dir, "keys", "bob.key"), filepath.Join(r.dir, "keys", "bob.kept")))
	k, err := officer.New(rand.Reader)
	r.must(err)
	text, err := k.SealAt(rand.Reader, "bob", passphrase("bob"), 1, 8<<10)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.dir, "keys", "bob.key"), text, 0o600))
	file, plan = r.write("not-bob", "generate", "site-a", "none", "keys: [{label: pan-index.v1}]")
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "not the key of bob") {
		t.Errorf("somebody else's key: %v", err)
	}
	// Another plan's transcript.
	r.must(os.Rename(filepath.Join(r.dir, "keys", "bob.kept"), filepath.Join(r.dir, "keys", "bob.key")))
	file, plan = r.write("other", "generate", "site-a", "none", "keys: [{label: pan-index.v1}]")
	r.must(os.Rename(r.out("not-bob"), r.out("other")))
	if err := r.hold(file, plan, "--resume"); err == nil || !strings.Contains(err.Error(), "of another script") {
		t.Errorf("a transcript of another plan: %v", err)
	}
	// An older copy of a transcript whose ceremony is over.
	old := r.cutBack("same")
	if err := r.hold(filepath.Join(r.dir, "same.yaml"), old, "--resume"); err == nil || !strings.Contains(err.Error(), "exists on token") {
		t.Errorf("a replayed transcript: %v", err)
	}
	// What would end the ceremony after everybody has approved it, and letters that would be copied with it.
	typed := strings.Replace(r.text("typed", "letters", "site-a", "none", "custodians: [carol, dan]\nkeys: [{label: transit.mpk.v9}]"), "pins: {user: [dan, erin]}\n", "", 1)
	lettered, _ := r.write("lettered", "letters", "site-a", "none", "custodians: [carol, dan]\nkeys: [{label: transit.mpk.v9}]")
	pinless, _ := r.save("typed", typed)
	for _, x := range []struct{ script, flags, says string }{
		{pinless, "", "nobody types the user PIN"},
		{pinless, "--pin-file " + filepath.Join(r.dir, "no-such-file"), "reading the PIN file"},
		{lettered, "", "outside of --out"},
		{lettered, "--letters " + filepath.Join(r.dir, "early", "letters"), "outside of --out"},
	} {
		c := r.command(append([]string{"run", x.script, "--out", filepath.Join(r.dir, "early")}, strings.Fields(x.flags)...)...)
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), x.says) {
			t.Errorf("%s: %v\n%s", x.flags, err, out)
		}
	}
	// No terminal.
	c := r.command("run", file, "--out", filepath.Join(r.dir, "piped"))
	c.Stdin = strings.NewReader("abort\n")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "needs a terminal") {
		t.Errorf("a pipe: %v\n%s", err, out)
	}
}

// last is what the terminals showed, without the ends of lines.
func (r *room) last() string { return strings.Join(strings.Fields(r.screen.String()), " ") }

// cutBack leaves the first records of a transcript only, as an old copy would.
func (r *room) cutBack(name string) script.Plan {
	r.t.Helper()
	file := filepath.Join(r.out(name), "transcript.jsonl")
	text, err := os.ReadFile(file)
	r.must(err)
	lines := bytes.SplitAfter(text, []byte("\n"))
	r.must(os.WriteFile(file, bytes.Join(lines[:8], nil), 0o600))
	s, err := transcript.Peek(text)
	r.must(err)
	return s.Plan
}

// TestOfficersOfOthers: neither a ceremony nor an earlier transcript counts that
// officers approved whom the list does not name.
func TestOfficersOfOthers(t *testing.T) {
	r := blank(t)
	file, plan := r.write("first", "generate", "site-a", "none", "keys: [{label: pan-index.v1}]")
	r.must(r.hold(file, plan))
	list := filepath.Join(r.dir, "officers")
	ours, err := os.ReadFile(list)
	r.must(err)
	other, err := officer.New(rand.Reader)
	r.must(err)
	r.must(os.WriteFile(list, []byte(other.Public().String()+" mallory\n"), 0o600))
	file, plan = r.write("second", "generate", "site-a", "none", "keys: [{label: pan-index.v2}]")
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "alice would approve") {
		t.Errorf("a script with officers of its own: %v", err)
	}
	// the script's own officers are on the list; those of the first transcript are not
	theirs := ""
	for _, name := range []string{"alice", "bob"} {
		k, err := officer.New(rand.Reader)
		r.must(err)
		text, err := k.SealAt(rand.Reader, name, passphrase(name), 1, 8<<10)
		r.must(err)
		r.must(os.WriteFile(filepath.Join(r.dir, "keys", name+".key"), text, 0o600))
		r.people = regexp.MustCompile(`(name: `+name+`, .*key: )"[^"]*"`).ReplaceAllString(r.people, `${1}"`+k.Public().String()+`"`)
		theirs += k.Public().String() + "\n"
	}
	r.must(os.WriteFile(list, []byte(theirs), 0o600))
	file, plan = r.write("third", "destroy", "site-a", "none", "keys: [{label: pan-index.v1, evidence: none}]")
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "no officer of ours") {
		t.Errorf("transcripts of other officers: %v", err)
	}
	r.must(os.WriteFile(list, append(ours, theirs...), 0o600)) // who was an officer then, and who is now
	file, plan = r.write("fourth", "generate", "site-a", "none", "keys: [{label: pan-index.v2}]")
	r.must(r.hold(file, plan))
	r.must(os.Remove(list))
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "list of officers") {
		t.Errorf("without a list: %v", err)
	}
}

// TestAbort stops a ceremony at its terminal, and resumes it.
func TestAbort(t *testing.T) {
	r := newRoom(t)
	file, plan := r.write("init", "init-token", "site-a", "none", "pins: {so: [alice, carol], user: [dan, erin]}")
	r.spoil = func(s script.Step, _ int) string {
		if s.Op == script.OpPIN && s.Who == "erin" {
			return "\x03"
		}
		return ""
	}
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "aborted") {
		t.Fatalf("Ctrl-C: %v", err)
	}
	r.spoil = nil
	r.must(r.hold(file, plan, "--resume"))
	if s := r.story("init"); !strings.Contains(s.Tell(), "aborted") || !strings.Contains(s.Tell(), "goes on") {
		t.Errorf("the transcript does not tell of it:\n%s", s.Tell())
	}
}

// TestRefusalIsForOnePerson: what somebody typed wrong is told to them, and not to whoever
// comes next; a custodian hears that letters of an earlier attempt are void.
func TestRefusalIsForOnePerson(t *testing.T) {
	r := blank(t)
	r.component(keyblock.TDES, "transit.mpk.v1", "carol", "0123456789ABCDEFFEDCBA9876543210")
	r.component(keyblock.TDES, "transit.mpk.v1", "dan", "3B7C2E5F6D8190A4C1D2E3F405162738")
	r.spoil = func(s script.Step, entry int) string {
		if s.Op == script.OpEnter && s.Who == "carol" && entry == 1 {
			return "0123"
		}
		return ""
	}
	file, plan := r.write("one", "import-components", "site-a", "none", "custodians: [carol, dan]\nkeys: [{label: transit.mpk.v1}]")
	r.must(r.hold(file, plan))
	told := map[string]bool{}
	for frame := range strings.SplitSeq(r.screen.String(), "\x1b[H") {
		if m := regexp.MustCompile(`->[^\r\n]* (carol|dan) types component`).FindStringSubmatch(frame); m != nil {
			told[m[1]] = told[m[1]] || strings.Contains(frame, "! 4 digits were typed")
		}
	}
	if said, seen := told["dan"]; !told["carol"] || said || !seen {
		t.Errorf("who is told: %v", told)
	}

	r.before = func(s script.Step, _ string) bool { return s.Op != script.OpGenerate && s.Op != script.OpImport }
	file, plan = r.write("void", "letters", "site-a", "none", "custodians: [carol, dan]\nkeys: [{label: transit.mpk.v2}]")
	if err := r.hold(file, plan); err == nil || strings.Contains(r.last(), "Tear it up") {
		t.Errorf("a first attempt: %v", err)
	}
	r.before = nil
	r.must(r.hold(file, plan, "--resume"))
	if n := strings.Count(r.screen.String(), "This is attempt 2"); n != 2 {
		t.Errorf("%d custodians hear that their letters are void", n)
	}
}
