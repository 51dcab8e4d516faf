package assembly

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/webhook"
	"github.com/tapvault/tapvault/webhook/hookdb"
)

// Tokens says how tokens live, and what is agreed with those who ask for them.
type Tokens struct {
	// Requestors are token requestors with whom something is agreed. Others get
	// a new token for every request, at once.
	Requestors []Requestor `yaml:"requestors"`
	// Overlap is how long a token and the one that renews it are both good, up
	// to 1h. 0: 10m.
	Overlap time.Duration `yaml:"overlap"`
	// CardOnFile is the longest life of a card-on-file token, 168h or more. 0:
	// five years.
	CardOnFile time.Duration `yaml:"card_on_file"`
	// SweepEvery is how often tokens whose window has closed are moved to
	// EXPIRED and their requestors told. They stop paying at the end of their
	// window, not at the sweep. 0: 1m.
	SweepEvery time.Duration `yaml:"sweep_every"`
}

// Requestor is what is agreed with one token requestor.
type Requestor struct {
	// ID is its 11 digits.
	ID token.Requestor `yaml:"id"`
	// Duplicates is what a second request for the same card and device gives:
	// new (another token) or same (the one that lives). Empty: new.
	Duplicates tokenize.Duplicates `yaml:"duplicates"`
	// Decide holds tokens back until the issuer has decided.
	Decide bool `yaml:"decide"`
	// Webhook is the URL that is told what happens to the requestor's tokens;
	// https, in a rehearsal http too. Empty: nobody is told.
	Webhook string `yaml:"webhook"`
}

func (c Config) validateTokens(v *checker) {
	seen := map[token.Requestor]bool{}
	for i, r := range c.Tokens.Requestors {
		if seen[r.ID] {
			v.add("tokens.requestors[%d].id: is there twice", i)
		}
		seen[r.ID] = true
		if _, err := token.ParseRequestor(string(r.ID)); err != nil {
			v.add("tokens.requestors[%d].id: 11 digits, in quotes", i)
		}
		if d := r.Duplicates; d != "" && d != tokenize.NewToken && d != tokenize.SameToken {
			v.add("tokens.requestors[%d].duplicates: new or same", i)
		}
	}
	if err := webhook.Check(c.Environment == Rehearsal, c.endpoints()...); err != nil {
		v.add("tokens.requestors: %v", err)
	}
	if o := c.Tokens.Overlap; o < 0 || o > time.Hour {
		v.add("tokens.overlap: up to 1h")
	}
	if f := c.Tokens.CardOnFile; f != 0 && f < 7*24*time.Hour {
		v.add("tokens.card_on_file: 168h or more")
	}
	if e := c.Tokens.SweepEvery; e < 0 || e > time.Hour {
		v.add("tokens.sweep_every: up to 1h")
	}
}

func (c Config) policies() map[token.Requestor]tokenize.Policy {
	all := make(map[token.Requestor]tokenize.Policy, len(c.Tokens.Requestors))
	for _, r := range c.Tokens.Requestors {
		all[r.ID] = tokenize.Policy{Duplicates: r.Duplicates, Decide: r.Decide}
	}
	return all
}

func (p *parts) tokens() (*tokenize.Service, error) {
	return tokenize.New(tokenize.Config{Vault: p.vault.Writer(), Gate: p.gate, Calendar: p.days, Policies: p.cfg.policies(),
		OnFile: p.cfg.Tokens.CardOnFile, Overlap: p.cfg.Tokens.Overlap, Now: p.opt.Now})
}

// endpoints are the webhooks of the configuration, each named by its requestor.
func (c Config) endpoints() (all []webhook.Endpoint) {
	for _, r := range c.Tokens.Requestors {
		if r.Webhook != "" {
			all = append(all, webhook.Endpoint{Name: string(r.ID), Requestor: r.ID, URL: r.Webhook})
		}
	}
	return all
}

// webhooks tells requestors what happens to their tokens, signed in the HSM.
func (p *parts) webhooks(ctx context.Context) (*webhook.Dispatcher, error) {
	ref := keyref.Ref{Usage: keyref.WebhookSign, Version: 1}
	public, err := p.hsm.PublicKey(ctx, ref)
	if err != nil {
		return nil, err
	}
	sign := func(ctx context.Context, digest [32]byte) ([64]byte, error) { return p.hsm.Sign(ctx, ref, digest) }
	return webhook.New(webhook.Config{
		Endpoints: p.cfg.endpoints(), Queue: hookdb.New(p.db, p.events, p.opt.Now), Key: webhook.Key{Public: public, Sign: sign},
		Issuer: p.cfg.Identity.IssuerURL, Rehearsal: p.cfg.Environment == Rehearsal, Log: p.opt.Log, Now: p.opt.Now,
	})
}

// capacity says what is left of the token ranges.
func (p *parts) capacity(ctx context.Context) ([]wire.Capacity, error) {
	all, err := p.vault.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]wire.Capacity, len(all))
	for i, c := range all {
		out[i] = wire.Capacity{Name: c.Name, Prefix: c.Prefix, Length: c.Length, Luhn: c.Luhn, Issuing: c.Issuing,
			Size: c.Size, Fresh: c.Fresh, Ready: c.Ready, Resting: c.Resting, Spent: c.Spent,
			PerDay: c.PerDay, DaysLeft: c.DaysLeft}
	}
	return out, nil
}

// sweep expires tokens in the background until stop is called.
func (c *chores) sweep(ctx context.Context, tokens *tokenize.Service, every time.Duration) (stop func() error) {
	return c.repeat(ctx, "tokens", "tokens could not be swept", every, func(ctx context.Context) error {
		n, err := tokens.Sweep(ctx)
		if n > 0 {
			c.log.InfoContext(ctx, "tokens expired", "count", n)
		}
		return err
	})
}

// learning keeps up with the token ranges that other processes are configured
// with: their numbers are no cards', and terminals have to hear of them.
func (c *chores) learning(ctx context.Context, v *vault.Vault) (stop func() error) {
	return c.repeat(ctx, "ranges", "token ranges of other processes could not be looked for", 10*time.Second, v.LearnRanges)
}

// forgetting removes attempts that nobody makes again.
func (c *chores) forgetting(ctx context.Context, db *store.DB) (stop func() error) {
	return c.repeat(ctx, "forget", "old attempts could not be forgotten", 24*time.Hour, func(ctx context.Context) error {
		_, err := db.Forget(ctx)
		return err
	})
}
