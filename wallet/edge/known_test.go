package edge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// TestNotItsOwn: a sync is of the device that it names, and of a token that the device's own
// wallet has, also where one key was enrolled twice, and where a token of another wallet was
// bound to the device.
func TestNotItsOwn(t *testing.T) {
	r := newRig(t)
	p, other := r.phone(t, walletA), r.phone(t, walletB)
	refused := func(what string, device token.DeviceID, ref token.Ref, reason string) {
		t.Helper()
		q, err := p.Sync(ref)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Sync(t.Context(), caller, device, q.Signed)
		if !errors.Is(err, wallet.ErrRefused) || r.trail.last() != reason {
			t.Errorf("%s: %+v, %v, recorded as %q", what, a.Bundle, err, r.trail.last())
		}
	}
	wrap, sign, err := p.Keys()
	if err != nil {
		t.Fatal(err)
	}
	twin, err := r.devices.Enrol(t.Context(), caller, enrol.Request{Wallet: walletA, WrapKey: wrap, SignKey: sign, Attestation: r.attested()})
	if err != nil {
		t.Fatal(err)
	}
	r.accounts.device[p.token.Ref] = twin.ID
	refused("for a device with the same key", twin.ID, p.token.Ref, "device-id")
	r.accounts.device[other.token.Ref] = p.id
	refused("for a token of another wallet", p.id, other.token.Ref, "foreign-token")
	r.accounts.device[p.token.Ref] = p.id
	p.sync(t)
}

// TestFailedStaysFailed: what nobody vouched for in a day is worth tier B at most, and a phone
// that failed is worth nothing for that.
func TestFailedStaysFailed(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	if _, err := r.devices.Lower(t.Context(), p.id, enrol.TierC, enrol.Detected); err != nil {
		t.Fatal(err)
	}
	r.vault.Clock.Add(25 * time.Hour)
	p.bind(t)
	if a := p.sync(t); a.Bundle != nil || a.Tier != enrol.TierC {
		t.Errorf("%d slots in tier %s", a.Bundle.Slots, a.Tier)
	}
	if err := r.devices.Distrust(t.Context(), walletA, p.id); err != nil { // there is no tier below
		t.Error(err)
	}
	if _, err := r.devices.Attest(t.Context(), caller, p.id, failed(r.attested())); err != nil {
		t.Fatal(err)
	}
	if err := r.devices.Distrust(t.Context(), walletA, p.id); err != nil {
		t.Error(err)
	}
	if d, err := r.devices.Device(t.Context(), p.id); err != nil || d.Tier != enrol.TierC {
		t.Errorf("tier %s, %v", d.Tier, err)
	}
}

func failed(a enrol.Attestation) enrol.Attestation {
	a.Verdict = enrol.Failed
	return a
}

// TestTokenThatLivesTooLong: a token that lives longer than the tier of its device allows is
// given no slots.
func TestTokenThatLivesTooLong(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	for days, slots := range map[int]int{1: 10, 2: 0} {
		tok := p.bind(t)
		end := tok.NotBefore.AddDate(0, 0, days)
		tok, err := r.tokens.Change(t.Context(), token.Change{Ref: tok.Ref, From: tok.State, Verb: token.Update, At: r.vault.Clock.Now(),
			Set: token.Attributes{NotAfter: &end}, Expiry: tok.Expiry}, "", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if a := p.sync(t); a.Bundle != nil {
			n = a.Bundle.Slots
		}
		if n != slots {
			t.Errorf("%v: %d slots", tok.NotAfter.Sub(tok.NotBefore), n)
		}
	}
}

// TestIsToldToThrowAway: the phone of a closed wallet, and one that has come to tier C, is told
// to throw away what it holds.
func TestIsToldToThrowAway(t *testing.T) {
	r := newRig(t)
	for name, end := range map[string]func(p *phone) error{
		"closed": func(p *phone) error { r.accounts.wallets[p.wallet] = account.WalletClosed; return nil },
		"tier C": func(p *phone) error {
			_, err := r.devices.Lower(t.Context(), p.id, enrol.TierC, enrol.Detected)
			return err
		},
	} {
		w, err := newWallet(r)
		if err != nil {
			t.Fatal(err)
		}
		p, a := r.blank(t, w), r.attested()
		a.Leaf = leafOf(w)
		p.enrol(t, a)
		p.setPIN(t, goodPIN)
		p.bind(t)
		p.sync(t)
		if err := end(p); err != nil {
			t.Fatal(err)
		}
		if a := p.sync(t); len(a.Scripts) != 1 || p.Count(p.token.Ref) != 0 || a.Bundle != nil {
			t.Errorf("%s: %d scripts, %d slots left", name, len(a.Scripts), p.Count(p.token.Ref))
		}
	}
}

// TestTokenOverMeanwhile: where a token was suspended, or came to its end, after its slots
// were granted, the phone's sync is answered without them, and the phone gets on.
func TestTokenOverMeanwhile(t *testing.T) {
	for name, end := range map[string]func(r *rig, tok token.Token) error{
		"suspended": func(r *rig, tok token.Token) error {
			_, err := r.tokens.Move(t.Context(), tok.Ref, tok.State, token.Suspend, r.vault.Clock.Now())
			return err
		},
		"over": func(r *rig, tok token.Token) error { r.vault.Clock.Set(tok.NotAfter); return nil },
	} {
		r := newRig(t)
		p := r.phone(t, walletA)
		wcfg, ecfg := r.wcfg, r.cfg
		wcfg.Granted = &cutting{Granted: walletdb.New(r.db)}
		var err error
		if ecfg.Bundles, err = wallet.New(wcfg); err != nil {
			t.Fatal(err)
		}
		if _, err := p.ask(t, r.with(t, ecfg)); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		if err := end(r, p.token); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, err := p.ask(t, r.Service)
		if err != nil || a.Bundle != nil || a.Grant == nil {
			t.Errorf("%s: %+v, %v", name, a.Bundle, err)
		}
	}
}

// TestTermsOfItsTier: the account is told what a device's tier allows, and the key version
// that issues at the moment.
func TestTermsOfItsTier(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	if _, err := r.devices.Lower(t.Context(), p.id, enrol.TierB, enrol.Detected); err != nil {
		t.Fatal(err)
	}
	c := r.cfg
	c.Version = func() byte { return 2 }
	r.accounts.wallets[walletA] = account.WalletRestricted // which is given no slots
	if _, err := p.ask(t, r.with(t, c)); err != nil {
		t.Fatal(err)
	}
	want := enrol.DefaultTiers()[enrol.TierB]
	if got := r.accounts.terms; got.Limit != want.Limit || got.Ceiling != want.Ceiling || len(got.Layout) != len(want.Layout) || got.KeyVersion != 2 {
		t.Errorf("%+v", got)
	}
}
