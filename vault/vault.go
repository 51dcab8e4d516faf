// Package vault keeps the mapping between tokens and card numbers, sealed at
// rest.
//
// A card number is sealed by the HSM (AES-256-GCM) and found by an HMAC-SHA256 of it. A
// token number is not stored at all: a row keeps a serial in a range, and FF1 (NIST SP
// 800-38G) under the range's key permutes serials into numbers. So the database alone
// shows neither.
//
// Rights are split over types that whoever assembles the service hands out separately: a
// [Reader] looks, a [Writer] also issues and moves, and only an [Opener] gives back a
// card number. A [Rewrapper] brings rows under newer keys, and a [Porter] takes the whole
// vault out and in again.
//
// What a method has changed is durable when it returns nil. When it returns an error
// that is no refusal, the change may have happened all the same.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/internal/store"
)

// Errors of this package. Those of the database and the HSM come through, wrapped.
var (
	// ErrNotFound reports a reference or number that names no token.
	ErrNotFound = fault.New(fault.TokenUnknown, "no such token")
	// ErrConflict reports a compare-and-swap that found something else: nothing happened.
	ErrConflict      = fault.New(fault.TokenState, "the token is not in the state it was expected to be in")
	ErrCardIsToken   = fault.New(fault.CardIsToken, "the number given as a card number lies in a token range")
	ErrNoRange       = fault.New(fault.NoRange, "no token range for card numbers of this length")
	ErrExhausted     = fault.New(fault.RangeExhausted, "no number is left in the token ranges of this length")
	ErrCountersSpent = fault.New(fault.CounterSpent, "no counters are left under this token")
	ErrCardUnknown   = fault.New(fault.CardUnknown, "no token was made for a card of this number")
	ErrCardKnown     = fault.New(fault.CardKnown, "the new number is that of a card with a payment account reference of its own")
	ErrCardReplaced  = fault.New(fault.CardReplaced, "the card of this number was replaced by another")
	ErrCardLength    = fault.New(fault.Malformed, "the new card number must have as many digits as the old one")
)

// Sealer is what the vault asks of the HSM. It is safe for concurrent use.
type Sealer interface {
	// Seal enciphers and authenticates plaintext and returns all that Unseal needs. aad
	// is authenticated too, and has to be the same for Unseal.
	Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error)
	Unseal(ctx context.Context, ref keyref.Ref, sealed, aad []byte) ([]byte, error)
	// HMAC returns the HMAC-SHA256 of msg.
	HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	// Random fills b.
	Random(ctx context.Context, b []byte) error
}

// Keys are the versions that new rows are made with. A version of 0 means 1.
// Rows remember theirs, so older ones stay readable as long as the HSM holds
// their keys.
type Keys struct{ Seal, Index, PAR, RangeKEK uint8 }

// minQuarantine is how long evidence of taps is taken (30 days) and a day: a
// number must not come back while its last holder can still be paid for.
const minQuarantine = 31 * 24 * time.Hour

// Config is what a [Vault] is made of. DB, HSM and BINController are required.
type Config struct {
	DB         *store.DB // migrated
	HSM        Sealer
	Keys       Keys
	Ranges     []Range     // where new numbers come from, in the order they are used up
	CardRanges []CardRange // where cards have their numbers: no token range may touch them
	// BINController is the four upper-case letters or digits that payment
	// account references begin with, as EMVCo assigns them.
	BINController string
	Quarantine    time.Duration    // after a token's window, before its number may come back; 0: 45 days
	LeaseBlock    int64            // serials leased at a time; 0: 256
	Events        Events           // nil: nobody is told
	Log           *slog.Logger     // of rows that cannot be read and are passed over; nil: none
	Now           func() time.Time // nil: time.Now
	// Sure is the moment that has come by every clock there is: a process whose clock
	// is ahead neither ends tokens of others nor gives out numbers that rest. Nil: Now.
	Sure func(ctx context.Context) (time.Time, error)
	Rand io.Reader // names of cards and of this process; nil: crypto/rand
}

var binController = regexp.MustCompile(`^[0-9A-Z]{4}$`)

func (c Config) withDefaults() (Config, error) {
	if c.DB == nil || c.HSM == nil || !binController.MatchString(c.BINController) {
		return c, errors.New("opening the vault: a database, an HSM and a BIN controller of 4 characters are required")
	}
	if c.Quarantine == 0 {
		c.Quarantine = 45 * 24 * time.Hour
	}
	if c.Quarantine < minQuarantine {
		return c, errors.New("opening the vault: quarantine must be 31 days or more")
	}
	if c.LeaseBlock <= 0 {
		c.LeaseBlock = 256
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
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, v := range []*uint8{&c.Keys.Seal, &c.Keys.Index, &c.Keys.PAR, &c.Keys.RangeKEK} {
		*v = max(*v, 1)
	}
	return c, nil
}

// Refs lists the keys that the HSM must hold.
func (k Keys) Refs() []keyref.Ref {
	return []keyref.Ref{
		{Usage: keyref.PANSeal, Version: max(k.Seal, 1)},
		{Usage: keyref.PANIndex, Version: max(k.Index, 1)},
		{Usage: keyref.PARKey, Version: max(k.PAR, 1)},
		{Usage: keyref.RangeKEK, Version: max(k.RangeKEK, 1)},
	}
}

// Vault is an open vault. It is safe for concurrent use.
type Vault struct {
	cfg      Config
	instance string // names this process in leases
	ranges   numberings
	indexes  indexVersions
	reading  reading
	making   *gather.Gatherer[ordered, made]
	unread   atomic.Uint64 // rows that were passed over
}

// Unreadable is how often a stored row was passed over because it cannot be read.
func (v *Vault) Unreadable() uint64 { return v.unread.Load() }

// passOver tells the operator of rows that cannot be read.
func passOver[name ~string](ctx context.Context, v *Vault, what, kind string, names []name) {
	v.unread.Add(uint64(len(names)))
	v.cfg.Log.ErrorContext(ctx, what, kind, names)
}

// Open reads the token ranges, makes those that the configuration adds, and
// unwraps their keys. It refuses a configured range that differs from the
// stored one, and ranges in which two numbers, or a number and a card, would
// look the same to a key.
func Open(ctx context.Context, cfg Config) (*Vault, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	v := &Vault{cfg: cfg}
	v.reading, v.making = v.readers(), v.makers()
	if v.instance, err = v.name(); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	if err := v.loadRanges(ctx); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	if err := v.learnIndexes(ctx); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	return v, nil
}

// name draws 128 random bits, in hex.
func (v *Vault) name() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(v.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("drawing a name: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// Close hands back the serials that this process leased and did not use. It
// does not close the database.
func (v *Vault) Close(ctx context.Context) error {
	var errs []error
	for _, n := range v.ranges.all() {
		errs = append(errs, v.handBack(ctx, n))
	}
	return errors.Join(errs...)
}
