package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/hsm"
	tokens "github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/hsm/softring"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/fault"
)

func (a *app) keysCommand() *cobra.Command {
	return group("keys", "Look at the HSM's keys, import test keys, and move to new versions", a.keysListCommand(),
		a.keysImportCommand(), a.keysGenerateCommand(), a.keysRetireCommand())
}

func (a *app) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List every key of the HSM, and say what is wrong with it",
		Args:  cli.Exactly(0, "keys list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			rows, problems, err := inspectAll(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := a.printKeys(rows); err != nil {
				return err
			}
			err = errors.Join(problems...)
			if fault.KindOf(err) == fault.HSMKey { // what lists every key is called
				err = withHint(err, "a ceremony makes keys that are missing: docs/ceremony.md")
			}
			return err
		},
	}
}

// inspectAll is inspect of every token, with their keys brought together. Of
// several tokens, one that does not answer is a problem; of one, all that there
// is.
func inspectAll(ctx context.Context, cfg assembly.Config) (rows []keyRow, problems []error, err error) {
	each := cfg.EachToken()
	var held []tokens.Held
	for i, one := range each {
		name := strconv.Itoa(i + 1)
		keys, wrong, err := inspectToken(ctx, one)
		if err != nil && len(each) == 1 {
			return nil, nil, err
		}
		if err == nil {
			held = append(held, tokens.Held{Name: name, Keys: keys})
		} else {
			wrong = []error{err}
		}
		for _, w := range wrong {
			if len(each) > 1 {
				w = fmt.Errorf("token %s: %w", name, w)
			}
			problems = append(problems, w)
		}
	}
	if len(held) == 0 {
		return nil, nil, errors.Join(problems...)
	}
	all := held[0].Keys
	if len(each) > 1 {
		all = tokens.Merge(held...)
	}
	cfg.Shelf(time.Now).Annotate(all)
	return keyRows(all), problems, nil
}

