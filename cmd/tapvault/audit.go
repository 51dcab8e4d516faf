package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/hsm"
	tokens "github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Check the record of who asked for what", a.auditVerifyCommand(), a.auditExportCommand())
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var signed, keys string
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Walk the audit record, compare it with its checkpoints, and say where it breaks",
		Long: `Walk the audit record's chain from its first line, and compare it with each of its
checkpoints, which the HSM signed. An auditor adds those that were kept elsewhere, with the
public keys of /.well-known/audit.json, and needs nothing of the service. Kept are the
answers of /v1/audit/checkpoint, one a line:

  tapvault audit verify audit.log --checkpoints mine --keys audit.json`,
		Args: atMostOne("audit verify [FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.auditFile(args)
			if err != nil {
				return err
			}
			found, err := a.verifyAudit(cmd.Context(), file, signed, keys)
			if err != nil {
				return brokenHint(fmt.Errorf("verifying %s: %w", file, err))
			}
			if a.json {
				return a.print(found)
			}
			if found.Lines == 0 {
				return a.say("%s: no records", file)
			}
			if err := a.say("%s: %d records,\neach follows from the one before; the last has the hash\n  %s", file, found.Lines, found.Last); err != nil {
				return err
			}
			if found.Checkpoints == 0 {
				return a.say("%s", cli.Fill("no checkpoint was there to compare it with: a record that somebody wrote anew from its first line would look like this"))
			}
			return a.say("%d signed checkpoints agree; the newest covers %d records", found.Checkpoints, found.Covered)
		},
	}
	proofFlags(c, &signed, &keys)
	return c
}

// brokenHint says what to do about a record that does not verify.
func brokenHint(err error) error {
	if !errors.Is(err, trail.ErrBroken) {
		return err
	}
	return withHint(err, "change nothing: keep the file and its .checkpoints as they are, and compare them with a copy and with checkpoints kept elsewhere (docs/operations.md, Audit record)")
}

// proofFlags are what a record is compared with.
func proofFlags(c *cobra.Command, signed, keys *string) {
	c.Flags().StringVar(signed, "checkpoints", "", "file of checkpoints; FILE.checkpoints unless told, if there is one")
	c.Flags().StringVar(keys, "keys", "", "public keys of checkpoints, as /.well-known/audit.json gives them; the HSM's unless told")
}

func atMostOne(usage string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return cli.Misusef("reading arguments: %d given; usage: %s %s", len(args), c.Root().Name(), usage)
		}
		return nil
	}
}

func (a *app) auditFile(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	return cfg.Path(cfg.Audit.File), nil
}

// verifiedAudit is what was found of a record that is whole.
type verifiedAudit struct {
	Lines       uint64 `json:"lines"`
	Last        string `json:"last"`
	Checkpoints int    `json:"checkpoints"`
	Covered     int64  `json:"covered"` // lines that the newest checkpoint covers
}

func (a *app) verifyAudit(ctx context.Context, file, signed, keys string) (found verifiedAudit, err error) {
	notes, err := checkpointsOf(file, signed)
	if err != nil {
		return found, err
	}
	var heads []tree.Head
	if keys != "" && len(notes) == 0 { // whoever names keys wants them used
		if _, err := a.auditKey(ctx, keys); err != nil {
			return found, err
		}
	}
	if len(notes) > 0 {
		if heads, err = a.openCheckpoints(ctx, file, notes, keys); err != nil {
			return found, err
		}
	}
	var roll tree.Roll
	wrong := int64(0)
	at := map[int64]tree.Hash{}
	for _, h := range heads {
		if have, twice := at[h.Size]; twice && have != h.Root {
			return found, fmt.Errorf("%w: two checkpoints of %d records differ: somebody was shown another record", trail.ErrBroken, h.Size)
		}
		at[h.Size], found.Covered = h.Root, max(found.Covered, h.Size)
	}
	s, err := trail.VerifyEach(file, func(line []byte) {
		roll.Add(line)
		if h := roll.Head(); wrong == 0 && at[h.Size] != (tree.Hash{}) && at[h.Size] != h.Root {
			wrong = h.Size
		}
	})
	switch {
	case err != nil:
		return found, err
	case wrong != 0:
		return found, fmt.Errorf("%w: its first %d records are not those that were signed", trail.ErrBroken, wrong)
	case found.Covered > int64(s.Lines):
		return found, fmt.Errorf("%w: it ends after %d records, and a checkpoint was signed over %d", trail.ErrBroken, s.Lines, found.Covered)
	}
	found.Lines, found.Last, found.Checkpoints = s.Lines, s.Last, len(heads)
	return found, nil
}

