package main

import (
	"fmt"
	"io"
	"strings"
)

// width is how many columns a story may take.
const width = 80

// teller writes a story in numbered steps.
type teller struct {
	w    io.Writer
	bold bool // the reader is a terminal
	n    int
}

// step begins the next step.
func (t *teller) step(title string) {
	t.n++
	line := fmt.Sprintf("%d. %s", t.n, title)
	if t.bold {
		line = "\x1b[1m" + line + "\x1b[0m"
	}
	fmt.Fprintf(t.w, "\n%s\n", line)
}

// say writes plain words, wrapped.
func (t *teller) say(format string, args ...any) {
	for _, l := range wrap(fmt.Sprintf(format, args...), width-3) {
		fmt.Fprintf(t.w, "   %s\n", l)
	}
}

// fact writes one thing that was seen.
func (t *teller) fact(name, format string, args ...any) {
	const indent = 20
	for i, l := range wrap(fmt.Sprintf(format, args...), width-indent) {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(t.w, "     %-*s%s\n", indent-5, name, l)
	}
}

// held says that a claim was checked and held.
func (t *teller) held(format string, args ...any) {
	mark := "ok"
	if t.bold {
		mark = "\x1b[32mok\x1b[0m"
	}
	for i, l := range wrap(fmt.Sprintf(format, args...), width-6) {
		if i > 0 {
			mark = "  "
		}
		fmt.Fprintf(t.w, "   %s %s\n", mark, l)
	}
}

// raw writes lines as they are, cut to the width.
func (t *teller) raw(lines ...string) {
	for _, l := range lines {
		if len(l) > width-5 {
			l = l[:width-6] + "…"
		}
		fmt.Fprintf(t.w, "     %s\n", l)
	}
}

// wrap breaks text between words.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > columns {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
