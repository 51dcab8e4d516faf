package wire

import "time"

// WalletRequest is the body of POST /v1/wallets.
type WalletRequest struct {
	Requestor string `json:"token_requestor_id,omitempty"`  // absent: the caller's own
	Holder    string `json:"holder,omitempty"`              // ANONYMOUS, or REAL_NAME: then he can owe; absent: ANONYMOUS
	Allowance uint32 `json:"overdraft_allowance,omitempty"` // fen, up to 5000
	Quota     uint32 `json:"overdraft_quota,omitempty"`     // fen in any 30 days; 0: 20000
}

var walletRequest = table[WalletRequest]{
	{"token_requestor_id", may, func(d *decoder, v *WalletRequest) *FieldError { return digitText(d, &v.Requestor, 11, 11) }},
	{"holder", may, func(d *decoder, v *WalletRequest) *FieldError { return choice(d, &v.Holder, "ANONYMOUS", "REAL_NAME") }},
	{"overdraft_allowance", may, func(d *decoder, v *WalletRequest) *FieldError { return unsigned(d, &v.Allowance) }},
	{"overdraft_quota", may, func(d *decoder, v *WalletRequest) *FieldError { return unsigned(d, &v.Quota) }},
}

func (q *WalletRequest) read(d *decoder) *FieldError { return walletRequest.read(d, q) }

// Wallet is a wallet and its agreements.
type Wallet struct {
	ID        string    `json:"wallet_id"`
	Requestor string    `json:"token_requestor_id"`
	State     string    `json:"state"`             // ACTIVE, RESTRICTED, SUSPENDED, CLOSED
	Reasons   []string  `json:"reasons,omitempty"` // why it is held back: PIN, RISK, CHARGE
	Holder    string    `json:"holder"`            // ANONYMOUS or REAL_NAME
	CardBound bool      `json:"card_bound"`
	Allowance uint32    `json:"overdraft_allowance"`
	Quota     uint32    `json:"overdraft_quota"`
	OpenedAt  time.Time `json:"opened_at"`
	ChangedAt time.Time `json:"changed_at"` // when its state last changed
}

// WalletToken is the body of POST /v1/wallets/{wallet}/tokens.
type WalletToken struct {
	Ref    string `json:"token_reference_id"`
	Device string `json:"device_id"`
}

var walletToken = table[WalletToken]{
	{"token_reference_id", must, func(d *decoder, v *WalletToken) *FieldError { return name(d, &v.Ref, 64) }},
	{"device_id", must, func(d *decoder, v *WalletToken) *FieldError { return name(d, &v.Device, 64) }},
}

func (q *WalletToken) read(d *decoder) *FieldError { return walletToken.read(d, q) }

// WalletMove is the body of what is done to a wallet.
type WalletMove struct {
	Reason string `json:"reason,omitempty"`
}

var walletMove = table[WalletMove]{
	{"reason", may, func(d *decoder, v *WalletMove) *FieldError { return note(d, &v.Reason, 64) }},
}

func (q *WalletMove) read(d *decoder) *FieldError { return walletMove.read(d, q) }

// Balances are a wallet's accounts, in fen.
type Balances struct {
	Available uint32 `json:"available"`
	Reserve   uint32 `json:"reserve"`   // held for slots
	Due       uint32 `json:"due"`       // owed by the holder
	Authority uint32 `json:"authority"` // what slots can still cost
	Remaining uint32 `json:"remaining"` // what live slots can pay
	Count     int    `json:"count"`     // live slots
}

// AccountEvent is the body of POST /v1/accounts/{wallet}/events.
type AccountEvent struct {
	ID     string `json:"event_id"`
	Type   string `json:"type"`             // TOP_UP, WEB_SPEND, REFUND, CARD_BOUND, CARD_UNBOUND, CHARGE_FAILED
	Amount uint32 `json:"amount,omitempty"` // fen, of the first three
}

var accountEvent = table[AccountEvent]{
	{"event_id", must, func(d *decoder, v *AccountEvent) *FieldError { return name(d, &v.ID, 64) }},
	{"type", must, func(d *decoder, v *AccountEvent) *FieldError {
		return choice(d, &v.Type, "TOP_UP", "WEB_SPEND", "REFUND", "CARD_BOUND", "CARD_UNBOUND", "CHARGE_FAILED")
	}},
	{"amount", may, func(d *decoder, v *AccountEvent) *FieldError { return unsigned(d, &v.Amount) }},
}

