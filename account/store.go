package account

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/token"
)

// Binding says that a token belongs to a wallet and lives on a device.
type Binding struct {
	Wallet   token.WalletID
	Ref      token.Ref
	Device   token.DeviceID
	NotAfter time.Time // end of the token
}

// Wallets keeps wallets. Each change is durable on return, and all or nothing.
type Wallets interface {
	// Open makes a wallet once per attempt; a later try gets the first's.
	Open(ctx context.Context, caller string, a access.Attempt, w Wallet) (Wallet, error)
	// Wallet returns a wallet, or [ErrNoWallet].
	Wallet(ctx context.Context, id token.WalletID) (Wallet, error)
	// Change compares and swaps what fn makes of a wallet, once per attempt; fn may
	// be run again.
	Change(ctx context.Context, id token.WalletID, caller string, a access.Attempt, fn func(*Wallet)) (Wallet, error)
	// Bind may be repeated; [ErrBound] says that the token belongs elsewhere.
	Bind(ctx context.Context, b Binding) error
	// Bound returns the wallets of those of the tokens that have one.
	Bound(ctx context.Context, refs ...token.Ref) (map[token.Ref]token.WalletID, error)
	// Tokens lists the tokens of a wallet, newest first.
	Tokens(ctx context.Context, id token.WalletID) ([]Binding, error)
	// Funds returns what stands behind the wallet's slots, or [ErrNoWallet].
	Funds(ctx context.Context, id token.WalletID) (Funds, error)
}

// Finding is a signal that was kept.
type Finding struct {
	detect.Signal
	Wallet token.WalletID
	At     time.Time
}

// Case is what an operator has to look into. One against a terminal names no
// wallet.
type Case struct {
	ID       string
	Kind     string // of the signal that opened it: see [detect.Kind]
	Severity int    // 1 to 3: see [detect.Severities]
	Wallet   token.WalletID
	Ref      token.Ref
	Ctr      uint16 // the slot's counter
	Terminal [6]byte
	Opened   time.Time
}

// CaseQuery narrows a list of cases, newest first.
type CaseQuery struct {
	Wallet    token.WalletID  // "": of all
	Requestor token.Requestor // "": of all
	Before    string          // the id of a case that was listed last
	Limit     int
}

// Findings keeps what detection found until what follows from it is done.
type Findings interface {
	// Pending lists signals that were not concluded, oldest first, after one that it
	// listed before; the zero one: from the first on.
	Pending(ctx context.Context, after Finding, limit int) ([]Finding, error)
	// Conclude notes that what follows from a signal outside is done, has effect
	// change its wallet, and opens its case if it is to have one; once.
	Conclude(ctx context.Context, f Finding, effect func(*Wallet), open bool) error
	// WrongTaps lists the taps with a wrong PIN that a wallet made since then.
	WrongTaps(ctx context.Context, w token.WalletID, since time.Time) ([]WrongTap, error)
	// Cases lists cases, newest first.
	Cases(ctx context.Context, q CaseQuery) ([]Case, error)
}

// Word is what a phone says of all slots of a token.
type Word struct {
	Reports []Report
	At      time.Time // when it says so: no later than its own clock; zero: that clock is ahead, and nobody knows
	Heard   time.Time // when that first came, by the clock of the service
	PIN     time.Time // when the right PIN was last given online before it
}

// Syncs keeps syncs of phones, each answered once.
type Syncs interface {
	// BeginSync keeps that a sync came, and returns when it first did. When it was
	// answered before, that answer is returned as well. [ErrSyncReused] says that
	// its id stands for something else.
	BeginSync(ctx context.Context, r SyncRequest, at time.Time) (first time.Time, answer *Settlement, err error)
	// Told is Record with a phone's word on all slots of its token. Of records that
	// are new it takes no more than [MostWrong] with a bad TAC, counted since the
	// last right PIN; what comes after is refused, whatever its TAC.
	Told(ctx context.Context, ref token.Ref, w Word, evidence []Evidence, refusals []Refusal) ([]Result, error)
	// FinishSync answers a sync, with the slots and the reserve of a grant if it
	// leads to one; once.
	FinishSync(ctx context.Context, e SyncEnd) (Settlement, error)
}

// Postings is what happens to accounts beside taps and syncs.
type Postings interface {
	// Happen makes what happened take effect, once for each id, and returns what
	// stands behind the wallet then. [ErrHappeningReused] says that the id stands for
	// something else, [ErrHolds] and [ErrReserved] that the account cannot take or
	// give that.
	Happen(ctx context.Context, w token.WalletID, h Happening) (Funds, error)
	// Close ends a wallet, once per attempt, and pays out what is free; see
	// [Funds.Closes] for what holds it back.
	Close(ctx context.Context, w token.WalletID, caller string, a access.Attempt) (Wallet, error)
	// Release frees the reserve of slots of tokens that ended before then, and
	// Refund gives back what only phones said was paid. They return how many slots
	// changed. A token that fails holds up no other one, and its error is theirs.
	Release(ctx context.Context, endedBefore time.Time) (int, error)
	Refund(ctx context.Context, endedBefore time.Time) (int, error)
}

// Reports answers questions about accounts.
type Reports interface {
	// Taps lists the records of a wallet's slots, newest first.
	Taps(ctx context.Context, w token.WalletID, limit int) ([]TapView, error)
	// Signals lists what detection found of a wallet, newest first.
	Signals(ctx context.Context, w token.WalletID, limit int) ([]Finding, error)
	// Recon sums up the taps from one moment up to another, without the latter.
	Recon(ctx context.Context, from, to time.Time) (Recon, error)
}

// Book keeps wallets, and all that is known of their slots and money. Each part is for
// one side of this package; one store implements all of them, because they change
// together. It is safe for concurrent use.
type Book interface {
	Wallets
	Findings
	Syncs
	Postings
	Reports
	Marks
}

// Estate knows the terminals that take phones.
type Estate interface {
	// Uploaded returns the moment up to which every one of them has uploaded all
	// its taps, without a gap, or the zero time.
	Uploaded(ctx context.Context) (time.Time, error)
}
