// Package cardhost answers for physical cards: it makes what a terminal's
// security module or a load host would make, and checks what a card made.
//
// Every check is stateless: it says whether a MAC belongs to these fields, not
// whether they were presented before. For that reason phones' slot tokens are
// refused here: their taps are evidence, and evidence is judged once, in
// account. What only a card can make (purchase MAC2 and TAC, load MAC1 and
// TAC) is never answered.
package cardhost

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
)

// Sentinels. A MAC that does not hold is [cryptogram.ErrMismatch], whichever
// it was; audit says which.
var (
	// ErrRealm reports a realm that is not configured.
	ErrRealm = fault.New(fault.RealmUnknown, "no such realm of cards")
	// ErrSlotToken reports a serial number that lies in a token range.
	ErrSlotToken = fault.New(fault.SlotToken, "this serial number is a phone's token: upload its taps instead")
)

// Card names a card and what it answered.
type Card struct {
	Realm       string
	Issuer      [8]byte  // file 0015, bytes 0 to 7
	ASN         [10]byte // file 0015, bytes 10 to 19
	KeyVersion  byte
	AlgorithmID byte
}

// TokenRanges tells token numbers from card numbers by their image in file 0015.
type TokenRanges interface {
	// IsToken reports whether asn lies in a range that tokens are issued from.
	IsToken(asn [10]byte) bool
}

// Config is what a [Service] is made of. Every field is required unless it says otherwise.
type Config struct {
	Keys   cryptogram.Keys
	Gate   audit.Gate
	Realms []cryptogram.Scheme
	Tokens TokenRanges
	// Requestors are, by realm, the token requestors whose issuers are served there,
	// 11 digits each. Issuers of a realm that it does not name need the right only, as
	// terminals do everywhere.
	Requestors map[string][]string

	Guesses *guess.Guard                                          // nil: guessing is not bounded
	Name    func(ctx context.Context, c Card) (guess.Name, error) // names a card to Guesses; required with it
}

// Service answers for the cards of its realms. Safe for concurrent use.
type Service struct {
	keys   cryptogram.Keys
	gate   audit.Gate
	tokens TokenRanges
	realms map[string]cryptogram.Scheme
	theirs map[string][]string // requestors by realm
	host   access.Action       // what calls of a load host are allowed by
	guard  *guess.Guard        // nil: guessing is not bounded
	name   func(ctx context.Context, c Card) (guess.Name, error)
	check  access.Action // what a TAC check is allowed by
}

// For returns the same service for callers that are allowed a instead of what
// load hosts and TAC checks are allowed by: a service of ours that keeps the
// accounts itself.
func (s *Service) For(a access.Action) *Service {
	t := *s
	t.host, t.check = a, a
	return &t
}

// New checks the realms and returns a service for them.
func New(c Config) (*Service, error) {
	s := &Service{keys: c.Keys, gate: c.Gate, tokens: c.Tokens, realms: make(map[string]cryptogram.Scheme), theirs: c.Requestors,
		host: access.LoadHost, check: access.TACVerify}
	for _, r := range c.Realms {
		if err := r.Validate(); err != nil {
			return nil, fmt.Errorf("configuring cards: %w", err)
		}
		if _, ok := s.realms[r.Realm]; ok {
			return nil, fmt.Errorf("configuring cards: realm %s is given twice", r.Realm)
		}
		s.realms[r.Realm] = r
	}
	if c.Guesses == nil {
		return s, nil
	}
	if c.Name == nil {
		return nil, errors.New("configuring cards: guesses are counted by the names of cards")
	}
	s.guard, s.name = c.Guesses, c.Name
	return s, nil
}

// object is what a record says of a card: its realm, if there is one. A serial
// number does not belong in a record, nor does text that a caller made up.
func (c Card) object(s *Service) string { return s.realms[c.Realm].Realm }

// request is one call that passed the gate.
type request struct {
	*Service
	caller access.Caller
	action access.Action
	card   Card
	scheme cryptogram.Scheme
	// recorded waits until the request is recorded; of a load host's only.
	recorded func() error
	// leave ends a check, when what did not hold is counted.
	leave func()
}

