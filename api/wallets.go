package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
)

// Accounts keeps wallets and their accounts. Each method authorises and records
// before it acts.
type Accounts interface {
	Open(ctx context.Context, c access.Caller, o account.Opening) (account.Wallet, error)
	Get(ctx context.Context, c access.Caller, id token.WalletID) (account.Wallet, error)
	Bind(ctx context.Context, c access.Caller, id token.WalletID, ref token.Ref, device token.DeviceID) error
	Close(ctx context.Context, c access.Caller, id token.WalletID, a access.Attempt) (account.Wallet, error)
	Balances(ctx context.Context, c access.Caller, id token.WalletID) (account.Balances, error)
	Taps(ctx context.Context, c access.Caller, id token.WalletID) ([]account.TapView, error)
	Happen(ctx context.Context, c access.Caller, id token.WalletID, h account.Happening) (account.Balances, error)
}

// Oversight is how operators watch over wallets and accounts. Each method authorises and
// records before it acts.
type Oversight interface {
	Risk(ctx context.Context, c access.Caller, id token.WalletID) (account.Risk, error)
	Cases(ctx context.Context, c access.Caller, wallet token.WalletID, before string, limit int) ([]account.Case, error)
	Recon(ctx context.Context, c access.Caller, day token.Day) (account.Recon, error)
	Restore(ctx context.Context, c access.Caller, id token.WalletID, reason string, a access.Attempt) (account.Wallet, error)
}

// Holders of wallets.
const (
	anonymous = "ANONYMOUS"
	realName  = "REAL_NAME"
)

// wallet reads the wallet of the path: an account bears its wallet's id.
func (q *request) wallet() (token.WalletID, error) {
	id := token.WalletID(q.param("wallet") + q.param("id"))
	if !id.Valid() {
		return "", account.ErrNoWallet
	}
	return id, nil
}

func (s *server) openWallet(ctx context.Context, q *request) (any, error) {
	var in wire.WalletRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	w, err := s.Accounts.Open(ctx, q.caller, account.Opening{Requestor: token.Requestor(in.Requestor), RealName: in.Holder == realName,
		Allowance: token.Amount(in.Allowance), Quota: token.Amount(in.Quota), Attempt: q.attempt})
	if err != nil {
		return nil, err
	}
	return withStatus{201, walletOut(w)}, nil
}

func (s *server) wallet(ctx context.Context, q *request) (any, error) {
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	w, err := s.Accounts.Get(ctx, q.caller, id)
	if err != nil {
		return nil, err
	}
	return walletOut(w), nil
}

func (s *server) bindToken(ctx context.Context, q *request) (any, error) {
	var in wire.WalletToken
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	ref, device := token.Ref(in.Ref), token.DeviceID(in.Device)
	if !ref.Valid() || !device.Valid() {
		return nil, &wire.FieldError{Path: "token_reference_id", Text: "or device_id names nothing"}
	}
	if err := s.Accounts.Bind(ctx, q.caller, id, ref, device); err != nil {
		return nil, err
	}
	return in, nil
}

func (s *server) restoreWallet(ctx context.Context, q *request) (any, error) {
	var in wire.WalletMove
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	w, err := s.Oversight.Restore(ctx, q.caller, id, in.Reason, q.attempt)
	if err != nil {
		return nil, err
	}
	return walletOut(w), nil
}

func (s *server) closeWallet(ctx context.Context, q *request) (any, error) {
	var in wire.WalletMove
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	w, err := s.Accounts.Close(ctx, q.caller, id, q.attempt)
	if err != nil {
		return nil, err
	}
	return walletOut(w), nil
}

func walletOut(w account.Wallet) wire.Wallet {
	out := wire.Wallet{ID: string(w.ID), Requestor: string(w.Requestor), State: string(w.State), Holder: anonymous, CardBound: w.Card,
		Allowance: uint32(w.Allowance), Quota: uint32(w.Quota), OpenedAt: w.OpenedAt.UTC(), ChangedAt: w.ChangedAt.UTC()}
	if w.RealName {
		out.Holder = realName
	}
	for _, h := range w.Holds {
		out.Reasons = append(out.Reasons, string(h))
	}
	return out
}

func (s *server) balances(ctx context.Context, q *request) (any, error) {
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	b, err := s.Accounts.Balances(ctx, q.caller, id)
	if err != nil {
		return nil, err
	}
	return balancesOut(b), nil
}

func balancesOut(b account.Balances) wire.Balances {
	return wire.Balances{Available: uint32(b.Available), Reserve: uint32(b.Reserve), Due: uint32(b.Due), Authority: uint32(b.Authority),
		Remaining: uint32(b.Remaining), Count: b.Count}
}

