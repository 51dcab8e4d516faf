package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// at is a record of a time.
func at(t time.Time, msg string, args ...any) slog.Record {
	r := slog.NewRecord(t, slog.LevelWarn, msg, 0)
	r.Add(args...)
	return r
}

// lines reads what was logged.
func lines(t *testing.T, b *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for d := json.NewDecoder(b); d.More(); {
		var l map[string]any
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func jsonLogger(t *testing.T) (*bytes.Buffer, *slog.Logger) {
	t.Helper()
	var b bytes.Buffer
	log, err := NewLogger(&b, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	return &b, log
}

// A stranger who is refused a thousand times, each time at another route and for another
// reason, has as many lines written as the ration allows, and the next line counts the others.
func TestRefusalsAreRationed(t *testing.T) {
	b, log := jsonLogger(t)
	began := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC)
	handle := func(r slog.Record) {
		t.Helper()
		if err := log.Handler().Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		handle(at(began.Add(time.Duration(i)*time.Millisecond), "refused", "request", i, "route", fmt.Sprint("/", i), "error", fmt.Sprint(i)))
	}
	handle(at(began.Add(time.Second), "another")) // which nobody may hide
	got := lines(t, b)
	if len(got) != mostLines+1 || got[mostLines]["msg"] != "another" {
		t.Fatalf("%d lines were written, want %d and another", len(got), mostLines)
	}
	if last := got[mostLines-1]; last["more_from"] != "2026-01-02T08:01:00Z" || last["left_out"] != nil {
		t.Fatalf("the last line says %v", last)
	}
	handle(at(began.Add(window), "refused"))
	handle(at(began.Add(window), "refused"))
	got = lines(t, b)
	if len(got) != 2 || got[0]["left_out"] != float64(1000-mostLines) || got[1]["left_out"] != nil {
		t.Fatalf("the next window begins with %v", got)
	}
	handle(at(began.Add(-time.Hour), "refused")) // a clock was set back: no hour of silence
	if got = lines(t, b); len(got) != 1 {
		t.Fatal("a clock that was set back silences a kind")
	}
}

// What tells kinds apart has a ration each, also where a logger carries it.
func TestKindsHaveTheirOwnRations(t *testing.T) {
	b, log := jsonLogger(t)
	for range 2 * mostLines {
		log.Error("failed", "problem", "a")
		log.Error("failed", "problem", "b")
		log.Info("failed", "problem", "a")
		log.With("endpoint", "x").WithGroup("g").Warn("not taken")
		log.With("endpoint", "y").Warn("not taken")
	}
	if n := len(lines(t, b)); n != 5*mostLines {
		t.Fatalf("%d lines of five kinds were written, want %d", n, 5*mostLines)
	}
}

// However many kinds there are, memory and lines are bounded, and old ones make room.
func TestKindsAreBounded(t *testing.T) {
	var k kinds
	k.m = map[string]share{}
	began := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC)
	written := 0
	for i := range 10 * mostKinds {
		if _, ok := k.take(fmt.Sprint(i), began); ok {
			written++
		}
	}
	if len(k.m) > mostKinds+1 || written != mostKinds+mostLines {
		t.Fatalf("%d kinds are remembered, %d lines were written", len(k.m), written)
	}
	if _, ok := k.take("new", began.Add(window)); !ok || len(k.m) > 2 {
		t.Fatalf("a minute later %d kinds are remembered", len(k.m))
	}
	long := strings.Repeat("x", 1<<20)
	if n := len(tells(slog.String("client", long))); n > 2*mostValue {
		t.Fatalf("a kind is named by %d bytes", n)
	}
}
