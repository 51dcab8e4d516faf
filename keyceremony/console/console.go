// Package console is the desk of a live ceremony: one terminal at which people take turns, and which shows nothing that one of them typed to the next.
//
// It works on 80 by 24 characters and clears the screen between people. Secrets
// go from the terminal to locked memory, byte by byte, and are shown as
// asterisks in groups of four.
package console

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
)

// Console implements [engine.Desk] on a terminal.
type Console struct {
	In      *os.File
	Out     io.Writer
	Keys    string // folder of the people's sealed keys: NAME.key
	Letters string // folder in which letters are written
	keys    *bufio.Reader
	undo    func() // what Open did to the terminal
}

const (
	width    = 78
	clearAll = "\x1b[2J\x1b[3J\x1b[H"
	maxTyped = 256
)

// ErrNoTerminal reports that secrets would be read from something else than a
// terminal.
var ErrNoTerminal = errors.New("a live ceremony needs a terminal: secrets come neither from files nor from pipes")

// errBlind reports that prompts would be shown where nobody sees them.
var errBlind = errors.New("a live ceremony is shown at a terminal: its output goes to a file or pipe, and nobody would see what is asked; `script` keeps a copy of a terminal")

// errSmall reports a terminal on which prompts would run over the edge.
var errSmall = errors.New("the terminal is too small")

// Least size of a terminal.
const minColumns, minRows = 80, 24

// errAgain reports an entry that the two times differ in, or that is no hex.
var errAgain = errors.New("typed wrong")

// Open checks the terminal. Until [Console.Close] it shows nothing that is typed while
// nobody is asked: somebody may type a passphrase before it is their turn.
func (c *Console) Open() (err error) {
	if !term.IsTerminal(int(c.In.Fd())) {
		return ErrNoTerminal
	}
	if out, ok := c.Out.(*os.File); ok && !term.IsTerminal(int(out.Fd())) {
		return errBlind
	}
	columns, rows, err := term.GetSize(int(c.In.Fd()))
	if err == nil && columns*rows > 0 && (columns < minColumns || rows < minRows) { // a serial line does not know its size
		return fmt.Errorf("%w: it has %d by %d characters, and a ceremony needs %d by %d: make its window larger or its font smaller",
			errSmall, columns, rows, minColumns, minRows)
	}
	c.keys = bufio.NewReaderSize(c.In, 16)
	if c.undo, err = quiet(int(c.In.Fd())); err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	return nil
}

// Close leaves the terminal as it was. What was typed and not asked for is dropped: it may
// be a secret, and the shell that comes next would show it, run it and remember it.
func (c *Console) Close() {
	if c.undo != nil {
		_ = drop(int(c.In.Fd()))
		c.undo()
	}
}

// screen clears and says where the ceremony stands.
func (c *Console) screen(v engine.View) {
	fmt.Fprint(c.Out, clearAll)
	s := v.Plan.Script
	n, all := v.Step.Number, len(v.Plan.Steps)
	full := n * 40 / max(all, 1)
	c.say("%s (%s) on token %s", s.Ceremony, s.Kind, s.Token)
	c.say("[%s%s] step %d of %d", strings.Repeat("#", full), strings.Repeat(".", 40-full), n, all)
	c.say("")
	for _, x := range window(v.Plan.Steps, n) {
		mark := "  "
		if x.Number < n {
			mark = "ok"
		}
		if x.Number == n {
			mark = "->"
		}
		c.say("%s %3d %s", mark, x.Number, cut(x.Says, width-8))
	}
	c.say("")
	c.wrap(v.Step.Says)
	if v.Note != "" {
		c.say("")
		c.wrap("! " + v.Note)
	}
	c.say("")
}

// window is the steps round one, few enough for the screen.
func window(all []script.Step, n int) []script.Step {
	from := max(0, min(n-3, len(all)-6))
	return all[from:min(len(all), from+6)]
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}

func (c *Console) say(format string, args ...any) {
	fmt.Fprintf(c.Out, format+"\r\n", args...)
}

