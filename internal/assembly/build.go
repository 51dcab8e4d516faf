package assembly

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/trace"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// Options are what the process gives the service.
type Options struct {
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged

	CertificateEnds func() time.Time // of the TLS certificate that is shown; nil: nobody knows
}

// Service is the whole service, ready to be listened for.
type Service struct {
	Handler  http.Handler
	HSM      *hsm.Token // the first, which Close closes; a test can take it away before
	stopping atomic.Bool
	// Drain ends what would not end by itself: streams of events. It is called
	// when the service begins to stop.
	Drain   func()
	closers []func() error // in the order of opening
}

// Close ends the service; requests have to have ended before.
func (s *Service) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Stopping makes /readyz say that the service will end; it goes on serving.
func (s *Service) Stopping() { s.stopping.Store(true) }

var errStopping = errors.New("the process was told to stop")

func (s *Service) staying(context.Context) error {
	if s.stopping.Load() {
		return errStopping
	}
	return nil
}

// parts is what the services share while they are put together.
type parts struct {
	cfg    Config
	opt    Options
	days   token.Calendar
	hsm    *group.Group
	purse  cryptogram.Keys // of cards' realms
	db     *store.DB
	gate   audit.Gate
	trail  *trail.Trail
	tree   *tree.Tree
	events *outbox.Outbox
	vault  *vault.Vault
	keys   followed    // versions that key ceremonies change
	trust  lateDevices // of devices
	chores *chores
	// ahead compares the process's clock with another; nil: there is only one.
	ahead *clockWatch
	// watch is done now and then as long as the service runs.
	watch []func(context.Context)
	// gauges are what the metrics show beside the requests.
	gauges []obs.Gauge
	// waiting counts the orders to cards that wait for a decision.
	waiting atomic.Int64
	// traces begins to record a request; nil: none is.
	traces func(ctx context.Context, operation, parent string) (context.Context, trace.Span)
}

