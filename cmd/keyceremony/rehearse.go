package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
)

func (a *app) rehearseCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "rehearse SCRIPT --out DIR",
		Short: "Play a ceremony on a scratch SoftHSM token",
		Long: "Plays a ceremony on a scratch token in DIR. The transcript is that of a live one but for its\n" +
			"mark. With --yes the program plays everybody; without, it waits for Enter before each step.",
		Args: cli.Exactly(1, "rehearse SCRIPT --out DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.rehearse(cmd.Context(), args[0], o) },
	}
	c.Flags().StringVar(&o.out, "out", "", "folder of the rehearsal")
	c.Flags().BoolVar(&o.yes, "yes", false, "play everybody, without a pause")
	c.Flags().BoolVar(&o.resume, "resume", false, "go on with a rehearsal that was interrupted")
	return c
}

func (a *app) rehearse(ctx context.Context, name string, o options) error {
	plan, err := readPlan(name)
	if err != nil {
		return err
	}
	if o.out == "" {
		return cli.Misusef("reading flags: --out names the folder of the rehearsal")
	}
	seed, err := rehearsal.Seed(o.out, rand.Reader)
	if err != nil {
		return err
	}
	p := &rehearsal.Player{Seed: seed, Dir: o.out, Out: fitted{a.stdout}}
	c, err := rehearsal.Config(ctx, o.out, plan, p, o.resume)
	if err != nil {
		return err
	}
	if !o.yes {
		c.Desk = &paused{Player: p, keys: a.stdin, out: a.stdout}
	}
	c.Host = host("a rehearsal")
	return a.hold(ctx, c)
}

// fitted breaks lines that are wider than a terminal. Each write is whole lines.
type fitted struct{ io.Writer }

func (w fitted) Write(lines []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, cli.Fit(string(lines))); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// paused waits for Enter before each step.
type paused struct {
	*rehearsal.Player
	keys io.Reader
	out  io.Writer
}

// Step implements [engine.Desk].
func (p *paused) Step(ctx context.Context, v engine.View) error {
	if err := p.Player.Step(ctx, v); err != nil {
		return err
	}
	fmt.Fprint(p.out, "        Enter to go on, or abort: ")
	answer := make(chan string, 1)
	go func() { answer <- readLine(p.keys) }()
	select {
	case line := <-answer:
		switch {
		case line == "": // there is nobody at the keys
			fmt.Fprintln(p.out)
			return engine.ErrAborted
		case strings.EqualFold(strings.TrimSpace(line), "abort"):
			return engine.ErrAborted
		}
		return ctx.Err()
	case <-ctx.Done(): // whoever read goes with the program
		fmt.Fprintln(p.out)
		return engine.ErrAborted
	}
}

// readLine reads to the end of a line and no further; without one it returns nothing.
func readLine(keys io.Reader) string {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := keys.Read(b); err != nil {
			return ""
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return string(line)
		}
	}
}
