package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/token"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapsim": main})
}

func TestScripts(t *testing.T) { testscript.Run(t, testscript.Params{Dir: "testdata"}) }

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"nonsense"}, cli.Misused, "unknown command"},
		{[]string{"demo"}, cli.Misused, "--bin and --dir are needed"},
		{[]string{"demo", "x"}, cli.Misused, "none are taken"},
		{[]string{"tap"}, cli.Misused, "--dir is needed"},
		{[]string{"tap", "--dir", "nowhere", "--count", "0"}, cli.Misused, "--count"},
		{[]string{"tap", "--dir", "nowhere"}, cli.Failed, "nowhere"},
		{[]string{"card"}, cli.Misused, "one of --dir and --demo-keys"},
		{[]string{"card", "--dir", "a", "--demo-keys", "b"}, cli.Misused, "one of --dir and --demo-keys"},
		{[]string{"attack", "--rows", "6/1,99"}, cli.Misused, "there is no row"},
		{[]string{"attack", "x"}, cli.Misused, "none are taken"},
		{[]string{"day", "--wallets", "0"}, cli.Misused, "at least one wallet"},
		{[]string{"day", "--wallets", "3", "--clones", "3", "--forgetful", "1"}, cli.Misused, "among the wallets"},
		{[]string{"day", "--vehicles", "0.8", "--merchants", "0.3"}, cli.Misused, "between 0 and 1"},
		{[]string{"help"}, cli.OK, ""},
	} {
		var out, problems bytes.Buffer
		code := run(context.Background(), c.args, &out, &problems)
		if code != c.code || !strings.Contains(problems.String(), c.says) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, code, problems.String(), c.code, c.says)
		}
	}
}

func TestTheTestCardIsACard(t *testing.T) {
	if _, err := token.ParsePAN(testCard); err != nil {
		t.Error(err)
	}
}

func TestMasked(t *testing.T) {
	if got := masked(testCard); got != "6212********1234" {
		t.Errorf("got %s", got)
	}
}

// TestStoryFits sees that no line is wider than the story may be.
func TestStoryFits(t *testing.T) {
	var b bytes.Buffer
	s := teller{w: &b}
	long := strings.Repeat("eight ch ", 40)
	s.step("A step")
	s.say("%s", long)
	s.fact("name", "%s", long)
	s.held("%s", long)
	s.raw(strings.Repeat("x", 300))
	for line := range strings.SplitSeq(b.String(), "\n") {
		if n := len([]rune(line)); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("colour without a terminal")
	}
}

func TestAwayFromCutOver(t *testing.T) {
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		t.Fatal(err)
	}
	for clock, shifted := range map[string]bool{"02:49": false, "02:51": true, "02:59": true, "03:00": false, "12:00": false} {
		at, err := time.ParseInLocation("2006-01-02 15:04", "2026-05-20 "+clock, zone)
		if err != nil {
			t.Fatal(err)
		}
		got, err := awayFromCutOver(at)
		if err != nil || (got != 0) != shifted {
			t.Errorf("%s: shifted by %v, %v", clock, got, err)
		}
	}
}
