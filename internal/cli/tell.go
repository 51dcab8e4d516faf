package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// tell writes text, each line after the program's name. On a terminal lines are broken
// between words, and what goes on is put under the text; in a file or pipe they stay
// whole, for programs that read them. A line that begins with a blank is a command to be
// copied: it stands by itself, and is never broken.
func tell(w io.Writer, name, text string) {
	f, shown := w.(*os.File)
	shown = shown && term.IsTerminal(int(f.Fd()))
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, " "):
			fmt.Fprintln(w, line)
		case shown:
			fmt.Fprintln(w, Hang(name, strings.Repeat(" ", len(name)), line))
		default:
			fmt.Fprintln(w, name+line)
		}
	}
}