// checkpointsOf reads the signed notes to compare a record with.
func checkpointsOf(file, signed string) ([]string, error) {
	path := signed
	if path == "" {
		path = file + ".checkpoints"
	}
	f, err := os.Open(path)
	if signed == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := io.Reader(f)
	if signed != "" { // the service drops half a line of its own; of what somebody else kept, none is passed over
		if in, err = ended(f); err != nil {
			return nil, err
		}
	}
	notes, _, err := auditor.Kept(in)
	if err == nil && signed != "" && len(notes) == 0 {
		err = fmt.Errorf("%s holds no checkpoint: nothing would be compared", signed)
	}
	if err != nil && signed != "" {
		err = withHint(err, "--checkpoints takes the answers of /v1/audit/checkpoint, one a line, as `jq -c .` prints them")
	}
	return notes, err
}

// ended reads a file whose last line may not end.
func ended(f *os.File) (io.Reader, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return f, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, st.Size()-1); err != nil || last[0] == '\n' {
		return f, err
	}
	return io.MultiReader(f, strings.NewReader("\n")), nil
}

// openCheckpoints checks the signatures of checkpoints, and that they are of
// this record.
func (a *app) openCheckpoints(ctx context.Context, file string, notes []string, keys string) ([]tree.Head, error) {
	first, err := firstLine(file)
	if err != nil {
		return nil, err
	}
	key, err := a.auditKey(ctx, keys)
	if err != nil {
		return nil, err
	}
	heads := make([]tree.Head, len(notes))
	for i, n := range notes {
		origin := tree.OriginOf(n, first)
		if origin == "" {
			return nil, fmt.Errorf("%w: checkpoint %d is of a record that began otherwise", trail.ErrBroken, i+1)
		}
		c, err := key.OpenCheckpoint(n, origin)
		if err != nil {
			return nil, fmt.Errorf("%w: checkpoint %d: %w", trail.ErrBroken, i+1, err)
		}
		heads[i] = c.Head
	}
	return heads, nil
}

func firstLine(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: there are checkpoints, and it has no records", trail.ErrBroken)
	}
	return line[:len(line)-1], nil
}

// auditKey is the key of a file, or that of the HSM.
func (a *app) auditKey(ctx context.Context, file string) (key tree.Key, err error) {
	if file == "" {
		err = a.withHSM(ctx, func(_ assembly.Config, t *hsm.Token) error {
			key, err = assembly.AuditKey(ctx, tokens.Of(t))
			return err
		})
		return key, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return key, err
	}
	var set struct {
		Keys []wire.PublicKey `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) != 1 {
		return key, fmt.Errorf("reading %s: not the answer of /.well-known/audit.json", file)
	}
	if key.Public, err = pointOf(set.Keys[0]); err != nil {
		return key, fmt.Errorf("reading %s: %w", file, err)
	}
	return key, nil
}

func pointOf(k wire.PublicKey) (*ecdsa.PublicKey, error) {
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if errX != nil || errY != nil || k.Curve != "P-256" || len(x) != 32 || len(y) != 32 {
		return nil, errors.New("the key is none on P-256")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
}
