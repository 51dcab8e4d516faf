package edge_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// TestFirstDay takes a phone from enrolment to its second bundle.
func TestFirstDay(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	a := p.sync(t)
	if a.Bundle == nil || a.Bundle.Slots != 10 || a.Bundle.Hardware == "" || a.Tier != enrol.TierA || p.Count(p.token.Ref) != 10 {
		t.Fatalf("%+v", a)
	}
	if _, err := p.pay(t, 300); !errors.Is(err, errPhone) {
		t.Errorf("it pays without a PIN: %v", err)
	}
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := p.pay(t, 300)
		if err != nil {
			t.Fatal(err)
		}
		if !p.tacGood(t, got) {
			t.Error("the right PIN gives a wrong TAC")
		}
		c := got.shown.Credential
		if c.Tier() != credential.TierA || !c.OfflineOK() || c.Limit != 10000 || c.MaxTap != 1000 {
			t.Errorf("credential: tier %d, limit %d", c.Tier(), c.Limit)
		}
		if err := got.shown.Proof.Verify(c, got.ud); err != nil {
			t.Errorf("device proof: %v", err)
		}
	}
	if _, err := p.pay(t, 300); !errors.Is(err, errPhone) {
		t.Error("a fourth tap in one window")
	}
	if got := p.Remaining(p.token.Ref); got != 9100 || p.Count(p.token.Ref) != 7 {
		t.Errorf("the phone counts %d fen and %d slots", got, p.Count(p.token.Ref))
	}
	id, mac, ok := p.Ack(p.token.Ref)
	if _, err := r.bundles.Ack(t.Context(), caller, p.token.Ref, id, mac[:]); err != nil || !ok {
		t.Errorf("acknowledging: %v", err)
	}
	a = p.sync(t)
	if len(a.Decisions) != 3 || a.Bundle == nil || a.Bundle.Slots != 3 || a.Bundle.CtrFirst != 11 || p.Count(p.token.Ref) != 10 {
		t.Errorf("second sync: %d decisions, %+v", len(a.Decisions), a.Bundle)
	}
	used := 0
	for _, h := range r.accounts.heard {
		if h.Status == account.ReportUsed {
			used++
			if h.Tap == nil || h.Tap.Amount != 300 || h.Tap.Number.Digits() != p.token.Number.Digits() {
				t.Errorf("report of slot %d: %+v", h.Ctr, h.Tap)
			}
		}
	}
	if used != 3 {
		t.Errorf("%d taps were reported", used)
	}
}

// TestWrongPINPasses: at a reader a wrong PIN shows in nothing but the TAC,
// which only the service can check.
func TestWrongPINPasses(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	if err := p.EnterPIN("482916"); err != nil {
		t.Fatal(err)
	}
	got, err := p.pay(t, 300)
	if err != nil {
		t.Fatal(err)
	}
	if p.tacGood(t, got) {
		t.Error("a wrong PIN gives the right TAC")
	}
}

func TestRefused(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	stranger := r.blank(t, walletB)
	stranger.enrol(t, r.attested())
	stranger.setPIN(t, otherPIN)
	loose := r.blank(t, walletA)
	loose.enrol(t, r.attested())
	q, err := p.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	unbound, err := p.Sync("tok-that-is-none")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		device, jws, reason string
	}{
		"unknown device":      {"dvZZZZZZZZZZZZZZZZZZZZZZZZZZ", q.Signed, "unknown-device"},
		"no device id":        {"", q.Signed, "unknown-device"},
		"another device":      {string(stranger.id), q.Signed, "signature"},
		"another's token":     {string(stranger.id), foreign.Signed, "foreign-token"},
		"an unbound token":    {string(p.id), unbound.Signed, "unbound-token"},
		"device in name only": {string(loose.id), q.Signed, "signature"},
	} {
		_, err := r.Sync(t.Context(), caller, tokenDevice(tc.device), tc.jws)
		if !errors.Is(err, wallet.ErrRefused) || r.trail.last() != tc.reason {
			t.Errorf("%s: %v, recorded as %s", name, err, r.trail.last())
		}
	}
	p.PINChanged(9)
	p.PINChanged(9)
	if _, err := p.ask(t, r.Service); !errors.Is(err, wallet.ErrRefused) || r.trail.last() != "pin-epoch" {
		t.Errorf("another epoch: %v, %s", err, r.trail.last())
	}
}

