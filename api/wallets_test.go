package api

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
)

const theWallet = "wlAAAAAAAAAAAAAAAAAAAAAAAAAA"

// accounts plays the service of wallets, as [backend] plays the others.
type accounts struct{ *backend }

// heard is what arrived there.
type heard struct {
	attempt        access.Attempt
	reason, cursor string
	limit          int
}

func (a accounts) wallet() account.Wallet {
	return account.Wallet{ID: theWallet, Requestor: "50120834693", State: account.WalletRestricted, Holds: []account.Hold{account.HoldPIN},
		RealName: true, Allowance: 5000, Quota: 20000, OpenedAt: now, ChangedAt: now}
}

func (a accounts) Open(_ context.Context, _ access.Caller, o account.Opening) (account.Wallet, error) {
	a.heard.attempt = o.Attempt
	w := a.wallet()
	w.RealName, w.Allowance = o.RealName, o.Allowance
	return w, a.act()
}

func (a accounts) Get(context.Context, access.Caller, token.WalletID) (account.Wallet, error) {
	return a.wallet(), a.act()
}

func (a accounts) Bind(context.Context, access.Caller, token.WalletID, token.Ref, token.DeviceID) error {
	return a.act()
}

func (a accounts) Restore(_ context.Context, _ access.Caller, _ token.WalletID, reason string, at access.Attempt) (account.Wallet, error) {
	a.heard.reason, a.heard.attempt = reason, at
	return a.wallet(), a.act()
}

func (a accounts) Close(_ context.Context, _ access.Caller, _ token.WalletID, at access.Attempt) (account.Wallet, error) {
	a.heard.attempt = at
	return a.wallet(), a.act()
}

func (a accounts) Balances(context.Context, access.Caller, token.WalletID) (account.Balances, error) {
	return account.Balances{Available: 1, Reserve: 2, Due: 3, Authority: 4, Remaining: 5, Count: 6}, a.act()
}

func (a accounts) Taps(context.Context, access.Caller, token.WalletID) ([]account.TapView, error) {
	return []account.TapView{{ID: "t1", Ref: "r1", Ctr: 7, At: now, Amount: 200, Outcome: account.Posted, Status: "MATCHED", Slot: account.SlotSettled}}, a.act()
}

func (a accounts) Risk(context.Context, access.Caller, token.WalletID) (account.Risk, error) {
	s := detect.New(detect.Fork, "r1", 7, [6]byte{1})
	return account.Risk{Wallet: a.wallet(), Score: 9, Wrong: 2, Signals: []account.Finding{{Signal: s, Wallet: theWallet, At: now}}}, a.act()
}

func (a accounts) Happen(_ context.Context, _ access.Caller, _ token.WalletID, h account.Happening) (account.Balances, error) {
	a.heard.reason = h.ID + " " + string(h.Kind)
	return account.Balances{Available: h.Amount}, a.act()
}

func (a accounts) Cases(_ context.Context, _ access.Caller, _ token.WalletID, before string, limit int) ([]account.Case, error) {
	a.heard.cursor, a.heard.limit = before, limit
	return []account.Case{{ID: strings.Repeat("0a", 16), Kind: "FORK", Severity: 3, Wallet: theWallet, Ref: "r1", Ctr: 7, Opened: now}}, a.act()
}

func (a accounts) Recon(_ context.Context, _ access.Caller, day token.Day) (account.Recon, error) {
	a.heard.reason = day.String()
	return account.Recon{From: now, To: now, Terminals: []account.TerminalDay{{Count: 1, Sum: 200, First: 1, Last: 3, Missing: 1}},
		Operators: []account.OperatorDay{{Operator: "gate-7", Records: 200, Posted: 200}}, Accounts: map[string]int64{"AVAILABLE": 1},
		Mismatches: []account.Mismatch{{What: "wallet", Name: theWallet, Want: 1}}, OpenCases: 1,
		Loads: []account.HeldLoad{{ID: load1, Want: 1, Found: 2}}}, a.act()
}

// TestWallets: what a request says arrives, and what the service says is answered.
func TestWallets(t *testing.T) {
	e := newEdge(t)
	answer := func(route string, into any) *httptest.ResponseRecorder {
		t.Helper()
		s := find(t, route)
		r := e.do(s, s.request())
		if err := json.Unmarshal(r.Body.Bytes(), into); err != nil || r.Code != s.status {
			t.Errorf("%s: %d %s", route, r.Code, r.Body)
		}
		return r
	}
	var w wire.Wallet
	answer("/v1/wallets", &w)
	if w.ID != theWallet || w.Holder != "REAL_NAME" || w.Allowance != 5000 || e.back.heard.attempt.Key != "k1" {
		t.Errorf("%+v", w)
	}
	var b wire.Balances
	answer("/v1/accounts/{id}/events", &b)
	if b.Available != 5000 || e.back.heard.reason != "e1 TOP_UP" {
		t.Errorf("%+v, %s", b, e.back.heard.reason)
	}
	var c wire.CaseList
	answer("/v1/cases", &c)
	if len(c.Cases) != 1 || c.Next != c.Cases[0].ID || e.back.heard.limit != 1 {
		t.Errorf("%+v", c)
	}
	s := find(t, "/v1/cases")
	s.path = "/v1/cases?cursor=" + c.Next
	if r := e.do(s, s.request()); r.Code != 200 || e.back.heard.cursor != strings.Repeat("0a", 16) {
		t.Errorf("%d, %q", r.Code, e.back.heard.cursor)
	}
	var recon wire.Recon
	answer("/v1/recon/{date}", &recon)
	if e.back.heard.reason != "2026-07-24" || recon.Terminals[0].Missing != 1 || recon.Mismatches[0].What != "wallet" || recon.Loads[0] != (wire.HeldLoad{ID: load1, Want: 1, Found: 2}) {
		t.Errorf("%+v", recon)
	}
	for path, status := range map[string]int{"/v1/wallets/r1": 404, "/v1/wallets/r1/balances": 404, "/v1/recon/today": 400, "/v1/cases?cursor=pARMB3P74NDHD5GRHF6PRDZ2ZF4": 400, "/v1/cases?wallet=r1": 400} {
		s := sample{"GET", path, "", "", status}
		if r := e.do(s, s.request()); r.Code != status {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
	for body, status := range map[string]int{`{"token_reference_id":"r1","device_id":"d1"}`: 400, `{"device_id":"d1"}`: 400} {
		s := find(t, "/v1/wallets/{wallet}/tokens")
		s.body = body
		if r := e.do(s, s.request()); r.Code != status {
			t.Errorf("%s: %d %s", body, r.Code, r.Body)
		}
	}
}
