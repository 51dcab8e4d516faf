package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"
)

// atTerminal returns the terminal at which somebody types what is read from standard
// input, or nil.
func (a *app) atTerminal() *os.File {
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// hidden asks for a line that nobody is to see, on the screen or by scrolling back.
func (a *app) hidden(ctx context.Context, tty *os.File, what string) ([]byte, error) {
	fd := int(tty.Fd())
	was, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.stderr, "%s (it is not shown): ", what)
	defer fmt.Fprintln(a.stderr)
	var line []byte
	read := make(chan error, 1)
	go func() { // whoever still reads when ctx ends goes with the program
		typed, err := term.ReadPassword(fd)
		line = typed
		read <- err
	}()
	select {
	case err := <-read:
		return line, err
	case <-ctx.Done():
		_ = term.Restore(fd, was)
		return nil, ctx.Err()
	}
}
