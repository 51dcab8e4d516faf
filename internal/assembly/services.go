package assembly

import (
	"context"
	"net/http"
	"slices"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/event/stream"
	"github.com/tapvault/tapvault/hsm/inventory"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/webhook"
)

// services are what answers requests, each with no more of the vault than it
// needs.
type services struct {
	callers   *identity.Service
	approvals *quorum.Service
	auditors  *auditor.Service
	hooks     *webhook.Dispatcher
	streams   *stream.Hub

	tokens  *tokenize.Service
	opener  *detokenize.Service
	denials *denylist.Service

	taps    *account.Service
	cards   *cardhost.Service
	loads   *load.Service
	issuers *issuerhost.Service

	sealed   *intake.Service
	bundles  *wallet.Service
	phones   phones
	elements *element.Service
}

// handler makes the services and begins what they do in the background.
func (p *parts) handler(ctx context.Context, s *Service) (http.Handler, error) {
	var x services
	for _, make := range []func(context.Context, *services) error{p.office, p.money, p.vaulted, p.wallets} {
		if err := make(ctx, &x); err != nil {
			return nil, err
		}
	}
	s.Drain = x.streams.Close
	// It uses an approval up, so that what else can fail comes first.
	err := p.settled(ctx, x.approvals)
	if err != nil {
		return nil, err
	}
	if x.auditors, err = p.auditors(ctx, s); err != nil {
		return nil, err
	}
	for _, w := range p.watch {
		s.closers = append(s.closers, p.chores.look(ctx, "signing-keys", readShelfEvery, w))
	}
	handler, err := p.edge(ctx, s, &x)
	if err != nil {
		return nil, err
	}
	every, c := p.cfg.Tokens.SweepEvery, p.chores
	s.closers = append(s.closers, c.sweep(ctx, x.tokens, every), c.run(ctx, "webhooks", x.hooks.Run), c.publishing(ctx, x.denials, p.cfg.DenyList.Every),
		c.run(ctx, "events", x.streams.Run), c.sweepSlots(ctx, x.taps, every), c.sweepLoads(ctx, x.loads, &p.waiting, every),
		c.forgetting(ctx, p.db), c.learning(ctx, p.vault))
	if p.ahead != nil {
		s.closers = append(s.closers, p.ahead.watch(ctx, c, p.db))
	}
	return handler, nil
}

// office makes what knows callers and tells others of what happened.
func (p *parts) office(ctx context.Context, x *services) (err error) {
	if x.callers, err = p.identity(ctx); err != nil {
		return err
	}
	if x.hooks, err = p.webhooks(ctx); err != nil {
		return err
	}
	if x.streams, err = stream.New(stream.Config{Source: p.events, Log: p.opt.Log}); err != nil {
		return err
	}
	secret, err := p.secret(ctx, "digests of approvals")
	if err != nil {
		return err
	}
	if x.approvals, err = Approvals(p.cfg, p.db, p.trail, secret, p.opt.Now, p.opt.Log); err != nil {
		return err
	}
	p.gauges = append(p.gauges, obs.Gauge{Name: "approvals_unreadable_total", Counts: true, Help: "How often this process passed over an approver's key or an approval that cannot be read.",
		Value: func() float64 { return float64(x.approvals.Unreadable()) }})
	return nil
}

// money makes what judges cards and taps, and moves what they pay.
func (p *parts) money(ctx context.Context, x *services) (err error) {
	if x.denials, err = p.denyList(ctx); err != nil {
		return err
	}
	guesses := p.guard()
	if x.taps, err = p.account(x.denials, guesses); err != nil {
		return err
	}
	x.cards, err = cardhost.New(cardhost.Config{Guesses: guesses, Name: p.cardName(), Keys: p.purse, Gate: p.gate, Realms: p.schemes(), Tokens: p.vault,
		Requestors: p.cfg.requestorsByRealm()})
	if err != nil {
		return err
	}
	if x.loads, err = p.loads(x.cards); err != nil {
		return err
	}
	x.issuers, err = p.issuerHost(ctx, x.taps)
	return err
}

// vaulted makes what gives tokens for card numbers, and card numbers for tokens.
func (p *parts) vaulted(ctx context.Context, x *services) (err error) {
	if x.tokens, err = p.tokens(); err != nil {
		return err
	}
	x.opener, err = p.detokenizer(ctx, x.callers, x.taps)
	return err
}

// wallets makes what phones and secure elements are served by.
func (p *parts) wallets(ctx context.Context, x *services) (err error) {
	if x.bundles, err = p.wallet(); err != nil {
		return err
	}
	if x.sealed, err = p.intake(ctx); err != nil {
		return err
	}
	if x.phones, err = p.phones(ctx, x.taps, x.bundles, x.sealed); err != nil {
		return err
	}
	x.elements, err = p.elements(x.taps, x.bundles, x.sealed)
	return err
}

// edge makes what HTTP is answered by.
func (p *parts) edge(ctx context.Context, s *Service, x *services) (http.Handler, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, err
	}
	parameters, err := p.parameters(ctx)
	if err != nil {
		return nil, err
	}
	attempts, err := p.secret(ctx, "digests of attempts")
	if err != nil {
		return nil, err
	}
	metrics := obs.NewMetrics(slices.Concat(p.gauges, p.tokenGauges(), p.processGauges(), p.chores.gauges())...)
	return api.New(api.Config{
		Identity: x.callers, AttemptKey: attempts, Gate: p.gate, Limit: limit, MaxInFlight: p.cfg.MaxInFlight,
		Tokens: x.tokens, Lifecycle: x.tokens, Directory: x.tokens, Cards: x.tokens, Ranges: p.capacity,
		Detokenizer: x.opener, Direct: x.opener, ResultKeys: x.opener.KeySet, Intake: x.sealed,
		Wallet: x.bundles, Wallets: standings{p.vault.Reader(), p.book()}, Elements: x.elements,
		Devices: x.phones.devices, PINs: x.phones.pins, Syncer: x.phones.edge, SyncKeys: x.phones.taps.KeySet,
		Taps: x.taps, Accounts: x.taps, Oversight: x.taps, Parameters: parameters,
		DenyList: x.denials, DenyKeys: publicKeys(p.hsm, denyKey),
		Purchases: x.cards, LoadHost: x.cards, Loads: x.loads, IssuerHost: x.issuers, CardValues: x.issuers, CardScripts: x.issuers, Cryptograms: x.issuers,
		Inventory: &inventory.Service{Token: allKeys{p.cfg, p.hsm}, Gate: p.gate, Annotate: p.cfg.Shelf(p.opt.Now).Annotate},
		Approvals: x.approvals, Auditor: x.auditors, AuditKeys: publicKeys(p.hsm, auditKey),
		Events: p.events, Streams: x.streams, WebhookKeys: x.hooks.KeySet,
		Ready: append([]api.Part{{Name: "hsm", Check: p.hsm.Health}, {Name: "store", Check: p.db.Health},
			{Name: "audit", Check: p.trail.Health}, {Name: "process", Check: s.staying}}, p.tokenParts()...),
		Metrics: metrics.Handler(), Observe: metrics.Observe, Trace: p.traces, Log: p.opt.Log, Now: p.opt.Now,
	})
}
