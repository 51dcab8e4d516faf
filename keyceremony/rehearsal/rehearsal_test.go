package rehearsal_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/scripts"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// TestMain lets this binary be the ceremony that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REHEARSAL_DIR"); dir != "" {
		if err := play(dir, os.Getenv("REHEARSAL_SCRIPT"), os.Getenv("REHEARSAL_KILL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play rehearses a script in dir, from where it stood, and kills itself at the
// named boundary.
func play(dir, name, kill string) error {
	plan, err := read(name)
	if err != nil {
		return err
	}
	p := &rehearsal.Player{Seed: [32]byte{1}, Dir: dir, Out: io.Discard}
	_, err = os.Stat(filepath.Join(dir, engine.TranscriptFile))
	c, err := rehearsal.Config(context.Background(), dir, plan, p, err == nil)
	if err != nil {
		return err
	}
	c.At = func(step int, what string) {
		fmt.Println(step, what)
		if kill == fmt.Sprintf("%d %s", step, what) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = engine.Run(context.Background(), c)
	return err
}

// read reads a script of the repository, or one of a test by its path.
func read(name string) (script.Plan, error) {
	from := scripts.Files.ReadFile
	if filepath.IsAbs(name) {
		from = os.ReadFile
	}
	text, err := from(name)
	if err != nil {
		return script.Plan{}, err
	}
	return script.Read(text)
}

func command(dir, name, kill string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "REHEARSAL_DIR="+dir, "REHEARSAL_SCRIPT="+name, "REHEARSAL_KILL="+kill)
	return c
}

// state is what a ceremony left: the keys with their check values where those
// are the same in every rehearsal, and the steps done.
func state(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, engine.TranscriptFile))
	if err != nil {
		t.Fatal(err)
	}
	story, err := transcript.Verify(text, transcript.Expect{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	done := map[string]bool{}
	for _, r := range story.Records {
		if r.Type == transcript.Done || r.Type == transcript.Signed || r.Type == transcript.Approved {
			done[fmt.Sprintf("%03d %s", r.Step, r.Data["attributes"])] = true
		}
	}
	lines := append(inspect(t, dir, story.Plan.Script.Token), fmt.Sprint(len(done)))
	return strings.Join(lines, "\n")
}

// inspect looks at a token with a process of its own, as SoftHSM reads its
// configuration once.
func inspect(t *testing.T, dir, token string) []string {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestInspect$", "-test.v")
	c.Env = append(os.Environ(), "INSPECT_DIR="+dir, "INSPECT_TOKEN="+token, "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm", "softhsm2.conf"))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var lines []string
	for l := range strings.Lines(string(out)) {
		if s, ok := strings.CutPrefix(l, "KEY "); ok {
			lines = append(lines, strings.TrimSpace(s))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestInspect prints what a token holds; without one to inspect it has nothing
// to look at.
func TestInspect(t *testing.T) {
	dir := os.Getenv("INSPECT_DIR")
	if dir == "" {
		return
	}
	p := &rehearsal.Player{Seed: [32]byte{1}}
	st, err := rehearsal.Build(t.Context(), dir, script.Script{Kind: script.InitToken}, p)
	if err != nil {
		t.Fatal(err)
	}
	c := st.Module.Config
	c.Token = os.Getenv("INSPECT_TOKEN")
	tok, err := hsm.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	all, err := tok.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if _, _, err := tok.ReadBack(t.Context(), k.Ref); err != nil {
			t.Error(err)
		}
		fmt.Printf("KEY %s local=%v\n", k.Ref, k.Local)
	}
	strays, err := tok.Strays(t.Context())
	more, err2 := tok.Unlabelled(t.Context(), false)
	if err != nil || err2 != nil || len(strays)+len(more) > 0 {
		t.Errorf("%q %q: %v %v", strays, more, err, err2)
	}
}

func names(t *testing.T) (all []string) {
	t.Helper()
	entries, err := scripts.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// undisturbed plays a script once in its own process and returns its state and
// the boundaries that it passed.
func undisturbed(t *testing.T, name string) (end string, boundaries []string, took time.Duration) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	began := time.Now()
	out, err := command(dir, name, "").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	took = time.Since(began)
	s := bufio.NewScanner(strings.NewReader(string(out)))
	for s.Scan() {
		boundaries = append(boundaries, s.Text())
	}
	return state(t, dir), boundaries, took
}

func TestEveryKindRehearsed(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			end, boundaries, took := undisturbed(t, name)
			t.Logf("%d boundaries in %v\n%s", len(boundaries), took, end)
		})
	}
}

// everywhere are the kinds that are killed at each boundary of each step: those
// in which secrets lie in memory. The others are killed where a step has been
// done and is not recorded yet.
var everywhere = []string{"generate.yaml", "letters.yaml", "backup.yaml"}

// TestKilledAtEveryBoundary kills one ceremony of each kind at one boundary
// after the other, and resumes it in between: what is there in the end is what
// an undisturbed one leaves.
func TestKilledAtEveryBoundary(t *testing.T) {
	kills := 0
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			end, boundaries, _ := undisturbed(t, name)
			dir := filepath.Join(t.TempDir(), "c")
			for _, b := range boundaries {
				if strings.HasSuffix(b, "closed") || !slices.Contains(everywhere, name) && !strings.HasSuffix(b, "did") {
					continue
				}
				if out, err := command(dir, name, b).CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("at %q nobody was killed: %v\n%s", b, err, out)
				}
				kills++
			}
			if out, err := command(dir, name, "").CombinedOutput(); err != nil {
				t.Fatalf("resumed at last: %v\n%s", err, out)
			}
			if got := state(t, dir); got != end {
				t.Errorf("after it was killed:\n%s\nundisturbed:\n%s", got, end)
			}
		})
	}
	t.Logf("%d kills", kills)
}

