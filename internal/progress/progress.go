// Package progress shows how far a long job has come.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Bar is a bar that is drawn over itself on a terminal, and a line now and then
// everywhere else.
type Bar struct {
	w     io.Writer
	who   string
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

// New begins to show a job of total steps on w; lines begin with who says them.
func New(w io.Writer, who, name string, total int64) *Bar {
	now := time.Now()
	p := &Bar{w: w, who: who, name: name, total: total, begun: now, shown: now}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.bar = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if p.bar {
		p.show()
	}
	return p
}

// At notes that done steps are done.
func (p *Bar) At(done int64) {
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

// End shows the last state.
func (p *Bar) End() {
	p.show()
	if p.bar {
		fmt.Fprintln(p.w)
	}
}

func (p *Bar) show() {
	p.shown = time.Now()
	if p.bar {
		fmt.Fprintf(p.w, "\r%s\x1b[K", p.line(30))
		return
	}
	fmt.Fprintf(p.w, "%s: %s\n", p.who, p.line(0))
}

// line is the state in words, after a bar of the given width if that is not 0.
func (p *Bar) line(width int) string {
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