// wrap prints words in lines that fit.
func (c *Console) wrap(text string) {
	line := ""
	for w := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(w) > width {
			c.say("%s", line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + w)
	}
	c.say("%s", line)
}

// Step implements [engine.Desk].
func (c *Console) Step(ctx context.Context, v engine.View) error {
	c.screen(v)
	who := v.Step.Who
	if who == "" {
		who = "anybody"
	}
	answer, err := c.line(ctx, fmt.Sprintf("%s: press Enter to go on, or type abort: ", who))
	if err == nil && strings.EqualFold(answer, "abort") {
		return engine.ErrAborted
	}
	return err
}

// Officer implements [engine.Desk].
func (c *Console) Officer(ctx context.Context, p script.Person) (officer.Signer, error) {
	text, err := os.ReadFile(filepath.Join(c.Keys, p.Name+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the key of %s: %w", p.Name, err)
	}
	if card, ok, err := officer.ParseCard(text); err != nil {
		return nil, fmt.Errorf("reading where the key of %s is: %w", p.Name, err)
	} else if ok {
		return c.card(ctx, p, card)
	}
	for range 3 {
		b, err := c.masked(ctx, fmt.Sprintf("%s (%s), passphrase of your key: ", p.Name, p.Role), false)
		if err != nil {
			return nil, err
		}
		_, k, err := officer.Open(text, b.Bytes())
		b.Wipe()
		if !errors.Is(err, officer.ErrPassphrase) {
			return k, err
		}
		c.say("This passphrase does not open it. Try again.")
	}
	return nil, fmt.Errorf("%w: three times", officer.ErrPassphrase)
}

// card takes the PIN of a person's own token, once: more tries could lock it. A token
// that is not there is waited for, because a ceremony that stops forgets what others typed.
func (c *Console) card(ctx context.Context, p script.Person, card officer.Card) (k officer.Signer, err error) {
	for range 3 {
		pin, err2 := c.PIN(ctx, fmt.Sprintf("%s (%s)", p.Name, p.Role), card.Token)
		if err2 != nil {
			return nil, err2
		}
		k, err = engine.Unlock(ctx, card, pin.Bytes())
		pin.Wipe()
		if !errors.Is(err, engine.ErrCard) {
			return k, err
		}
		c.wrap("! " + err.Error() + ". Then type its PIN again.")
	}
	return nil, err
}

// PIN takes the PIN of a person's own token.
func (c *Console) PIN(ctx context.Context, who, token string) (*secret.Buffer, error) {
	return c.masked(ctx, fmt.Sprintf("%s, PIN of your token %s: ", who, token), false)
}

// Confirm implements [engine.Desk].
func (c *Console) Confirm(ctx context.Context, v engine.View) (string, error) {
	c.screen(v)
	return c.line(ctx, "Short hash of the plan, as it stands on the approved paper: ")
}

// Enter implements [engine.Desk].
func (c *Console) Enter(ctx context.Context, a engine.Ask) (*secret.Buffer, error) {
	for range 3 {
		b, err := c.twice(ctx, a)
		if err == nil && a.Check != nil {
			err = c.readBack(ctx, a, b)
		}
		if err == nil {
			return b, nil
		}
		b.Wipe()
		if !errors.Is(err, errAgain) {
			return nil, err
		}
		a.Note = strings.TrimPrefix(err.Error(), errAgain.Error()+": ")
		if err := a.Refused(a.Note); err != nil {
			return nil, err
		}
	}
	if a.PIN {
		return nil, fmt.Errorf("%w: this part of the %s was not typed twice the same, three times: write it down before it is typed, then resume the ceremony", engine.ErrStep, a.Step.Key)
	}
	return nil, fmt.Errorf("%w: %s was typed wrong three times: see that the letter is of this key, then resume the ceremony", engine.ErrStep, a.Step.Key)
}

func again(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errAgain}, args...)...)
}

