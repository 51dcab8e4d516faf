package cli

import (
	"regexp"
	"strings"
)

// Columns is how wide a terminal is taken to be.
const Columns = 80

// Fill breaks text between words into lines of at most [Columns]. A paragraph is
// filled whole; a line that begins with a space stands by itself, as in a list
// or an example, and what it goes on with is put under its last column.
func Fill(text string) string {
	var out []string
	var paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			out = append(out, fold("", "", strings.Join(paragraph, " "))...)
			paragraph = nil
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			end()
			out = append(out, "")
		case line[0] == ' ':
			end()
			head, rest := column(line)
			out = append(out, fold(head, strings.Repeat(" ", len(head)), rest)...)
		default:
			paragraph = append(paragraph, line)
		}
	}
	end()
	return strings.Join(out, "\n")
}

// Fit breaks the lines of text that are wider than [Columns]; those that fit stay as
// they are. What goes on is put under the line's second column, or under what follows
// the number of a step. Long keys and digests, which people compare, are never cut
// short: they go on after a blank.
func Fit(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if len([]rune(line)) <= Columns {
			out = append(out, line)
			continue
		}
		head, rest := column(line)
		if number := numbered.FindString(line); number != "" {
			head, rest = number, line[len(number):]
		}
		out = append(out, fold(head, strings.Repeat(" ", len(head)), pieces(rest, Columns-len(head)))...)
	}
	return strings.Join(out, "\n")
}

var (
	numbered = regexp.MustCompile(`^ *[0-9]+\. `)
	coded    = regexp.MustCompile(`[0-9A-Za-z+/=]{40,}`)
)

// pieces puts a blank into keys, digests and blocks that have no room, after every
// 64 or 32 characters.
func pieces(text string, room int) string {
	words := strings.Fields(text)
	for i, w := range words {
		if len(w) <= room {
			continue
		}
		words[i] = coded.ReplaceAllStringFunc(w, func(code string) string {
			size := 64
			if room < 64 {
				size = 32
			}
			var b strings.Builder
			for n := 0; n < len(code); n += size {
				b.WriteString(" " + code[n:min(n+size, len(code))])
			}
			return b.String()
		})
	}
	return strings.Join(words, " ")
}

// column cuts an entry of a list into its name, with the space around it, and
// what is said of it. Without a second column the name is the space alone.
func column(line string) (head, rest string) {
	indent := len(line) - len(strings.TrimLeft(line, " "))
	if gap := strings.Index(line[indent:], "  "); gap > 0 && indent+gap < Columns/3 {
		rest = strings.TrimLeft(line[indent+gap:], " ")
		return line[:len(line)-len(rest)], rest
	}
	return line[:indent], line[indent:]
}

// Hang fills one paragraph after a head; further lines are indented by as much
// as next is long.
func Hang(head, next, text string) string { return strings.Join(fold(head, next, text), "\n") }

// fold breaks text; its first line comes after head, the others after next.
func fold(head, next, text string) (lines []string) {
	line, empty := head, true
	for _, word := range strings.Fields(text) {
		switch {
		case empty:
			line, empty = line+word, false
		case len([]rune(line))+1+len([]rune(word)) > Columns:
			lines = append(lines, line)
			line = next + word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
