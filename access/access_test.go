package access_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
)

// policy says, for every action, who can be given it.
var policy = map[access.Action][]access.Role{
	access.TokenRequest:     {access.Issuer},
	access.TokenRead:        {access.Issuer, access.Wallet, access.Operator, access.Auditor},
	access.TokenManage:      {access.Issuer, access.Operator},
	access.TokenRenew:       {access.Issuer, access.Wallet},
	access.TokenDecide:      {access.Issuer, access.Operator},
	access.TokenNotify:      {access.Issuer, access.Wallet},
	access.CardReplace:      {access.Issuer, access.Operator},
	access.PARRead:          {access.Issuer},
	access.Detokenize:       {access.Issuer},
	access.DetokenizeDirect: {access.Issuer},
	access.BundleCreate:     {access.Wallet},
	access.TapUpload:        {access.Terminal},
	access.TerminalRead:     {access.Terminal, access.Operator},
	access.PurchaseMake:     {access.Issuer, access.Terminal},
	access.TACVerify:        {access.Issuer, access.Terminal, access.Operator},
	access.LoadHost:         {access.Issuer},
	access.KeyRead:          {access.Officer, access.Operator, access.Auditor},
	access.EventRead:        {access.Issuer, access.Wallet, access.Operator, access.Auditor},
	access.RangeRead:        {access.Operator, access.Auditor},
	access.AuditRead:        {access.Auditor},
	access.ApprovalRequest:  {access.Issuer, access.Officer, access.Operator},
	access.ApprovalDecide:   {access.Officer},
	access.ApprovalRead:     {access.Issuer, access.Officer, access.Operator, access.Auditor},
	access.WalletManage:     {access.Issuer, access.Wallet, access.Operator},
	access.WalletRead:       {access.Issuer, access.Wallet, access.Operator, access.Auditor},
	access.WalletSync:       {access.Wallet},
	access.DeviceEnrol:      {access.Wallet},
	access.PINManage:        {access.Wallet},
	access.AccountPost:      {access.Issuer},
	access.CaseRead:         {access.Issuer, access.Operator, access.Auditor},
	access.ReconRead:        {access.Operator, access.Auditor},
	access.DenyRead:         {access.Terminal, access.Operator, access.Auditor},
	access.DenyManage:       {access.Operator},
	access.TapAuthorize:     {access.Terminal},
	access.CardLoad:         {access.Issuer},
	access.LoadRead:         {access.Operator, access.Auditor},
	access.LoadDecide:       {access.Operator},
	access.ElementProvide:   {access.Wallet},
	access.ElementCarry:     {access.Terminal, access.Wallet},
	access.EMVVerify:        {access.Issuer},
	access.EMVExplain:       {access.Issuer, access.Operator},
	access.EMVValues:        {access.Issuer},
	access.EMVScript:        {access.Issuer},
	access.EMVToken:         {access.Issuer},
}

func allow(t *testing.T, c access.Caller, a access.Action) {
	t.Helper()
	if err := access.Allow(c, a); err != nil {
		t.Errorf("%s %q with %v: %s is denied", c.Role, c.ID, c.Scopes, a)
	}
}

func deny(t *testing.T, c access.Caller, a access.Action) {
	t.Helper()
	if err := access.Allow(c, a); !errors.Is(err, access.ErrDenied) || fault.KindOf(err) != fault.Denied {
		t.Errorf("%s %q with %v: %s is allowed", c.Role, c.ID, c.Scopes, a)
	}
}

func TestPolicy(t *testing.T) {
	if len(policy) != len(access.Actions) {
		t.Fatalf("%d actions in the policy, %d exist", len(policy), len(access.Actions))
	}
	for _, a := range access.Actions {
		for _, r := range access.Roles {
			if slices.Contains(policy[a], r) {
				allow(t, access.Caller{ID: "x", Role: r, Scopes: []access.Action{a}}, a)
				allow(t, access.Caller{ID: "x", Role: r, Scopes: access.Actions}, a)
			} else {
				deny(t, access.Caller{ID: "x", Role: r, Scopes: access.Actions}, a)
			}
			deny(t, access.Caller{ID: "x", Role: r}, a) // no scope
			deny(t, access.Caller{Role: r, Scopes: access.Actions}, a)
			for _, other := range access.Actions {
				if other != a {
					deny(t, access.Caller{ID: "x", Role: r, Scopes: []access.Action{other}}, a)
				}
			}
		}
		deny(t, access.Caller{}, a)
		deny(t, access.Caller{ID: "x", Role: "root", Scopes: access.Actions}, a)
		deny(t, access.Caller{ID: "x", Scopes: access.Actions}, a)
	}
	deny(t, access.Caller{ID: "x", Role: access.Issuer, Scopes: []access.Action{"everything"}}, "everything")
	deny(t, access.Caller{ID: "x", Role: access.Issuer, Scopes: []access.Action{""}}, "")
}

func TestForRole(t *testing.T) {
	for _, r := range access.Roles {
		as := access.ForRole(r)
		for _, a := range access.Actions {
			if slices.Contains(as, a) != slices.Contains(policy[a], r) {
				t.Errorf("%s: %v", r, as)
			}
		}
		as[0] = "changed"
		if access.ForRole(r)[0] == "changed" {
			t.Error("the table can be changed from outside")
		}
	}
	if len(access.ForRole("root")) != 0 {
		t.Error("an unknown role can be given something")
	}
}
