package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress shows how far a long job has come: a bar that is drawn over itself
// on a terminal, and a line now and then everywhere else.
type progress struct {
	w     io.Writer
	name  string
	total int64
	bar   bool
	begun time.Time
	shown time.Time
	done  int64
}

// Between two looks at a bar, and between two lines.
const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

// newProgress begins to show a job of total steps on stderr.
func (a *app) newProgress(name string, total int64) *progress {
	now := time.Now()
	p := &progress{w: a.stderr, name: name, total: total, begun: now, shown: now}
	if f, ok := a.stderr.(*os.File); ok {
		info, err := f.Stat()
		p.bar = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if p.bar {
		p.show()
	}
	return p
}

// at notes that done steps are done.
func (p *progress) at(done int64) {
	p.done = done
	p.total = max(p.total, done) // while the service writes, there can be more than was counted
	every := lineEvery
	if p.bar {
		every = barEvery
	}
	if time.Since(p.shown) >= every {
		p.show()
	}
}

// end shows the last state.
func (p *progress) end() {
	p.show()
	if p.bar {
		fmt.Fprintln(p.w)
	}
}

func (p *progress) show() {
	p.shown = time.Now()
	if p.bar {
		fmt.Fprintf(p.w, "\r%s\x1b[K", p.line(30))
		return
	}
	fmt.Fprintf(p.w, "tapvault: %s\n", p.line(0))
}

// line is the state in words, after a bar of the given width if that is not 0.
func (p *progress) line(width int) string {
	share := 1.0
	if p.total > 0 {
		share = float64(p.done) / float64(p.total)
	}
	text := fmt.Sprintf("%s: %d of %d (%.0f %%)", p.name, p.done, p.total, 100*share)
	if took := time.Since(p.begun); p.done > 0 && p.done < p.total && took > time.Second {
		left := time.Duration(float64(took) * (1 - share) / share)
		text += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	if width == 0 {
		return text
	}
	full := int(share * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + text
}
