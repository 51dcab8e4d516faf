// Package access answers one question: may this caller take this action?
package access

import "github.com/tapvault/tapvault/internal/fault"

// Role is who a caller is.
type Role string

// Roles.
const (
	Issuer   Role = "issuer"   // issuer backend, token requestor
	Terminal Role = "terminal" // reader or acquirer host
	Wallet   Role = "wallet"   // wallet server or handset
	Officer  Role = "officer"  // security officer
	Operator Role = "operator"
	Auditor  Role = "auditor"
)

// Roles lists every role.
var Roles = []Role{Issuer, Terminal, Wallet, Officer, Operator, Auditor}

// Action is one thing that can be asked for; its text is the OAuth scope that
// allows it.
type Action string

// Actions.
const (
	TokenRequest     Action = "tokens:request"
	TokenRead        Action = "tokens:read"
	TokenManage      Action = "tokens:manage" // suspend, resume, delete, change attributes
	TokenRenew       Action = "tokens:renew"
	TokenDecide      Action = "tokens:decide" // speak for the card's issuer
	TokenNotify      Action = "tokens:notify" // say how provisioning went
	CardReplace      Action = "cards:replace" // behind its tokens, whoever requested them
	PARRead          Action = "par:read"      // ask for a card's payment account reference
	Detokenize       Action = "detokenize"
	DetokenizeDirect Action = "detokenize:direct" // without a verification
	BundleCreate     Action = "bundles:create"    // and acknowledge
	TapUpload        Action = "taps:upload"
	TerminalRead     Action = "terminals:read"       // parameters for readers
	PurchaseMake     Action = "cryptograms:purchase" // MAC1 made, MAC2 checked
	TACVerify        Action = "cryptograms:tac"
	LoadHost         Action = "cryptograms:load" // load, unload, overdraft
	KeyRead          Action = "keys:read"
	EventRead        Action = "events:read" // what happened to tokens
	RangeRead        Action = "ranges:read" // how full the token ranges are
	AuditRead        Action = "audit:read"  // the audit record, and proofs of it

	ApprovalRequest Action = "approvals:request" // ask for others' approval, and take it back
	ApprovalDecide  Action = "approvals:decide"  // approve what others ask
	ApprovalRead    Action = "approvals:read"

	WalletManage   Action = "wallets:manage"     // open, close, bind tokens, restore
	WalletRead     Action = "wallets:read"       // balances, taps, risk
	WalletSync     Action = "wallets:sync"       // bring a phone and its account in step
	DeviceEnrol    Action = "devices:enrol"      // and raise or lower its tier by a new verdict
	PINManage      Action = "pins:manage"        // set, verify, change
	AccountPost    Action = "accounts:post"      // top-ups, web spending, cards bound and unbound
	CaseRead       Action = "cases:read"         // what detection found
	ReconRead      Action = "recon:read"         // reconciliation of a day
	DenyRead       Action = "denylist:read"      // deny list and terminal policy
	DenyManage     Action = "denylist:manage"    // order entries, switch things off
	TapAuthorize   Action = "taps:authorize"     // an online tap at a terminal
	CardLoad       Action = "cards:load"         // move money between an account and a physical card
	LoadRead       Action = "loads:read"         // orders to cards that wait for somebody
	LoadDecide     Action = "loads:decide"       // decide about them, which moves money
	ElementProvide Action = "elements:provision" // keys and scripts for secure elements
	ElementCarry   Action = "elements:carry"     // be the courier of scripts and receipts

	EMVVerify  Action = "emv:verify"  // cryptograms of EMV cards checked, and answered
	EMVExplain Action = "emv:explain" // why one does not hold
	EMVValues  Action = "emv:values"  // card verification values made
	EMVScript  Action = "emv:script"  // commands for cards enciphered and signed
	EMVToken   Action = "emv:token"   // cryptograms of tokens for purchases without a reader
)

