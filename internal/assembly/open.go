package assembly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/issuerhost"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
	"github.com/tapvault/tapvault/vault"
)

// OpenStore opens the database and brings its schema up to date. A read-only
// one must be up to date.
func OpenStore(ctx context.Context, c Config, now func() time.Time) (*store.DB, error) {
	dsn := c.Store.DSN
	if !store.IsPostgres(dsn) {
		dsn = c.Path(dsn)
	}
	db, err := store.Open(ctx, store.Config{DSN: dsn, MaxBytes: c.Store.MaxBytes,
		ReadOnly: c.Store.ReadOnly, Now: now})
	if err != nil {
		return nil, err
	}
	if err := upToDate(ctx, c, db); err != nil {
		return nil, errors.Join(fmt.Errorf("migrating the database: %w", err), db.Close())
	}
	return db, nil
}

func upToDate(ctx context.Context, c Config, db *store.DB) error {
	if !c.Store.ReadOnly {
		return db.Migrate(ctx)
	}
	have, know, err := db.Versions(ctx)
	if err == nil && have < know {
		err = fmt.Errorf("%w: its schema is older than this program", store.ErrReadOnly)
	}
	return err
}

// OpenVault opens the vault over a token whose keys are ready and a migrated
// database. Nobody is told of what is done through it.
func OpenVault(ctx context.Context, c Config, t *group.Group, db *store.DB, now func() time.Time) (*vault.Vault, error) {
	cfg, err := VaultConfig(c, t, db, now)
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, cfg)
}

// VaultConfig is how [OpenVault] opens the vault, for who has to do something
// before it is open. Whatever happens to a token is put into the outbox.
func VaultConfig(c Config, t *group.Group, db *store.DB, now func() time.Time) (vault.Config, error) {
	events, err := outbox.New(outbox.Config{DB: db, Now: now})
	if err != nil {
		return vault.Config{}, err
	}
	ranges, cards := c.ranges()
	return vault.Config{DB: db, HSM: lateKeys{t}, Keys: vault.Keys(c.Vault.KeyVersions), Ranges: ranges, CardRanges: cards,
		BINController: c.Vault.BINController, Quarantine: c.Vault.Quarantine, Events: events, Now: now, Sure: c.sure(db, now)}, nil
}

// OpenHSM logs in to the first token; no key of it is ready for use yet.
func OpenHSM(ctx context.Context, c Config) (*hsm.Token, error) {
	return c.openToken(ctx, c.tokens()[0], slog.New(slog.DiscardHandler))
}

// openGroup logs in to all tokens.
func openGroup(ctx context.Context, c Config, log *slog.Logger) (*group.Group, error) {
	var all []group.Member
	for i, t := range c.tokens() {
		name := strconv.Itoa(i + 1)
		all = append(all, group.Member{Name: name, Open: func(ctx context.Context) (*hsm.Token, error) {
			return c.openToken(ctx, t, log.With("hsm", name))
		}})
	}
	return group.New(ctx, log, all...)
}

// tokens are the first token and the others, with what these take from it.
func (c Config) tokens() []Token {
	first := Token{Module: c.HSM.Module, Token: c.HSM.Token, PINFile: c.HSM.PINFile, SoftHSMConf: c.HSM.SoftHSMConf, InitArgs: c.HSM.InitArgs}
	all := []Token{first}
	for _, t := range c.HSM.Others {
		t.Token, t.PINFile = cmp.Or(t.Token, first.Token), cmp.Or(t.PINFile, first.PINFile)
		if t.Module == "" || t.Module == first.Module {
			t.Module, t.SoftHSMConf, t.InitArgs = first.Module, cmp.Or(t.SoftHSMConf, first.SoftHSMConf), cmp.Or(t.InitArgs, first.InitArgs)
		}
		all = append(all, t)
	}
	return all
}

// CallsAtOnce is how many calls of the hot path may be in modules at once.
func (c Config) CallsAtOnce() int { return max(1, c.HSM.Workers) * len(c.tokens()) }

// EachToken is the configuration once for each token, as if it were the only one.
func (c Config) EachToken() (all []Config) {
	for _, t := range c.tokens() {
		one := c
		one.HSM.Module, one.HSM.Token, one.HSM.PINFile, one.HSM.SoftHSMConf, one.HSM.InitArgs = t.Module, t.Token, t.PINFile, t.SoftHSMConf, t.InitArgs
		one.HSM.Others = nil
		all = append(all, one)
	}
	return all
}

