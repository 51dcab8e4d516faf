package assembly

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/quorum/quorumdb"
)

// Quorum says whose approval a verb needs.
type Quorum struct {
	// Needed is how many approve; never the one who asked. Required.
	Needed int `yaml:"needed"`
	// Approvers are client ids of officers who may approve. Required.
	Approvers []string `yaml:"approvers"`
	// Valid is how long a request waits and its approval is good, 1m to 744h. 0: 24h.
	Valid time.Duration `yaml:"valid"`
}

func (c Config) rules() map[quorum.Verb]quorum.Rule {
	all := map[quorum.Verb]quorum.Rule{}
	for verb, q := range c.Quorum {
		if q.Valid == 0 {
			q.Valid = 24 * time.Hour
		}
		all[quorum.Verb(verb)] = quorum.Rule(q)
	}
	return all
}

func (c Config) validateQuorum(v *checker) {
	rules := c.rules()
	for _, verb := range slices.Sorted(maps.Keys(rules)) {
		if !slices.Contains(quorum.Verbs(), verb) {
			v.add("quorum.%s: no such verb; there are %v", verb, quorum.Verbs())
		}
		if err := rules[verb].Check(); err != nil {
			v.add("quorum.%s: %v", verb, err)
		}
	}
}

// Approvals makes what waits for others; recorder keeps what is done. secret is not
// needed for what is done at the machine.
func Approvals(c Config, db *store.DB, recorder audit.Recorder, secret []byte, now func() time.Time, log *slog.Logger) (*quorum.Service, error) {
	clients := clientdb.New(db, now)
	return quorum.New(quorum.Config{Store: quorumdb.New(db), Log: log, Gate: audit.Gate{Recorder: recorder}, Rules: c.rules(), Secret: secret, Now: now, Clock: c.clock(db),
		Key: func(ctx context.Context, id string) (string, error) { return identity.Holder(ctx, clients, id) }})
}

// Guarded is the settings that change with approval only, as approvers see them.
func (c Config) Guarded() ([]byte, error) {
	all := map[string]any{"ranges": c.Vault.Ranges, "card_ranges": c.Vault.CardRanges, "requestors": c.Tokens.Requestors, "quorum": c.Quorum}
	if len(c.Identity.Issuers) > 0 { // their grants make callers, as a client's registration does
		all["issuers"] = c.Identity.Issuers
	}
	if served := c.served(); len(served) > 0 {
		all["served"] = served
	}
	return json.Marshal(all)
}

// served is whose issuers are answered for, by realm, where not everybody's are: a
// requestor that is added there can order loads to other houses' cards.
func (c Config) served() (all []servedRealm) {
	for _, r := range c.Realms {
		if len(r.Requestors) > 0 {
			all = append(all, servedRealm{r.Name, r.Requestors})
		}
	}
	for _, i := range c.EMV.Issuers {
		if len(i.Requestors) > 0 {
			all = append(all, servedRealm{i.Realm, i.Requestors})
		}
	}
	return all
}

type servedRealm struct {
	Realm      string   `json:"realm"`
	Requestors []string `json:"requestors"`
}

// settingsName is under which the settings' digest is kept.
const settingsName = "settings"

// settled refuses settings that differ from those that were last allowed, unless
// the change was approved. The first that are seen under a rule count as allowed;
// from then on, taking the rule away is a change like any other.
func (p *parts) settled(ctx context.Context, approvals *quorum.Service) error {
	kept := quorumdb.New(p.db)
	body, err := p.cfg.Guarded()
	if err != nil {
		return fmt.Errorf("reading the guarded settings: %w", err)
	}
	digest, _, err := quorum.Digest(quorum.Settings, quorum.Run, "serve", body)
	if err != nil {
		return err
	}
	was, known, err := kept.Setting(ctx, settingsName)
	_, ruled := p.cfg.rules()[quorum.Settings]
	same := known && subtle.ConstantTimeCompare(was[:], digest[:]) == 1
	if err != nil || !known && !ruled || same || p.cfg.Store.ReadOnly {
		return err
	}
	if !known {
		_, err = kept.Allow(ctx, settingsName, nil, digest, p.opt.Now())
		return err
	}
	who, use := access.Caller{ID: "local:serve", Role: access.Operator}, approvals.Use
	if !ruled { // the rule itself was taken away: it still stands for this change
		use = approvals.Redeem
	}
	act := quorum.Act{Verb: quorum.Settings, Method: quorum.Run, Path: "serve", Body: body, Right: "settings:change"}
	if err := use(ctx, who, act); err != nil {
		return fmt.Errorf("comparing ranges and requestors with what was approved: %w: ask with `tapvault approvals request --id YOU --verb settings`, of a process that runs with the settings of before", err)
	}
	_, err = kept.Allow(ctx, settingsName, &was, digest, p.opt.Now())
	return err
}