// Actions lists every action.
var Actions = []Action{TokenRequest, TokenRead, TokenManage, TokenRenew, TokenDecide, TokenNotify, CardReplace,
	PARRead, Detokenize, DetokenizeDirect, BundleCreate, TapUpload, TerminalRead, PurchaseMake, TACVerify, LoadHost,
	KeyRead, EventRead, RangeRead, AuditRead, ApprovalRequest, ApprovalDecide, ApprovalRead, WalletManage, WalletRead, WalletSync, DeviceEnrol, PINManage, AccountPost, CaseRead,
	ReconRead, DenyRead, DenyManage, TapAuthorize, CardLoad, LoadRead, LoadDecide, ElementProvide, EMVVerify, EMVExplain, ElementCarry, EMVValues, EMVScript, EMVToken}

// roleActions is what a role can be given at all; scopes then narrow it.
var roleActions = map[Role][]Action{
	Issuer: {TokenRequest, TokenRead, TokenManage, TokenRenew, TokenDecide, TokenNotify, CardReplace, PARRead,
		Detokenize, DetokenizeDirect, PurchaseMake, TACVerify, LoadHost, EventRead, WalletManage, WalletRead, AccountPost,
		ApprovalRequest, ApprovalRead, CardLoad, CaseRead, EMVVerify, EMVExplain, EMVValues, EMVScript, EMVToken},
	Terminal: {TapUpload, TerminalRead, PurchaseMake, TACVerify, DenyRead, TapAuthorize, ElementCarry},
	Wallet: {BundleCreate, TokenRead, TokenRenew, TokenNotify, WalletManage, WalletRead, WalletSync, DeviceEnrol,
		PINManage, EventRead, ElementProvide, ElementCarry},
	Officer: {KeyRead, ApprovalRequest, ApprovalDecide, ApprovalRead},
	Operator: {TokenRead, TokenManage, TokenDecide, CardReplace, TACVerify, KeyRead, TerminalRead, EventRead, RangeRead,
		WalletManage, WalletRead, CaseRead, ReconRead, DenyRead, DenyManage, LoadRead, LoadDecide, EMVExplain, ApprovalRequest, ApprovalRead},
	Auditor: {ApprovalRead, KeyRead, TokenRead, EventRead, RangeRead, AuditRead, WalletRead, CaseRead, ReconRead, DenyRead, LoadRead},
}

// wide lists scopes that reach far: their holder is given card numbers, can make
// money or cards, or decides for others.
var wide = []Action{Detokenize, DetokenizeDirect, CardReplace, LoadHost, EMVValues, EMVScript, DenyManage, LoadDecide, ApprovalDecide}

// Wide reports whether a scope reaches far.
func Wide(a Action) bool { return contains(wide, a) }

// ErrDenied reports a caller who may not do what it asked.
var ErrDenied = fault.New(fault.Denied, "this caller may not do that")

// Caller is an identified caller. It is made at the edge and judged here.
type Caller struct {
	ID        string // client id
	Role      Role
	Scopes    []Action // granted; each one also has to belong to Role
	Requestor string   // Token Requestor ID, for issuers: they see only their own tokens
	Terminal  string   // terminal group, for terminals; empty: all of the operator's
}

// Attempt names one attempt of a write, so that asking again gives the first
// answer and never a second effect. The zero value asks for no such promise.
type Attempt struct {
	Key    string   // Idempotency-Key: 1 to 64 printable characters
	Digest [32]byte // HMAC over operation and body under a key of the service: the same key with another body is an error
}

// Allow returns nil when c may take action a, and [ErrDenied] otherwise.
func Allow(c Caller, a Action) error {
	if c.ID == "" || !contains(roleActions[c.Role], a) || !contains(c.Scopes, a) {
		return ErrDenied
	}
	return nil
}

// ForRole lists what a role can be given.
func ForRole(r Role) []Action { return append([]Action(nil), roleActions[r]...) }

func contains(as []Action, a Action) bool {
	for _, x := range as {
		if x == a {
			return true
		}
	}
	return false
}