func (c Config) openToken(ctx context.Context, t Token, log *slog.Logger) (*hsm.Token, error) {
	pin := c.Path(t.PINFile)
	if err := ownerOnly(pin); err != nil {
		return nil, err
	}
	prepare := func() error { return nil }
	if t.SoftHSMConf != "" {
		prepare = func() error { return softhsmconfig.Use(c.Path(t.SoftHSMConf)) }
		if err := prepare(); err != nil { // whatever else is wrong
			return nil, fmt.Errorf("opening the HSM: %w: %w", hsm.ErrUnavailable, err)
		}
	}
	return hsm.Open(ctx, hsm.Config{
		RecycleAfter: c.HSM.RecycleAfter, OnRecycle: recycled(log), OnStall: stalled(log), OnPIN: newPIN(log), Prepare: prepare,
		Module: c.Path(t.Module), Token: t.Token, PIN: hsm.PINFile(pin), InitArgs: t.InitArgs,
		Workers: c.HSM.Workers, MaxSessions: c.HSM.MaxSessions, CardRealms: c.cardRealms(),
		RefuseTACFold: !c.folds(), ElementKeys: c.Slots.ElementKeyVersion, SM4: c.HSM.SM4.numbers(),
		RevealCardKeys: c.EMV.CardKeysInMemory,
	})
}

// ownerOnly refuses a secret that others may read.
func ownerOnly(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("reading the PIN file that hsm.pin_file names: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("reading the PIN file: %s can be read by others: chmod 600 it", file)
	}
	return nil
}

// cardRealms are the realms whose stored keys are one card's own.
func (c Config) cardRealms() (names []string) {
	for _, r := range c.Realms {
		if len(r.Factors) == 0 {
			names = append(names, r.Name)
		}
	}
	return names
}

// folds reports whether any realm of physical cards folds TAC keys.
func (c Config) folds() bool {
	return slices.ContainsFunc(c.Realms, func(r Realm) bool {
		s := r.Scheme()
		return s.TAC == cryptogram.TACFold || s.OverdraftTAC == cryptogram.TACFold
	})
}

// masterUsages are the masters that every realm with diversification has.
var masterUsages = []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.TACMaster, keyref.UnloadMaster,
	keyref.OverdraftMaster}

// Keys lists the keys that the service needs, in the order of a ceremony:
// masters of realms, masters of slots, the service's own.
func (c Config) Keys() []keyref.Ref {
	var refs []keyref.Ref
	for _, r := range c.Realms {
		if len(r.Factors) == 0 {
			continue
		}
		for _, v := range versions(r) {
			for _, u := range c.HSM.SM4.masters(r, false) {
				refs = append(refs, keyref.Ref{Realm: r.Name, Usage: u, Version: v})
			}
		}
	}
	for _, u := range []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster} {
		for _, v := range c.slotVersions() {
			refs = append(refs, keyref.Ref{Realm: c.Slots.Realm, Usage: u, Version: v})
		}
	}
	if c.HSM.SM4.SoftwareKeys != "" {
		refs = append(refs, sm4Seal)
	}
	refs = append(refs, vault.Keys(c.Vault.KeyVersions).Refs()...)
	if !slices.Contains(refs, nameKey) {
		refs = append(refs, nameKey)
	}
	refs = append(refs, keyref.Ref{Usage: keyref.JWTSign, Version: c.Identity.signingVersion()})
	for _, u := range []keyref.Usage{keyref.Script, keyref.CredSign,
		keyref.Intake, keyref.ResultSign, keyref.WebhookSign, keyref.PINSeal, keyref.PINVerify, keyref.DenySign,
		keyref.SyncIntake, keyref.AuditSign} {
		refs = append(refs, keyref.Ref{Usage: u, Version: 1})
	}
	issuers, _ := issuerhost.Keys(c.issuers(), c.EMV.Profiles) // Validate has read them
	return append(refs, issuers...)
}

// versions lists a realm's master versions, each once, lowest first.
func versions(r Realm) []uint8 {
	var vs []uint8
	for _, v := range r.KeyVersions {
		vs = append(vs, v)
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

// requireKeys makes the service's keys ready, and those test keys that the
// realms without diversification happen to hold.
func (c Config) requireKeys(ctx context.Context, t *group.Group) error {
	// Keys of access tokens come and go while the service runs: see signingKeys.
	refs := slices.DeleteFunc(c.Keys(), func(r keyref.Ref) bool { return r.Usage == keyref.JWTSign })
	if names := c.cardRealms(); len(names) > 0 {
		all, err := t.Inventory(ctx)
		if err != nil {
			return err
		}
		for _, k := range all {
			if slices.Contains(names, k.Ref.Realm) {
				refs = append(refs, k.Ref)
			}
		}
	}
	return t.Require(ctx, refs...)
}
