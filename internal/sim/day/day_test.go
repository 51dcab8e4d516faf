package day_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/sim/day"
)

// small is a day that is quick to play and has one of everything.
func small(seed uint64) day.Config {
	c := day.Default()
	c.Seed, c.Wallets, c.Terminals, c.Rides, c.Clones, c.Forgetful = seed, 6, 5, 9, 1, 1
	return c
}

func TestDayHolds(t *testing.T) {
	c, minutes := small(7), -1
	c.Went = func(m int) {
		if m < minutes {
			t.Errorf("the day went back from minute %d to %d", minutes, m)
		}
		minutes = m
	}
	r, err := day.Play(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Held || r.Ledger.Unbalanced != 0 {
		t.Errorf("it did not hold: %s", told(r))
	}
	if r.Accepted == 0 || r.Outcomes["POSTED"] == 0 || r.Syncs["CLEAN"] == 0 || r.Loss == 0 || r.Clones[0].Detected == nil || r.Deny == 0 {
		t.Errorf("something did not happen at all: %s", told(r))
	}
	if got := r.Ledger; got.ToppedUp+got.Fraud+got.Due != got.Available+got.Reserve+got.Operator {
		t.Errorf("money: %+v", got)
	}
	report(t, r)
}

func told(r day.Report) string {
	b, _ := json.Marshal(r)
	return string(b)
}

// report checks what is shown of a day.
func report(t *testing.T, r day.Report) {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "The day held") {
		t.Errorf("%s", b.String())
	}
	var back day.Report
	if text, err := json.Marshal(r); err != nil || json.Unmarshal(text, &back) != nil || back.Loss != r.Loss {
		t.Errorf("as JSON: %v", err)
	}
	files, err := r.WritePlots(t.TempDir())
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || !bytes.HasPrefix(text, []byte("<svg")) || !bytes.Contains(text, []byte("<polyline")) {
			t.Errorf("%s is no picture: %v", f, err)
		}
	}
}

// TestSeed says that a day can be played again.
func TestSeed(t *testing.T) {
	c := small(3)
	c.Outage = 0
	first, err := day.Play(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := day.Play(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if first.Tried != again.Tried || first.Loss != again.Loss || first.Ledger != again.Ledger {
		t.Errorf("one seed, two days:\n%s\n%s", told(first), told(again))
	}
}

func TestValidate(t *testing.T) {
	for name, edit := range map[string]func(*day.Config){
		"no rides":       func(c *day.Config) { c.Rides = 0 },
		"more thieves":   func(c *day.Config) { c.Clones = c.Wallets + 1 },
		"negative share": func(c *day.Config) { c.Vehicles = -0.1 },
		"long outage":    func(c *day.Config) { c.Outage = 5 * time.Hour },
		"wild clocks":    func(c *day.Config) { c.Skew = time.Hour },
		"dear fare":      func(c *day.Config) { c.Fare = 1001 },
	} {
		c := day.Default()
		edit(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := day.Default().Validate(); err != nil {
		t.Error(err)
	}
}