// Build opens everything that c names and puts the service together. Nothing
// stays open when it fails.
func Build(ctx context.Context, c Config, o Options) (*Service, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checking the configuration: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{}
	p := &parts{cfg: c, opt: o, chores: newChores(o.Log)}
	err := p.open(ctx, s)
	if p.hsm != nil {
		s.HSM = p.hsm.First()
	}
	if err == nil {
		s.Handler, err = p.handler(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open opens the HSM first: a service without its keys is no service, and
// nothing has been touched yet.
func (p *parts) open(ctx context.Context, s *Service) (err error) {
	if p.days, err = p.cfg.Days(); err != nil {
		return err
	}
	if err := p.openTraces(ctx, s); err != nil {
		return err
	}
	if p.hsm, err = openGroup(ctx, p.cfg, p.opt.Log); err != nil {
		return err
	}
	s.closers = append(s.closers, p.hsm.Close)
	if err := p.cfg.requireKeys(ctx, p.hsm); err != nil {
		return err
	}
	if err := p.openPurse(ctx, s); err != nil {
		return err
	}
	if err := p.papers(ctx); err != nil {
		return err
	}
	s.closers = append(s.closers, p.followKeys(ctx))
	if p.db, err = p.openWhole(ctx); err != nil {
		return err
	}
	s.closers = append(s.closers, p.db.Close)
	p.ahead = p.clocks()
	if p.tree, err = tree.Open(p.cfg.Audit.path(p.cfg, ".tree")); err != nil {
		return err
	}
	s.closers = append(s.closers, p.tree.Close)
	if p.trail, err = trail.Open(trail.Config{Path: p.cfg.Path(p.cfg.Audit.File), Now: p.opt.Now, Tree: p.tree}); err != nil {
		return err
	}
	s.closers = append(s.closers, p.trail.Close)
	p.gate = audit.Gate{Recorder: p.trail}
	if p.events, err = outbox.New(outbox.Config{DB: p.db, Now: p.opt.Now, Log: p.opt.Log}); err != nil {
		return err
	}
	p.gauges = append(p.gauges, obs.Gauge{Name: "events_unreadable_total", Counts: true, Help: "How often this process met a stored event that cannot be read.",
		Value: func() float64 { return float64(p.events.Unreadable()) }})
	if err := p.openVault(ctx); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return p.vault.Close(context.WithoutCancel(ctx)) })
	gauges, stop := watchRanges(ctx, p.vault, p.cfg.Vault.AlarmDays, p.chores)
	p.gauges = append(p.gauges, gauges...)
	s.closers = append(s.closers, stop)
	return nil
}

// openVault opens the vault, and tells of rows that it passes over.
func (p *parts) openVault(ctx context.Context) error {
	c, err := VaultConfig(p.cfg, p.hsm, p.db, p.opt.Now)
	if err != nil {
		return err
	}
	c.Log = p.opt.Log
	if p.vault, err = vault.Open(ctx, c); err != nil {
		return err
	}
	p.gauges = append(p.gauges, obs.Gauge{Name: "vault_rows_unreadable_total", Counts: true, Help: "How often this process passed over a stored token or card that cannot be read.",
		Value: func() float64 { return float64(p.vault.Unreadable()) }})
	return nil
}

func (p *parts) wallet() (*wallet.Service, error) {
	s := p.cfg.Slots
	aid, err := hex.DecodeString(s.AID)
	if err != nil {
		return nil, fmt.Errorf("reading slots.aid: %w", err)
	}
	db := walletdb.New(p.db)
	return wallet.New(wallet.Config{
		Tokens: p.vault.Writer(), Keys: p.hsm, Store: db, Granted: db, Bound: p.bound, Gate: p.gate,
		Realm: s.Realm, KeyVersion: s.KeyVersion, Versions: p.keys.slots.phones, AlgorithmID: s.AlgorithmID, Slots: s.Count, Cap: token.Amount(s.CapFen),
		Issuer: p.cfg.slotIssuer(), AppType: s.AppType, AppVersion: s.AppVersion, AID: aid,
		Zone: p.days.Zone, Now: p.opt.Now,
	})
}

// parameters is what readers must hold to take phones. The versions of keys and
// the token ranges are those of the moment.
func (p *parts) parameters(ctx context.Context) (func() wire.Parameters, error) {
	s := p.cfg.Slots
	public, err := p.hsm.PublicKey(ctx, keyref.Ref{Usage: keyref.CredSign, Version: 1})
	if err != nil {
		return nil, err
	}
	key, err := jwk(public)
	if err != nil {
		return nil, err
	}
	out := wire.Parameters{
		AID: s.AID, Issuer: p.cfg.slotIssuer(), ElementKeyVersion: s.ElementKeyVersion, AlgorithmID: s.AlgorithmID, CapFen: s.CapFen,
		ToleranceSec: int(tolerance.Seconds()), CredentialKeys: []wire.PublicKey{key},
	}
	return func() wire.Parameters {
		now := out
		for _, r := range p.vault.Ranges() {
			now.Ranges = append(now.Ranges, wire.Range{Prefix: r.Prefix, Length: r.Length, Luhn: r.Luhn})
		}
		now.KeyVersion, now.KeyVersions = p.keys.slots.issues(), []int{}
		for _, v := range p.keys.slots.versions() {
			if v != 0 {
				now.KeyVersions = append(now.KeyVersions, int(v))
			}
		}
		return now
	}, nil
}

// requestorsByRealm are whose issuers each realm's cards are answered for, where not
// everybody's.
func (c Config) requestorsByRealm() map[string][]string {
	all := make(map[string][]string, len(c.Realms))
	for _, r := range c.Realms {
		all[r.Name] = r.Requestors
	}
	return all
}

// slotIssuer is the issuer id that phones show: their realm's.
func (c Config) slotIssuer() (id [8]byte) {
	for _, r := range c.Realms {
		if r.Name == c.Slots.Realm {
			b, _ := hex.DecodeString(r.Issuer) // Validate has read it
			copy(id[:], b)
		}
	}
	return id
}
