package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/hsm"
	tokens "github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/vault"
)

func (a *app) rewrapCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rewrap",
		Short: "Seal everything anew under the key versions of the configuration, while the service runs",
		Long: "Brings card numbers, their indexes and the keys of token ranges under the versions that\n" +
			"vault.key_versions names. It can be killed at any moment and takes up what is left when it\n" +
			"is called again. When nothing is left, `tapvault keys retire` takes the old version.",
		Args: cli.Exactly(0, "rewrap --config FILE"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withVault(cmd.Context(), func(o opened) error { return a.rewrap(cmd.Context(), o) })
		},
	}
}

func (a *app) rewrap(ctx context.Context, o opened) error {
	job := o.vault.Rewrapper()
	total, err := job.Left(ctx)
	if err != nil {
		return err
	}
	if err := o.record(ctx, "vault:rewrap", "vault", fmt.Sprintf("rows: %d", total)); err != nil {
		return err
	}
	var done int64
	bar := a.newProgress("rewrapping", total)
	err = job.Run(ctx, func(n int64) { done = n; bar.At(n) })
	bar.End()
	if err != nil {
		return withHint(err, "what is done stays done: mend what it says, and call it again")
	}
	if a.json {
		return a.print(map[string]int64{"rewrapped": done})
	}
	return a.say("rewrapped %d rows; nothing is left under an older version", done)
}

// opened is the vault with what it stands on.
type opened struct {
	cfg   assembly.Config
	hsm   *hsm.Token
	db    *store.DB
	vault *vault.Vault
}

// withVault opens the vault for f, beside a service that may run.
func (a *app) withVault(ctx context.Context, f func(opened) error) error {
	return a.withHSM(ctx, func(cfg assembly.Config, t *hsm.Token) (err error) {
		o := opened{cfg: cfg, hsm: t}
		if o.db, err = assembly.OpenStore(ctx, cfg, time.Now); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.db.Close()) }()
		if err := t.Require(ctx, vault.Keys(cfg.Vault.KeyVersions).Refs()...); err != nil {
			return err
		}
		if o.vault, err = assembly.OpenVault(ctx, cfg, tokens.Of(t), o.db, time.Now); err != nil {
			return err
		}
		return errors.Join(f(o), o.vault.Close(context.WithoutCancel(ctx)))
	})
}

// record notes what an operator does at the machine.
func (o opened) record(ctx context.Context, act access.Action, object, reason string) error {
	return recordAct(ctx, o.cfg, act, object, reason)
}

// operations opens the record of what is done at the machine. Others may be doing
// something too: each has it open for a moment.
func operations(cfg assembly.Config) (*trail.Trail, error) {
	return trail.Open(trail.Config{Path: cfg.Path(cfg.Audit.File) + ".operations", Now: time.Now, Wait: 30 * time.Second})
}

// recordAct notes what somebody is about to do at the machine, before it is
// done. The service keeps its own record locked while it runs, so this one is a
// chain of its own beside it.
func recordAct(ctx context.Context, cfg assembly.Config, act access.Action, object, reason string) (err error) {
	t, err := operations(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return t.Record(ctx, audit.Entry{Caller: access.Caller{ID: "local:" + who, Role: access.Operator}, Action: act,
		Object: object, Outcome: audit.Allowed, Reason: reason})
}

// vaultUsages are the keys of which the vault can move to another version.
var vaultUsages = map[string]keyref.Usage{"pan-seal": keyref.PANSeal, "pan-index": keyref.PANIndex, "range-kek": keyref.RangeKEK}

func (a *app) keysGenerateCommand() *cobra.Command {
	return a.versionCommandOf("generate", "Make the next version of a key of the vault, or of jwt-sign, inside the HSM (rehearsal only)",
		func(ctx context.Context, ref keyref.Ref) error {
			return a.withHSM(ctx, func(cfg assembly.Config, t *hsm.Token) error {
				if cfg.Environment != assembly.Rehearsal {
					return cli.Misusef("reading configuration: in production, keys are born in a ceremony")
				}
				if err := recordAct(ctx, cfg, "keys:generate", ref.Label(), ""); err != nil {
					return err
				}
				if err := t.Generate(ctx, ref); err != nil {
					return err
				}
				if ref.Usage == keyref.JWTSign {
					return a.say("made %v; a running service signs with it within seconds", ref)
				}
				return a.say("made %v; name it in vault.key_versions, start the service again, and call `tapvault rewrap`", ref)
			})
		})
}

func (a *app) keysRetireCommand() *cobra.Command {
	return a.versionCommandOf("retire", "Destroy a version of a key of the vault, if nothing needs it any more",
		func(ctx context.Context, ref keyref.Ref) error {
			return a.withVault(ctx, func(o opened) error {
				hint := func(err error) error {
					return withHint(err, "`tapvault rewrap` brings rows under the versions of vault.key_versions")
				}
				// What would fail anyway must not use an approval up.
				if err := o.vault.MayRetire(ctx, ref); err != nil {
					return hint(err)
				}
				if err := a.approved(ctx, o.cfg, o.db, quorum.KeyDestruction, "keys:retire", map[string]any{"key": ref.Label()}); err != nil {
					return err
				}
				if err := o.record(ctx, "keys:retire", ref.Label(), ""); err != nil {
					return err
				}
				if err := o.vault.Retire(ctx, ref); err != nil {
					return hint(err)
				}
				if err := o.hsm.Destroy(ctx, ref); err != nil {
					return err
				}
				return a.say("destroyed %v", ref)
			})
		})
}

// versionCommandOf is a command about one version of a key of the vault.
func (a *app) versionCommandOf(name, short string, do func(context.Context, keyref.Ref) error) *cobra.Command {
	var usage string
	var version uint8
	usages := "pan-seal, pan-index or range-kek"
	if name == "generate" {
		usages = "pan-seal, pan-index, range-kek or jwt-sign"
	}
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cli.Exactly(0, "keys "+name+" --usage USAGE --version N"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ref := keyref.Ref{Usage: vaultUsages[usage], Version: version}
			if name == "generate" && usage == string(keyref.JWTSign) {
				ref.Usage = keyref.JWTSign
			}
			if !ref.Valid() {
				return cli.Misusef("reading flags: --usage must be %s, and --version 1 to 255", usages)
			}
			return do(cmd.Context(), ref)
		},
	}
	c.Flags().StringVar(&usage, "usage", "", usages)
	c.Flags().Uint8Var(&version, "version", 0, "version of the key")
	return c
}