// births are how long each generation of a script takes, from the boundary
// before it to the one after.
func births(t *testing.T, name string) map[string]time.Duration {
	t.Helper()
	all, began := map[string]time.Duration{}, time.Now()
	watch(t, command(filepath.Join(t.TempDir(), "c"), name, ""), func(step, what string) {
		switch what {
		case "began":
			began = time.Now()
		case "did":
			all[step] = time.Since(began)
		}
	})
	return all
}

// watch runs a ceremony and tells of its boundaries as they come. It reports
// whether the ceremony ended by itself, and the last boundary.
func watch(t *testing.T, c *exec.Cmd, at func(step, what string)) (ended bool, last string) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	c.Stderr = &problems
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		last = s.Text()
		if step, what, ok := strings.Cut(last, " "); ok {
			at(step, what)
		}
	}
	err = c.Wait()
	closed := strings.Contains(problems.String(), "is closed") // killed after the last record
	if err != nil && c.ProcessState.ExitCode() > 0 && !closed {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	return err == nil || closed, last
}

// manyKeys is a script that generates keys of every kind, 24 of them.
func manyKeys(t *testing.T) string {
	t.Helper()
	text := "ceremony: many\nkind: generate\nreason: to be killed\ntoken: tapvault\naudit_key: none\nquorum: 2\npeople:\n" +
		"  - {name: alice, role: security-officer}\n  - {name: bob, role: security-officer}\n  - {name: walter, role: witness}\nkeys:\n"
	for v := 1; v <= 6; v++ {
		for _, u := range []string{"pan-seal", "pan-index", "jwt-sign", "transit.mlk"} {
			text += fmt.Sprintf("  - {label: %s.v%d}\n", u, v)
		}
	}
	name := filepath.Join(t.TempDir(), "many.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestKilledInsideGeneration kills ceremonies at random moments inside the calls
// that generate keys, 200 times and more; the end is that of an undisturbed one.
// Several are held at a time, as a ceremony mostly waits for its disk.
func TestKilledInsideGeneration(t *testing.T) {
	const ceremonies, wanted = 4, 50 // kills in each
	name := manyKeys(t)
	plan, err := read(name)
	if err != nil {
		t.Fatal(err)
	}
	generates := map[string]bool{}
	for _, s := range plan.Steps {
		generates[strconv.Itoa(s.Number)] = s.Op == script.OpGenerate
	}
	end, _, _ := undisturbed(t, name)
	took := births(t, name)
	for n := range ceremonies {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, uint64(n)))
			inside, late, dirs := 0, 0, t.TempDir()
			for held := 0; inside < wanted && held < 20; held++ {
				dir := filepath.Join(dirs, strconv.Itoa(held))
				for ended := false; !ended; {
					c := command(dir, name, "")
					armed := inside >= wanted // enough: it may go on to its end
					var last string
					ended, last = watch(t, c, func(step, what string) {
						if what == "began" && generates[step] && !armed {
							armed = true
							time.AfterFunc(time.Duration(random.Int64N(int64(took[step]))), func() { _ = c.Process.Kill() })
						}
					})
					if step, what, _ := strings.Cut(last, " "); !ended && what == "began" && generates[step] {
						inside++
					} else if !ended {
						late++
					}
				}
				if got := state(t, dir); got != end {
					t.Errorf("after %d kills:\n%s\nundisturbed:\n%s", inside+late, got, end)
				}
			}
			t.Logf("%d kills inside a generation, %d just after one", inside, late)
			if inside < wanted {
				t.Errorf("%d kills were inside a generation, %d are wanted", inside, wanted)
			}
		})
	}
}