func inspectToken(ctx context.Context, cfg assembly.Config) (all []keyref.Info, problems []error, err error) {
	t, err := assembly.OpenHSM(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	all, problems, err = examineKeys(ctx, cfg, t)
	if err != nil {
		err = fmt.Errorf("listing keys: %w", err)
	}
	return all, problems, errors.Join(err, t.Close())
}

type keyRow struct {
	Label   string `json:"label"`
	Usage   string `json:"usage"`
	Version uint8  `json:"version"`
	Check   string `json:"check_value,omitempty"`
	Local   bool   `json:"generated_inside"`
	State   string `json:"state"`
	Class   string `json:"class"`

	Ceremony   string `json:"ceremony,omitempty"`
	Transcript string `json:"transcript,omitempty"`
	Flag       string `json:"flag,omitempty"`

	Tokens []string `json:"tokens,omitempty"` // where there are several
}

// inspect lists what the token holds, and tries every key that the service
// needs, so that all that is wrong is said at once.
func inspect(ctx context.Context, cfg assembly.Config, t *hsm.Token) (rows []keyRow, problems []error, err error) {
	all, problems, err := examineKeys(ctx, cfg, t)
	if err != nil {
		return nil, nil, err
	}
	cfg.Shelf(time.Now).Annotate(all)
	return keyRows(all), problems, nil
}

func keyRows(all []keyref.Info) (rows []keyRow) {
	for _, k := range all {
		r := keyRow{Label: k.Ref.Label(), Usage: string(k.Ref.Usage), Version: k.Ref.Version, Local: k.Local, State: k.State, Class: "hsm",
			Ceremony: k.Ceremony, Transcript: k.Transcript, Flag: k.Flag, Tokens: k.Tokens}
		if k.Software {
			r.Class = "software"
		}
		if k.Check != nil {
			r.Check = k.Check.String()
		}
		rows = append(rows, r)
	}
	return rows
}

// examineKeys is what [inspect] looks at, as it was found.
func examineKeys(ctx context.Context, cfg assembly.Config, t *hsm.Token) (all []keyref.Info, problems []error, err error) {
	for _, ref := range cfg.Keys() {
		if err := t.Require(ctx, ref); err != nil {
			problems = append(problems, err)
		}
	}
	all, sealed, err := everyKey(ctx, cfg, t)
	if err != nil {
		return nil, nil, err
	}
	if sealed != nil && !slices.ContainsFunc(problems, func(p error) bool { return p.Error() == sealed.Error() }) {
		problems = append(problems, sealed)
	}
	for _, ref := range cfg.SoftwareKeys() {
		if sealed == nil && !slices.ContainsFunc(all, func(k keyref.Info) bool { return k.Ref == ref }) {
			problems = append(problems, fmt.Errorf("looking for keys: %w: %v", softring.ErrKeyMissing, ref))
		}
	}
	unlabelled, err := t.Unlabelled(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range unlabelled {
		problems = append(problems, fmt.Errorf("looking for strays: %s: a ceremony was cut off: resume it", u))
	}
	strays, err := t.Strays(ctx)
	for _, s := range strays {
		problems = append(problems, fmt.Errorf("looking for strays: %s is no key of tapvault", s))
	}
	return all, problems, err
}

// everyKey lists the keys of the HSM and those that it only seals. sealed says
// why the latter are not among them.
func everyKey(ctx context.Context, cfg assembly.Config, t *hsm.Token) (all []keyref.Info, sealed, err error) {
	g := tokens.Of(t)
	if all, sealed = assembly.Inventory(ctx, cfg, g); sealed == nil {
		return all, nil, nil
	}
	all, err = g.Inventory(ctx)
	return all, sealed, err
}

func (a *app) printKeys(rows []keyRow) error {
	if a.json {
		return a.print(rows)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	several := slices.ContainsFunc(rows, func(r keyRow) bool { return len(r.Tokens) > 0 })
	heading := "LABEL\tCHECK VALUE\tBORN\tSTATE\tCEREMONY"
	if several {
		heading = "LABEL\tCHECK VALUE\tBORN\tSTATE\tTOKENS\tCEREMONY"
	}
	fmt.Fprintln(w, heading)
	for _, r := range rows {
		born, check := "imported", r.Check
		if r.Local {
			born = "inside"
		}
		if r.Class == "software" {
			born = "software"
		}
		if check == "" {
			check = "-"
		}
		papers := r.Flag
		if papers == "" {
			papers = r.Ceremony + " " + r.Transcript[:8]
		} else {
			papers = "! " + papers
		}
		if several {
			papers = strings.Join(r.Tokens, ",") + "\t" + papers
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Label, check, born, r.State, papers)
	}
	return w.Flush()
}

func (a *app) keysImportCommand() *cobra.Command {
	var realm, usage, file string
	var version uint8
	c := &cobra.Command{
		Use:   "import",
		Short: "Import one test key into a test realm (rehearsal only)",
		Long: "Imports one card's own key, 32 hex digits read from a file or from standard input, never from\n" +
			"the command line, and not shown when they are typed, for one use in a realm without diversification: mpk, mlk, mulk, muk, or dtk,\n" +
			"which is folded as it enters. A key serves one use; import it again for another.",
		Args: cli.Exactly(0, "keys import --realm REALM --usage USAGE [--file FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ref := keyref.Ref{Realm: realm, Usage: keyref.Usage(usage), Version: version}
			return a.withHSM(cmd.Context(), func(cfg assembly.Config, t *hsm.Token) error {
				return a.importKey(cmd.Context(), cfg, t, ref, file)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&realm, "realm", "", "realm with test: true")
	f.StringVar(&usage, "usage", "", "mpk, mlk, mulk, muk, dtk or dtk-retail; or mpk-sm4, mlk-sm4, mulk-sm4, muk-sm4, mtk-sm4, dtk-sm4")
	f.Uint8Var(&version, "version", 1, "version of the key")
	f.StringVar(&file, "file", "-", "file with the key as 32 hex digits; - is standard input")
	return c
}

// testUsages are what a card's own key can be imported for.
var testUsages = []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.UnloadMaster, keyref.OverdraftMaster,
	keyref.FoldedTAC, keyref.RetailTAC,
	keyref.PurchaseMasterSM4, keyref.LoadMasterSM4, keyref.TACMasterSM4, keyref.UnloadMasterSM4, keyref.OverdraftMasterSM4, keyref.TACSM4}

func (a *app) importKey(ctx context.Context, cfg assembly.Config, t *hsm.Token, ref keyref.Ref, file string) error {
	i := slices.IndexFunc(cfg.Realms, func(r assembly.Realm) bool { return r.Name == ref.Realm })
	switch {
	case i < 0 || !cfg.Realms[i].Test:
		return cli.Misusef("reading flags: --realm must name a realm with test: true")
	case ref.Version == 0:
		return cli.Misusef("reading flags: --version must be 1 to 255")
	case !slices.Contains(testUsages, ref.Usage) || !ref.Valid():
		return cli.Misusef("reading flags: --usage must be mpk, mlk, mulk, muk, dtk, dtk-retail, or one of SM4: see --help")
	}
	key, err := a.readKey(ctx, file)
	if err != nil {
		return err
	}
	defer clear(key)
	if err := recordAct(ctx, cfg, "keys:import", ref.Label(), ""); err != nil {
		return err
	}
	if err := importAny(ctx, cfg, t, ref, key); err != nil {
		return err
	}
	return a.say("imported %v; a running service takes it up when it starts again", ref)
}

// importAny puts a key into the token, or where it is used.
func importAny(ctx context.Context, cfg assembly.Config, t *hsm.Token, ref keyref.Ref, key []byte) error {
	if spec, _ := ref.Usage.Spec(); spec.Type == keyref.SM4 {
		f, ok, err := cfg.SoftwareFolder(ctx, tokens.Of(t))
		if err != nil {
			return err
		}
		if ok {
			return f.Import(ctx, ref, key)
		}
	}
	return t.Import(ctx, ref, key)
}

// readKey reads 32 hex digits. What was wrong is said without repeating it.
func (a *app) readKey(ctx context.Context, file string) ([]byte, error) {
	line, err := a.keyLine(ctx, file)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	defer clear(line)
	key := make([]byte, 16)
	text := bytes.TrimSpace(line)
	if len(text) != 32 {
		return nil, errors.New("reading key: must be 32 hex digits on one line")
	}
	if _, err := hex.Decode(key, text); err != nil {
		clear(key)
		return nil, errors.New("reading key: must be 32 hex digits on one line")
	}
	return key, nil
}

// keyLine is the line that holds a key: of a file, of standard input, or typed unseen.
func (a *app) keyLine(ctx context.Context, file string) ([]byte, error) {
	in := a.stdin
	if tty := a.atTerminal(); file == "-" && tty != nil {
		return a.hidden(ctx, tty, "The key, 32 hex digits")
	}
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return bufio.NewReader(io.LimitReader(in, 256)).ReadBytes('\n')
}

// withHSM opens the configured token for f.
func (a *app) withHSM(ctx context.Context, f func(assembly.Config, *hsm.Token) error) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	t, err := assembly.OpenHSM(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, t), t.Close())
}
