package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// help prints what a command is for and how it is called, within [Columns].
func help(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	about := c.Long
	if about == "" {
		about = c.Short
	}
	fmt.Fprintf(w, "%s\n\n", Fill(strings.TrimRight(about, "\n")))
	_ = usage(w, c)
}

func usage(w io.Writer, c *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND\n\nCommands:\n", c.CommandPath())
		list(&b, c)
	} else {
		fmt.Fprintf(&b, "  %s\n", c.UseLine())
	}
	// The last words of a flag may stand up to five columns further out.
	flags(&b, "Flags", c.LocalFlags().FlagUsagesWrapped(Columns-5))
	flags(&b, "Flags of every command", c.InheritedFlags().FlagUsagesWrapped(Columns-5))
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" says more about one.\n", c.CommandPath())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func flags(b *strings.Builder, heading, text string) {
	if text != "" {
		fmt.Fprintf(b, "\n%s:\n%s", heading, text)
	}
}

// list names the commands that c holds, and says what each is for.
func list(b *strings.Builder, c *cobra.Command) {
	widest := 0
	for _, sub := range c.Commands() {
		widest = max(widest, len(sub.Name()))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			head := fmt.Sprintf("  %-*s  ", widest, sub.Name())
			fmt.Fprintln(b, Hang(head, strings.Repeat(" ", len(head)), sub.Short))
		}
	}
}