// happen posts an account event. Its own id makes it happen once.
func (s *server) happen(ctx context.Context, q *request) (any, error) {
	var in wire.AccountEvent
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	b, err := s.Accounts.Happen(ctx, q.caller, id, account.Happening{ID: in.ID, Kind: account.HappeningKind(in.Type), Amount: token.Amount(in.Amount)})
	if err != nil {
		return nil, err
	}
	return balancesOut(b), nil
}

func (s *server) walletTaps(ctx context.Context, q *request) (any, error) {
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	taps, err := s.Accounts.Taps(ctx, q.caller, id)
	if err != nil {
		return nil, err
	}
	out := wire.WalletTaps{Taps: make([]wire.WalletTap, len(taps))}
	for i, t := range taps {
		out.Taps[i] = wire.WalletTap{TapID: t.ID, Ref: string(t.Ref), Ctr: t.Ctr, At: t.At.UTC(), Amount: uint32(t.Amount),
			Terminal: t.Terminal, Outcome: string(t.Outcome), Status: t.Status, Slot: string(t.Slot)}
	}
	return out, nil
}

func (s *server) risk(ctx context.Context, q *request) (any, error) {
	id, err := q.wallet()
	if err != nil {
		return nil, err
	}
	r, err := s.Oversight.Risk(ctx, q.caller, id)
	if err != nil {
		return nil, err
	}
	out := wire.Risk{State: string(r.Wallet.State), Score: r.Score, WrongPINs: r.Wrong, Signals: make([]wire.Signal, len(r.Signals))}
	for i, f := range r.Signals {
		out.Signals[i] = wire.Signal{ID: f.ID, Kind: string(f.Kind), Severity: f.Severity(), Ref: string(f.Ref), Ctr: f.Ctr,
			Terminal: f.Terminal, At: f.At.UTC()}
	}
	return out, nil
}

// caseLetters begin the id of a case, so that nobody takes it for a number.
const caseLetters = "cs"

func (s *server) cases(ctx context.Context, q *request) (any, error) {
	wallet := token.WalletID(q.query["wallet"])
	if wallet != "" && !wallet.Valid() {
		return nil, &wire.FieldError{Path: "wallet", Text: "must be a wallet's id"}
	}
	cursor := q.query["cursor"]
	if cursor != "" && (len(cursor) != 34 || cursor[:2] != caseLetters) {
		return nil, badCursor()
	}
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	if cursor != "" {
		cursor = cursor[2:]
	}
	found, err := s.Oversight.Cases(ctx, q.caller, wallet, cursor, limit)
	if err != nil {
		return nil, err
	}
	out := wire.CaseList{Cases: make([]wire.Case, len(found))}
	for i, c := range found {
		out.Cases[i] = wire.Case{ID: caseLetters + c.ID, Kind: c.Kind, Severity: c.Severity, Wallet: string(c.Wallet), Ref: string(c.Ref),
			Ctr: c.Ctr, Terminal: c.Terminal, OpenedAt: c.Opened.UTC()}
	}
	if len(found) == limit {
		out.Next = caseLetters + found[limit-1].ID
	}
	return out, nil
}

func (s *server) recon(ctx context.Context, q *request) (any, error) {
	day, err := token.ParseDay(q.param("date"))
	if err != nil {
		return nil, at("date", err)
	}
	r, err := s.Oversight.Recon(ctx, q.caller, day)
	if err != nil {
		return nil, err
	}
	out := wire.Recon{From: r.From.UTC(), To: r.To.UTC(), Terminals: []wire.TerminalDay{}, Operators: []wire.OperatorDay{},
		Accounts: r.Accounts, Mismatches: []wire.Mismatch{}, Cases: r.OpenCases, Loads: []wire.HeldLoad{}}
	for _, t := range r.Terminals {
		out.Terminals = append(out.Terminals, wire.TerminalDay{Terminal: t.Terminal, Count: t.Count, Sum: uint64(t.Sum), First: t.First,
			Last: t.Last, Missing: t.Missing, Digest: t.Digest})
	}
	for _, o := range r.Operators {
		out.Operators = append(out.Operators, wire.OperatorDay(o))
	}
	for _, m := range r.Mismatches {
		out.Mismatches = append(out.Mismatches, wire.Mismatch(m))
	}
	for _, l := range r.Loads {
		out.Loads = append(out.Loads, wire.HeldLoad(l))
	}
	return out, nil
}