// open finds the realm of an allowed request, and refuses issuers that it does not serve
// and slot tokens.
func (s *Service) open(ctx context.Context, c access.Caller, a access.Action, card Card) (request, error) {
	r := request{Service: s, caller: c, action: a, card: card, scheme: s.realms[card.Realm]}
	if r.scheme.Realm == "" {
		return r, s.gate.Refuse(ctx, c, a, "", "realm", ErrRealm)
	}
	if whose := s.theirs[card.Realm]; c.Role == access.Issuer && len(whose) > 0 && !slices.Contains(whose, c.Requestor) {
		return r, r.refuse(ctx, "other-issuer", ErrRealm)
	}
	if s.tokens.IsToken(card.ASN) {
		return r, r.refuse(ctx, "slot-token", ErrSlotToken)
	}
	return r, nil
}

// may refuses a caller who showed too much that did not hold.
func (r request) may(ctx context.Context) error {
	s, err := r.guard.Standing(ctx, r.caller.ID)
	if err == nil {
		err = r.guard.May(ctx, r.caller.ID, s, r.named)
	}
	return r.misses(ctx, err)
}

// enter waits until the caller may have a MAC of the card checked. leave has to be
// called when that is done, if err is nil.
func (r *request) enter(ctx context.Context) error {
	s, leave, err := r.guard.Enter(ctx, r.caller.ID, map[string]int{r.thing(): 1})
	if err != nil {
		return r.misses(ctx, err)
	}
	defer func() {
		if r.leave == nil { // it may not, or that panicked
			leave()
		}
	}()
	if err := r.guard.May(ctx, r.caller.ID, s, r.named); err != nil {
		return r.misses(ctx, err)
	}
	r.leave = leave
	return nil
}

// misses records that a caller showed too much that did not hold.
func (r request) misses(ctx context.Context, err error) error {
	if errors.Is(err, guess.ErrMisses) {
		return r.refuse(ctx, "misses", err)
	}
	return err
}

// named names the card to who counts guesses, by what its keys are made of: a
// number that is spelled otherwise and has the same keys is the same card.
func (r request) named(ctx context.Context) (guess.Name, error) { return r.name(ctx, r.keyed()) }

// thing is the card as this process tells it from others while it is asked about.
func (r request) thing() string {
	c := r.keyed()
	return string(c.Issuer[:]) + string(c.ASN[:]) + c.Realm
}

func (r request) keyed() Card { return r.Keyed(r.card) }

// Keyed is a card by what its keys are made of, and nothing else: however else it is
// spelled, it is the same card.
func (s *Service) Keyed(card Card) Card {
	is := s.realms[card.Realm].Keyed(cryptogram.Card{Issuer: card.Issuer, ASN: card.ASN})
	return Card{Realm: card.Realm, Issuer: is.Issuer, ASN: is.ASN}
}

// refuse records why and returns err.
func (r request) refuse(ctx context.Context, reason string, err error) error {
	return r.gate.Refuse(ctx, r.caller, r.action, r.scheme.Realm, reason, err)
}

// matches compares two MACs and records a mismatch.
func (r request) matches(ctx context.Context, name string, want, got [4]byte) error {
	if !cryptogram.Match(want, got) {
		if err := r.guard.Missed(ctx, r.caller.ID, r.thing(), r.named); err != nil {
			return r.misses(ctx, err)
		}
		return r.refuse(ctx, name, cryptogram.ErrMismatch)
	}
	return nil
}

// key returns the path of the card's key.
func (r request) key(u keyref.Usage) (keyref.Path, error) {
	p, err := r.scheme.Key(u, r.names(), r.card.KeyVersion, r.card.AlgorithmID)
	if err != nil {
		return p, fmt.Errorf("finding the card's key: %w", err)
	}
	return p, nil
}

func (r request) names() cryptogram.Card {
	return cryptogram.Card{Issuer: r.card.Issuer, ASN: r.card.ASN}
}

// tac checks a TAC.
func (r request) tac(ctx context.Context, t cryptogram.Receipted, got [4]byte) error {
	mode := r.scheme.TAC
	if _, ok := t.(cryptogram.Overdraft); ok {
		mode = r.scheme.OverdraftTAC
	}
	key, err := r.scheme.TACKey(mode, r.names(), r.card.KeyVersion, r.card.AlgorithmID)
	if err != nil {
		return fmt.Errorf("finding the card's TAC key: %w", err)
	}
	want, err := cryptogram.TAC(ctx, r.keys, key, mode, t)
	if err != nil {
		return err
	}
	return r.matches(ctx, "tac", want, got)
}
