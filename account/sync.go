package account

import (
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// WalletState is what a wallet may do.
type WalletState string

// States. RESTRICTED gives no new slots until an online PIN and a clean sync;
// SUSPENDED gives none until an operator restores it; CLOSED ends it.
const (
	WalletActive     WalletState = "ACTIVE"
	WalletRestricted WalletState = "RESTRICTED"
	WalletSuspended  WalletState = "SUSPENDED"
	WalletClosed     WalletState = "CLOSED"
)

// SlotKind is one slot of a bundle's layout.
type SlotKind struct {
	Class credential.Class
	Cap   token.Amount
}

// Terms are what a device's tier allows. They are given with each sync.
type Terms struct {
	Limit      token.Amount // caps of the live slots of one token, together
	Ceiling    token.Amount // [Funds.Authority] of all tokens of the wallet, together
	Layout     []SlotKind   // a full bundle, in the order of use
	KeyVersion byte         // of the slot masters
}

// ReportStatus is what a phone says of a slot it was given.
type ReportStatus string

// Statuses.
const (
	ReportLive      ReportStatus = "UNUSED_ACTIVE"
	ReportDiscarded ReportStatus = "DISCARDED" // still authority until it expires: a phone cannot prove that it forgot
	ReportUsed      ReportStatus = "USED"
)

// Report is a phone's word on one slot.
type Report struct {
	Ctr    uint16
	Status ReportStatus
	Tap    *Tap // of a used slot; opened by who calls
}

// SyncRequest is a phone's side of a sync. The caller has checked the device's
// signature over it, and has passed the gate.
type SyncRequest struct {
	Wallet   token.WalletID
	Ref      token.Ref // bound to the wallet
	ID       string    // names this sync: a repeated one is answered as the first was
	Digest   [32]byte  // over what the device signed: the same ID with other contents is an error
	Clock    time.Time // the phone's
	Reports  []Report
	PINEpoch uint32
	Terms    Terms
}

// SyncResult says how phone and account fit together.
type SyncResult string

// Results.
const (
	SyncClean         SyncResult = "CLEAN"
	SyncGaps          SyncResult = "GAPS"          // slots nobody accounts for: live ones stay, no new ones
	SyncContradiction SyncResult = "CONTRADICTION" // evidence against the phone's word
)

// Grant is a bundle that may be made. It is durable before it is answered, with
// its reserve held: making the bundle again from the same grant gives the same
// slots.
type Grant struct {
	BundleID string // 32 lower-case hex digits
	Ref      token.Ref
	Slots    []credential.UD // in the order of use; counters rise by one
	Held     token.Amount    // reserved for them
}

// Balances are a wallet's accounts, in fen.
type Balances struct {
	Available token.Amount // free to spend or to be reserved
	Reserve   token.Amount // held for slots
	Due       token.Amount // overdraft to be paid back
	Authority token.Amount // caps of all slots that can still cost them
	Remaining token.Amount // of the token in question: caps of its live slots
	Count     int          // its live slots
}

// Thresholds say when a phone should sync next: at the first of these.
type Thresholds struct {
	SlotsLeft int          // it has no more live slots than so many
	Remaining token.Amount // their caps come to no more than that
	Before    time.Time    // the token ends soon after; zero: there is no such moment
}

// Settlement is the answer to a sync.
type Settlement struct {
	Result    SyncResult
	Decisions []Result // one for each used report, in order
	State     WalletState
	Balances  Balances
	Grant     *Grant // nil: no new slots
	Next      Thresholds
}