// TestTierFalls: verdicts that phones bring can lower a device, time does, and
// what it may have falls with it.
func TestTierFalls(t *testing.T) {
	r := newRig(t)
	for name, tc := range map[string]struct {
		do    func(p *phone)
		slots int
		tier  enrol.Tier
	}{
		"fresh":           {func(*phone) {}, 10, enrol.TierA},
		"attested again":  {func(p *phone) { r.vault.Clock.Add(25 * time.Hour); r.again(t, p) }, 10, enrol.TierA},
		"its own word":    {func(p *phone) { r.vault.Clock.Add(25 * time.Hour); p.Vouched("TRUSTED", r.vault.Clock.Now()) }, 5, enrol.TierA},
		"a day ago":       {func(*phone) { r.vault.Clock.Add(24 * time.Hour) }, 10, enrol.TierA},
		"not vouched for": {func(*phone) { r.vault.Clock.Add(25 * time.Hour) }, 5, enrol.TierA},
		"untrusted":       {func(p *phone) { p.Vouched("UNTRUSTED", r.vault.Clock.Now()) }, 5, enrol.TierB},
		"failed":          {func(p *phone) { p.Vouched("FAILED", r.vault.Clock.Now()) }, 0, enrol.TierC},
		"old patch": {func(p *phone) {
			r.vault.Clock.Set(time.Date(2027, 3, 2, 4, 0, 0, 0, time.UTC))
		}, 5, enrol.TierB},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := newWallet(r)
			if err != nil {
				t.Fatal(err)
			}
			p := r.blank(t, w)
			a := r.attested()
			a.Leaf = leafOf(w)
			p.enrol(t, a)
			p.setPIN(t, goodPIN)
			tc.do(p)
			p.bind(t)
			got := p.sync(t)
			n := 0
			if got.Bundle != nil {
				n = got.Bundle.Slots
			}
			if n != tc.slots || got.Tier != tc.tier {
				t.Errorf("%d slots in tier %s", n, got.Tier)
			}
			d, err := r.devices.Device(t.Context(), p.id)
			if err != nil || d.Tier != tc.tier {
				t.Errorf("stored as tier %s (%v)", d.Tier, err)
			}
		})
		r.vault.Clock.Set(time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC))
	}
}

// again attests a phone anew, as its wallet server does with what the platform says now.
func (r *rig) again(t *testing.T, p *phone) {
	t.Helper()
	d, err := r.devices.Device(t.Context(), p.id)
	if err == nil {
		a := d.Attestation
		a.At = r.vault.Clock.Now()
		_, err = r.devices.Attest(t.Context(), caller, p.id, a)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestVerdictOfBefore: a verdict that a phone brings lowers it until its wallet server attests it
// by what the platform says later, though the phone goes on saying what it was told before, or
// repeats a sync. A later one lowers it again.
func TestVerdictOfBefore(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	tier := func(what string, want enrol.Tier) {
		t.Helper()
		p.bind(t)
		got := p.sync(t)
		d, err := r.devices.Device(t.Context(), p.id)
		if err != nil || got.Tier != want || d.Tier != want || slices.Contains(d.Reasons, enrol.Integrity) == (want == enrol.TierA) {
			t.Errorf("%s: answered as tier %s, kept as %s for %v, %v", what, got.Tier, d.Tier, d.Reasons, err)
		}
	}
	for _, verdict := range []string{"UNTRUSTED", "FAILED"} {
		low := map[string]enrol.Tier{"UNTRUSTED": enrol.TierB, "FAILED": enrol.TierC}[verdict]
		r.vault.Clock.Add(time.Minute)
		p.Vouched(verdict, r.vault.Clock.Now())
		tier(verdict, low)
		r.vault.Clock.Add(time.Minute)
		r.again(t, p)
		tier(verdict+", attested anew", enrol.TierA)
		p.Vouched(verdict, r.vault.Clock.Now())
		tier(verdict+" at the same time", low)
		r.vault.Clock.Add(time.Minute)
		r.again(t, p)
		tier(verdict+", attested again", enrol.TierA)
	}
}

// TestSuspendedIsTold: a suspended wallet gets an order that empties the phone.
func TestSuspendedIsTold(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	r.accounts.wallets[walletA] = account.WalletSuspended
	a := p.sync(t)
	if len(a.Scripts) != 1 || p.Count(p.token.Ref) != 0 || a.Bundle != nil {
		t.Errorf("%d scripts, %d slots left", len(a.Scripts), p.Count(p.token.Ref))
	}
	if got := p.sync(t); len(got.Scripts) != 1 {
		t.Errorf("%d scripts", len(got.Scripts))
	}
	discarded := 0
	for _, h := range r.accounts.heard {
		if h.Status == account.ReportDiscarded {
			discarded++
		}
	}
	if discarded != 10 {
		t.Errorf("%d slots reported as thrown away", discarded)
	}
}

// TestWalletlessRouteRefusesBound: slots of a wallet's token have to be paid for.
func TestWalletlessRouteRefusesBound(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	wrap, _, err := p.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.bundles.Bundle(t.Context(), caller, p.token.Ref, wrap, attempt("k")); !errors.Is(err, wallet.ErrRefused) || r.trail.last() != "bound-token" {
		t.Errorf("%v, %s", err, r.trail.last())
	}
}
