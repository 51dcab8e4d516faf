package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// What a service needs of others. All of it is safe for concurrent use.
type (
	// Orders makes orders to cards, each only against a good MAC1.
	Orders interface {
		Load(ctx context.Context, c access.Caller, card cardhost.Card, l cryptogram.Load, mac1 [4]byte) ([4]byte, error)
		Unload(ctx context.Context, c access.Caller, card cardhost.Card, u cryptogram.Unload, mac1 [4]byte) ([4]byte, error)
		Overdraft(ctx context.Context, c access.Caller, card cardhost.Card, o cryptogram.Overdraft, mac1 [4]byte) ([4]byte, error)
		// Keyed is what of a card its keys are made of: the same for all spellings of
		// one card.
		Keyed(card cardhost.Card) cardhost.Card
	}
	// Proofs checks what cards answer and show. What does not hold is
	// [cryptogram.ErrMismatch].
	Proofs interface {
		TACVerify(ctx context.Context, c access.Caller, card cardhost.Card, t cryptogram.Receipted, tac [4]byte) error
		UnloadVerify(ctx context.Context, c access.Caller, card cardhost.Card, u cryptogram.Unload, mac3 [4]byte) error
		Shown(ctx context.Context, c access.Caller, card cardhost.Card, l cryptogram.Load, mac1 [4]byte) error
	}
	// Accounts knows whose accounts are.
	Accounts interface {
		// Owner returns the requestor of an account, and whether money may leave it
		// for a card; an error of kind [fault.WalletUnknown] says that there is none, and
		// one of kind [fault.WalletState] that it is closed: whose it was is returned too.
		Owner(ctx context.Context, id token.WalletID) (r token.Requestor, free bool, err error)
	}
	// Names makes the keyed hash that a card is known by.
	Names interface {
		HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	}
	// Store keeps orders together with the money that they move. What it returns
	// is durable.
	Store interface {
		// Begin keeps a new order and moves its money, once for each value of a
		// card's counter: see [Meet]. An error of kind [fault.FundsShort] says that
		// the account does not hold enough.
		Begin(ctx context.Context, r Record, a access.Attempt) (Record, error)
		// Record returns an order, or [ErrUnknown].
		Record(ctx context.Context, id string) (Record, error)
		// List returns orders that f lets through, newest first.
		List(ctx context.Context, f Filter) ([]Record, error)
		// Finish moves an order as [Record.Next] says, or returns [ErrChanged] when
		// it is not as it was at that revision any more.
		Finish(ctx context.Context, id string, revision int64, f Finding) (Record, error)
		// Miss counts a proof that did not hold.
		Miss(ctx context.Context, id string) error
		// Decide moves an order as [Record.Decide] says and keeps the decision. One
		// that was made before changes nothing. [ErrDecided], [ErrClosed] and
		// [ErrChanged] say that nothing was decided, and an error of kind
		// [fault.FundsShort] that the account does not hold what it would have to pay.
		Decide(ctx context.Context, d Decision) (Record, error)
		// Search returns orders with what was decided of them, the oldest first.
		Search(ctx context.Context, q Search) ([]Matter, error)
		// Waiting counts the orders that wait, as Search does.
		Waiting(ctx context.Context, overdue time.Time) (int, error)
		// Overdue opens a case, once, for each order that was begun before and of
		// which nothing was heard since. It returns for how many.
		Overdue(ctx context.Context, before time.Time) (int, error)
	}
)

// Config is what a [Service] is made of. Fields without a default are required.
type Config struct {
	Orders   Orders
	Proofs   Proofs
	Accounts Accounts
	Names    Names
	NameKey  keyref.Ref // of usage par: what it names never changes
	Store    Store
	Gate     audit.Gate
	Now      func() time.Time // nil: time.Now
	// Sure is the moment that has come by every clock there is: by it an order has
	// waited long enough for its card. Nil: Now.
	Sure func(ctx context.Context) (time.Time, error)
	Rand io.Reader // nil: crypto/rand
}

