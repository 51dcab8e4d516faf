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
	text, err := scripts.Files.ReadFile(name)
	if err != nil {
		return err
	}
	plan, err := script.Read(text)
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

// TestKilledAnywhere kills a ceremony of births at random moments until it is
// over, and begins again.
func TestKilledAnywhere(t *testing.T) {
	const name, wanted = "generate.yaml", 60
	end, _, took := undisturbed(t, name)
	random := rand.New(rand.NewPCG(1, 2))
	for kills := 0; kills < wanted; {
		dir := filepath.Join(t.TempDir(), strconv.Itoa(kills))
		for n := 0; ; n++ {
			c := command(dir, name, "")
			var out strings.Builder
			c.Stdout, c.Stderr = &out, &out
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if n < 6 {
				timer := time.AfterFunc(time.Duration(random.Int64N(int64(took))), func() { c.Process.Kill() })
				defer timer.Stop()
			}
			err := c.Wait()
			if err == nil {
				break
			}
			if c.ProcessState.ExitCode() > 0 {
				if strings.Contains(out.String(), "is closed") {
					break // killed after the last record
				}
				t.Fatalf("after %d kills: %v\n%s", kills, err, out.String())
			}
			kills++
		}
		if got := state(t, dir); got != end {
			t.Errorf("after %d kills:\n%s\nundisturbed:\n%s", kills, got, end)
		}
	}
}