func (q *AccountEvent) read(d *decoder) *FieldError { return accountEvent.read(d, q) }

// WalletTaps are the last taps of a wallet, newest first.
type WalletTaps struct {
	Taps []WalletTap `json:"taps"`
}

// WalletTap is one record of a slot.
type WalletTap struct {
	TapID    string    `json:"tap_id"`
	Ref      string    `json:"token_reference_id"`
	Ctr      uint16    `json:"ctr"`
	At       time.Time `json:"at"`
	Amount   uint32    `json:"amount"`
	Terminal Hex6      `json:"term_id"`
	Outcome  string    `json:"outcome"`
	Status   string    `json:"status,omitempty"` // MATCHED, TERM_ONLY, PHONE_ONLY, BURNED
	Slot     string    `json:"slot_state,omitempty"`
}

// Risk is what speaks against a wallet.
type Risk struct {
	State     string   `json:"state"`
	Score     int      `json:"score"`
	WrongPINs int      `json:"wrong_pins"`
	Signals   []Signal `json:"signals"`
}

// Signal is one sign of fraud.
type Signal struct {
	ID       string    `json:"signal_id"`
	Kind     string    `json:"kind"`
	Severity int       `json:"severity"`
	Ref      string    `json:"token_reference_id"`
	Ctr      uint16    `json:"ctr"`
	Terminal Hex6      `json:"term_id"`
	At       time.Time `json:"at"`
}

// Case is what an operator has to look into. Without a wallet it is against the
// terminal.
type Case struct {
	ID       string    `json:"case_id"`
	Kind     string    `json:"kind"`
	Severity int       `json:"severity"`
	Wallet   string    `json:"wallet_id,omitempty"`
	Ref      string    `json:"token_reference_id"`
	Ctr      uint16    `json:"ctr"`
	Terminal Hex6      `json:"term_id"`
	OpenedAt time.Time `json:"opened_at"`
}

// CaseList is a page of GET /v1/cases, newest first.
type CaseList struct {
	Cases []Case `json:"cases"`
	Next  string `json:"next_cursor,omitempty"`
}

// Recon is a day's reconciliation. Nothing in it is mended by itself.
type Recon struct {
	From       time.Time        `json:"from"`
	To         time.Time        `json:"to"`
	Terminals  []TerminalDay    `json:"terminals"`
	Operators  []OperatorDay    `json:"operators"`
	Accounts   map[string]int64 `json:"accounts"` // of the ledger, in fen, over all time
	Mismatches []Mismatch       `json:"mismatches"`
	Cases      int              `json:"cases"` // opened that day
	// Loads are the orders to cards that hold money in SUSPENSE, or should.
	Loads []HeldLoad `json:"loads"`
}

// HeldLoad is what one order to a card holds in SUSPENSE, in fen.
type HeldLoad struct {
	ID    string `json:"load_id"`
	Want  int64  `json:"want"`  // by the order's state
	Found int64  `json:"found"` // in the ledger
}

// TerminalDay is what one terminal recorded.
type TerminalDay struct {
	Terminal Hex6   `json:"term_id"`
	Count    int    `json:"count"`
	Sum      uint64 `json:"sum"`
	First    uint32 `json:"first_seq"`
	Last     uint32 `json:"last_seq"`
	Missing  int    `json:"missing"` // serials between them that nobody uploaded
	Digest   Hex32  `json:"digest"`  // SHA-256 over the tap ids in the order of serials
}

// OperatorDay is what one operator is owed for the taps of the day, in fen.
type OperatorDay struct {
	Operator string `json:"operator"`
	Records  int64  `json:"records"`
	Posted   int64  `json:"posted"`
	Unpaid   int64  `json:"unpaid"` // came too late, and the account was empty
}

// Mismatch is one thing that does not agree.
type Mismatch struct {
	What  string `json:"what"` // wallet, operator, ledger, slot, load, card_load
	Name  string `json:"name"`
	Want  int64  `json:"want"`
	Found int64  `json:"found"`
}