// twice takes a secret two times.
func (c *Console) twice(ctx context.Context, a engine.Ask) (*secret.Buffer, error) {
	c.screen(a.View)
	if !a.PIN {
		c.wrap(fmt.Sprintf("%d hex digits, in groups of four; blanks need not be typed.", 2*a.Length))
	}
	one, err := c.masked(ctx, "Type it:       ", !a.PIN)
	if err != nil {
		return nil, err
	}
	defer one.Wipe()
	two, err := c.masked(ctx, "Type it again: ", !a.PIN)
	if err != nil {
		return nil, err
	}
	defer two.Wipe()
	if subtle.ConstantTimeCompare(one.Bytes(), two.Bytes()) != 1 {
		return nil, again("The two were not the same. Type it once more, and slowly.")
	}
	if a.PIN {
		b, err := secret.New(len(one.Bytes()))
		if err == nil {
			copy(b.Bytes(), one.Bytes())
		}
		return b, err
	}
	if n := len(one.Bytes()); n != 2*a.Length {
		return nil, again("%d digits were typed, and %d are wanted: see that the letter is of this key.", n, 2*a.Length)
	}
	return unhex(one.Bytes())
}

func unhex(digits []byte) (*secret.Buffer, error) {
	b, err := secret.New(len(digits) / 2)
	if err != nil {
		return nil, err
	}
	for i := range b.Bytes() {
		b.Bytes()[i] = nibble(digits[2*i])<<4 | nibble(digits[2*i+1])
	}
	return b, nil
}

func nibble(d byte) byte {
	if d >= 'A' {
		return d - 'A' + 10
	}
	return d - '0'
}

// readBack lets the custodian compare check values: what stands in the letter
// is typed, and the program says whether it is so.
func (c *Console) readBack(ctx context.Context, a engine.Ask, b *secret.Buffer) error {
	check, err := a.Check(b.Bytes())
	if err != nil {
		return again("This cannot be a component: %v.", err)
	}
	said, err := c.line(ctx, "Check value in the letter: ")
	if err != nil {
		return err
	}
	said = strings.ToUpper(strings.ReplaceAll(said, " ", ""))
	if len(said) < 6 || !strings.HasPrefix(check, said) {
		return again("What was typed has another check value than the letter: two digits changed places, or one is wrong.")
	}
	c.say("Check value %s: it agrees.", check)
	return nil
}

// Hand implements [engine.Desk].
func (c *Console) Hand(ctx context.Context, l engine.Letter) (string, error) {
	where, err := engine.WriteLetter(c.Letters, l, false)
	if err != nil {
		return "", err
	}
	c.say("Letter %s for %s alone:", l.Serial, l.Step.Who)
	c.say("  %s", where)
	c.say("Check value %s", l.Check)
	if l.Attempt > 1 {
		c.wrap(fmt.Sprintf("! This is attempt %d: if you hold a letter of an earlier one, it is void. Tear it up.", l.Attempt))
	}
	_, err = c.line(ctx, l.Step.Who+": take it, seal it, note its serial number, then press Enter: ")
	fmt.Fprint(c.Out, clearAll)
	return where, err
}

var _ engine.Desk = (*Console)(nil)

// Passphrase takes a new passphrase, twice.
func (c *Console) Passphrase(ctx context.Context, name string) (*secret.Buffer, error) {
	for range 3 {
		c.say("%s chooses a passphrase of %d characters at least.", name, officer.MinPassphrase)
		one, err := c.masked(ctx, "Type it:       ", false)
		if err != nil {
			return nil, err
		}
		two, err := c.masked(ctx, "Type it again: ", false)
		if err != nil {
			return nil, err
		}
		same := subtle.ConstantTimeCompare(one.Bytes(), two.Bytes()) == 1
		two.Wipe()
		if same && len(one.Bytes()) >= officer.MinPassphrase {
			return one, nil
		}
		if same {
			c.say("It has %d bytes, which is too short.", len(one.Bytes()))
		} else {
			c.say("The two were not the same.")
		}
		one.Wipe()
	}
	return nil, errors.New("no passphrase was chosen")
}
