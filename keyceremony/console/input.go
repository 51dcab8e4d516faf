package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/secret"
)

// Keys of a terminal.
const (
	ctrlC, ctrlD, ctrlU = 3, 4, 21
	backspace, del      = 8, 127
	escape              = 27
)

// lookTime is how often somebody who types nothing is looked after: the ceremony may have
// been told to stop.
const lookTime = 200 * time.Millisecond

// raw runs f while the terminal hands over every key, unseen. What was typed before
// f asks for anything is dropped: it may be a secret, and f may show what it reads.
func (c *Console) raw(f func() error) error {
	old, err := term.MakeRaw(int(c.In.Fd()))
	if err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	c.keys.Reset(c.In)
	err = drop(int(c.In.Fd()))
	if err == nil {
		err = f()
	}
	if err != nil {
		fmt.Fprint(c.Out, "\r\n")
	}
	return errors.Join(err, term.Restore(int(c.In.Fd()), old))
}

// key reads one byte of what is typed. Arrows and the like are several bytes that begin
// with an escape, some of which look like digits: they are left out.
func (c *Console) key(ctx context.Context) (byte, error) {
	b, err := c.read(ctx)
	for err == nil && b == escape {
		if b, err = c.read(ctx); err == nil && (b == '[' || b == 'O') {
			b, err = c.afterEscape(ctx)
		}
	}
	return b, err
}

// afterEscape reads to the end of a key that is several bytes, and the byte after it.
func (c *Console) afterEscape(ctx context.Context) (byte, error) {
	b, err := c.read(ctx)
	if err == nil && b == '[' { // the Linux console's F1 to F5
		b, err = c.read(ctx)
	}
	for err == nil && b >= ' ' && b < '@' {
		b, err = c.read(ctx)
	}
	if err != nil || b < ' ' {
		return b, err
	}
	return c.read(ctx)
}

// read reads one byte, or returns soon after ctx has ended.
func (c *Console) read(ctx context.Context) (byte, error) {
	for there := c.keys.Buffered() > 0; !there; {
		if ctx.Err() != nil {
			return 0, engine.ErrAborted
		}
		var err error
		if there, err = typed(int(c.In.Fd()), lookTime); err != nil {
			return 0, fmt.Errorf("waiting for the terminal: %w", err)
		}
	}
	b, err := c.keys.ReadByte()
	switch {
	case errors.Is(err, io.EOF) || err == nil && (b == ctrlC || b == ctrlD):
		return 0, engine.ErrAborted
	case err != nil:
		return 0, fmt.Errorf("reading the terminal: %w", err)
	}
	return b, nil
}

// line reads what everybody may see.
func (c *Console) line(ctx context.Context, prompt string) (string, error) {
	var typed []byte
	err := c.raw(func() error {
		fmt.Fprint(c.Out, prompt)
		for {
			b, err := c.key(ctx)
			if err != nil {
				return err
			}
			switch {
			case b == '\r' || b == '\n':
				fmt.Fprint(c.Out, "\r\n")
				return nil
			case b == backspace || b == del:
				if len(typed) > 0 {
					typed = typed[:len(typed)-1]
					fmt.Fprint(c.Out, "\b \b")
				}
			case b >= ' ' && b < del && len(typed) < maxTyped:
				typed = append(typed, b)
				fmt.Fprintf(c.Out, "%c", b)
			}
		}
	})
	return strings.TrimSpace(string(typed)), err
}

// masked reads a secret into locked memory: hex digits only, in groups of four,
// or anything that can be typed. What is no digit is not taken.
func (c *Console) masked(ctx context.Context, prompt string, digits bool) (*secret.Buffer, error) {
	room, err := secret.New(maxTyped)
	if err != nil {
		return nil, err
	}
	defer room.Wipe()
	n := 0
	err = c.raw(func() error {
		fmt.Fprint(c.Out, prompt)
		for {
			b, err := c.key(ctx)
			if err != nil {
				return err
			}
			switch {
			case b == '\r' || b == '\n':
				fmt.Fprint(c.Out, "\r\n")
				return nil
			case b == backspace || b == del:
				n = shorter(room.Bytes(), n)
			case b == ctrlU:
				n = 0
			case n < maxTyped:
				n = put(room.Bytes(), n, b, digits)
			}
			c.stars(prompt, utf8.RuneCount(room.Bytes()[:n]), digits)
		}
	})
	if err != nil {
		return nil, err
	}
	out, err := secret.New(n)
	if err == nil {
		copy(out.Bytes(), room.Bytes()[:n])
	}
	return out, err
}

// put takes one key, as far as it is one of the secret.
func put(room []byte, n int, b byte, digits bool) int {
	if digits {
		if b >= 'a' && b <= 'f' {
			b -= 'a' - 'A'
		}
		if (b < '0' || b > '9') && (b < 'A' || b > 'F') {
			return n
		}
	} else if b < ' ' {
		return n
	}
	room[n] = b
	return n + 1
}

// shorter takes the last letter away, which may be several bytes.
func shorter(room []byte, n int) int {
	for n > 0 {
		n--
		begins := utf8.RuneStart(room[n])
		room[n] = 0
		if begins {
			break
		}
	}
	return n
}

// stars shows how much was typed and nothing of it.
func (c *Console) stars(prompt string, n int, digits bool) {
	var b strings.Builder
	for i := range n {
		if digits && i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('*')
	}
	shown := b.String()
	if room := width - len(prompt); len(shown) > room {
		shown = fmt.Sprintf("(%d typed) %s", n, shown[len(shown)-room+14:])
	}
	fmt.Fprintf(c.Out, "\r%s%s\x1b[K", prompt, shown)
}