// Service loads and unloads cards. Safe for concurrent use.
type Service struct {
	cfg   Config
	lanes guess.Lanes // of orders whose cards speak
}

// New returns a service.
func New(c Config) (*Service, error) {
	if c.Orders == nil || c.Proofs == nil || c.Accounts == nil || c.Names == nil || c.Store == nil || c.Gate.Recorder == nil {
		return nil, errors.New("configuring card loads: orders, proofs, accounts, names, store and gate are required")
	}
	if c.NameKey.Usage != keyref.PARKey {
		return nil, errors.New("configuring card loads: cards are named with a key of usage par")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sure == nil {
		c.Sure = func(context.Context) (time.Time, error) { return c.Now(), nil }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return &Service{cfg: c}, nil
}

// Begun is the answer to an order.
type Begun struct {
	Record
	MAC2 [4]byte // what the card obeys
}

// Begin checks that the card was initialised for an order, moves the money, and
// gives the order out. The same initialisation is answered the same again; the
// order's date and time are those of the first answer.
func (s *Service) Begin(ctx context.Context, c access.Caller, card cardhost.Card, o Order, mac1 [4]byte, a access.Attempt) (Begun, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.CardLoad, object(string(o.Account))); err != nil {
		return Begun{}, err
	}
	if err := o.Validate(); err != nil {
		return Begun{}, err
	}
	whose, err := s.own(ctx, c, o.Account)
	if err == nil && (whose.closed || !whose.free && o.Kind != Debit) {
		err = s.refuse(ctx, c, string(o.Account), "wallet-state", errHeld)
	}
	if err != nil {
		return Begun{}, err
	}
	// Before any money moves: whoever asks holds the card.
	mac2, err := s.order(ctx, c, card, o, mac1)
	if err != nil {
		return Begun{}, err
	}
	r, err := s.record(ctx, c, card, o, whose.requestor)
	if err != nil {
		return Begun{}, err
	}
	kept, err := s.cfg.Store.Begin(ctx, r, a)
	if errors.Is(err, ErrCounter) || errors.Is(err, ErrReversed) {
		return Begun{}, s.refuse(ctx, c, string(o.Account), "counter", err)
	}
	if err != nil {
		return Begun{}, fmt.Errorf("beginning a load: %w", err)
	}
	if !kept.same(o) { // a request that is sent again after its card was initialised anew
		return Begun{}, s.refuse(ctx, c, string(o.Account), "counter", ErrChanged)
	}
	if kept.At != o.At {
		if mac2, err = s.order(ctx, c, card, kept.Order, mac1); err != nil {
			return Begun{}, err
		}
	}
	return Begun{kept, mac2}, nil
}

// record makes the record of a new order.
func (s *Service) record(ctx context.Context, c access.Caller, card cardhost.Card, o Order, owner token.Requestor) (Record, error) {
	name, err := s.name(ctx, card)
	if err != nil {
		return Record{}, err
	}
	id, err := drawID(s.cfg.Rand)
	if err != nil {
		return Record{}, err
	}
	now := s.cfg.Now().UTC().Truncate(time.Millisecond) // as it is kept: asked again, it is answered the same
	r := Record{Order: o, ID: id, Card: name, Requestor: owner, Client: c.ID, State: Started, CreatedAt: now, ChangedAt: now}
	if _, err := io.ReadFull(s.cfg.Rand, r.Probe[:]); err != nil {
		return Record{}, fmt.Errorf("drawing the terminal number of a probe: %w", err)
	}
	return r, nil
}

// name is the keyed hash of a card: of what in its file 0015 its keys are made of.
// The rest of that file proves nothing: under two spellings one card would have two
// orders under one value of its counter, and what it proves would be paid twice.
func (s *Service) name(ctx context.Context, card cardhost.Card) ([32]byte, error) {
	card = s.cfg.Orders.Keyed(card)
	msg := []byte("card-load/1\x00" + card.Realm + "\x00")
	msg = append(append(msg, card.Issuer[:]...), card.ASN[:]...)
	name, err := s.cfg.Names.HMAC(ctx, s.cfg.NameKey, msg)
	if err != nil {
		return name, fmt.Errorf("naming a card: %w", err)
	}
	return name, nil
}

// owner is whose an account is, and what may be ordered for it.
type owner struct {
	requestor token.Requestor
	free      bool // money may leave it for a card
	closed    bool // nothing may be ordered any more; what was ordered can still be found
}

// own returns the owner of an account of the caller's. That it is another
// requestor's looks like there is none, closed or not.
func (s *Service) own(ctx context.Context, c access.Caller, id token.WalletID) (o owner, err error) {
	if !id.Valid() { // it may be a card number, which is nothing to ask a database for
		return o, s.refuse(ctx, c, "", "unknown", errNoAccount)
	}
	o.requestor, o.free, err = s.cfg.Accounts.Owner(ctx, id)
	o.closed = fault.KindOf(err) == fault.WalletState
	switch {
	case fault.KindOf(err) == fault.WalletUnknown:
		return o, s.refuse(ctx, c, string(id), "unknown", err)
	case err != nil && !o.closed:
		return o, fmt.Errorf("looking for an account: %w", err)
	case c.Requestor == "" || string(o.requestor) != c.Requestor:
		return o, s.refuse(ctx, c, string(id), "other-requestor", errNoAccount)
	}
	return o, nil
}

// Accounts that cannot be used.
var (
	errNoAccount = fault.New(fault.WalletUnknown, "no such wallet")
	errHeld      = fault.New(fault.WalletState, "the wallet's state does not allow that")
)

func (s *Service) order(ctx context.Context, c access.Caller, card cardhost.Card, o Order, mac1 [4]byte) ([4]byte, error) {
	switch o.Kind {
	case Credit:
		return s.cfg.Orders.Load(ctx, c, card, o.credit(), mac1)
	case Debit:
		return s.cfg.Orders.Unload(ctx, c, card, o.debit(), mac1)
	}
	return s.cfg.Orders.Overdraft(ctx, c, card, o.overdraft(), mac1)
}

func (s *Service) refuse(ctx context.Context, c access.Caller, obj, reason string, err error) error {
	return s.cfg.Gate.Refuse(ctx, c, access.CardLoad, object(obj), reason, err)
}

// object is what a record may say of text from outside: an id, or nothing.
func object(s string) string {
	if token.WalletID(s).Valid() || ValidID(s) {
		return s
	}
	return ""
}

// Order returns an order of the caller's.
func (s *Service) Order(ctx context.Context, c access.Caller, id string) (Record, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.CardLoad, object(id)); err != nil {
		return Record{}, err
	}
	return s.find(ctx, c, id)
}

// Orders lists an account's orders, newest first: what a host that remembers
// nothing looks for before it reverses.
func (s *Service) Orders(ctx context.Context, c access.Caller, f Filter) ([]Record, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.CardLoad, object(string(f.Account))); err != nil {
		return nil, err
	}
	if _, err := s.own(ctx, c, f.Account); err != nil {
		return nil, err
	}
	all, err := s.cfg.Store.List(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("listing loads: %w", err)
	}
	return all, nil
}

func (s *Service) find(ctx context.Context, c access.Caller, id string) (Record, error) {
	if !ValidID(id) {
		return Record{}, ErrUnknown
	}
	r, err := s.cfg.Store.Record(ctx, id)
	if err != nil {
		return Record{}, fmt.Errorf("looking for a load: %w", err)
	}
	if c.Requestor == "" || string(r.Requestor) != c.Requestor {
		return Record{}, s.refuse(ctx, c, id, "other-requestor", ErrUnknown)
	}
	return r, nil
}
