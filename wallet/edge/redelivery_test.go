package edge_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/edge"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/pin"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

func pinOf(t testing.TB, digits string) mask.PIN {
	t.Helper()
	p, err := mask.ParsePIN([]byte(digits))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func digits(n int) string { return fmt.Sprintf("%06d", n) }

// purchaseOf is some purchase with a slot.
func purchaseOf(u credential.UD) cryptogram.Purchase {
	return cryptogram.Purchase{Rand: [4]byte{1, 2, 3, 4}, Seq: u.Ctr, Amount: 300, Type: cryptogram.PurchaseCAPP,
		Terminal: [6]byte{0, 0x11}, TermSeq: 77, At: cryptogram.DateTimeOf(time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC))}
}

// TestProof03Redelivery: asked again, the same bytes come; a change of the PIN
// shares no slot with what was before; no counter is in two bundles.
func TestProof03Redelivery(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	first, err := p.ask(t, r.Service)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := p.ask(t, r.Service)
		if err != nil || *again.Bundle != *first.Bundle {
			t.Fatalf("another bundle comes (%v)", err)
		}
	}
	p.told(t, first)
	old := p.token
	epoch, err := r.pins.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("change")})
	if err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if got, err := r.tokens.Token(t.Context(), old.Ref); err != nil || got.State != token.Deleted {
		t.Fatalf("the old token is %s (%v)", got.State, err)
	}
	p.PINChanged(epoch)
	if p.Count(old.Ref) != 0 {
		t.Error("the phone keeps slots of the PIN before")
	}
	fresh := p.bind(t)
	second := p.sync(t)
	if fresh.Number.Digits() == old.Number.Digits() || second.Bundle.ID == first.Bundle.ID || second.Bundle.PINEpoch != 2 {
		t.Error("the new bundle shares something with the old one")
	}
	if r.deriveFirst(t, old, first.Bundle.CtrFirst) == r.deriveFirst(t, fresh, second.Bundle.CtrFirst) {
		t.Error("a key was sealed under two PINs")
	}
	// The table itself refuses a counter that is in a bundle already.
	db := walletdb.New(r.db)
	twice := *second.Bundle
	twice.ID = "00000000000000000000000000000001"
	if _, err := db.Put(t.Context(), "w1", twice, r.vault.Clock.Now()); err == nil {
		t.Error("two bundles hold one counter")
	}
}

// deriveFirst is the first TAC key of a token, as the HSM derives it.
func (r *rig) deriveFirst(t testing.TB, tok token.Token, ctr uint16) [16]byte {
	t.Helper()
	u, err := credential.NewUD(tok.NotAfter, ctr, 1000, credential.Medium, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r.tacKey(t, tok, u)
}

// TestNewDeviceNeedsNewToken is the other half of R4: one token's slots are for
// one device and under one PIN.
func TestNewDeviceNeedsNewToken(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	next := r.blank(t, walletA)
	next.enrol(t, r.attested())
	next.PINChanged(1)
	next.token = p.token
	if _, err := next.ask(t, r.Service); !errors.Is(err, wallet.ErrRefused) || r.trail.last() != "foreign-token" {
		t.Errorf("%v, %s", err, r.trail.last())
	}
	r.accounts.device[p.token.Ref] = next.id // even when the account forgets
	if a, err := next.ask(t, r.Service); err == nil && a.Bundle != nil {
		t.Error("a token has slots on two devices")
	}
}

var errCut = errors.New("cut off")

// cutting is a service whose bundle is made but not stored, or stored but not
// answered: a process that is killed between.
type cutting struct {
	wallet.Granted
	after bool
	calls int
}

func (c *cutting) Put(ctx context.Context, caller string, b wallet.Bundle, at time.Time) (wallet.Bundle, error) {
	c.calls++
	if c.after {
		if _, err := c.Granted.Put(ctx, caller, b, at); err != nil {
			return wallet.Bundle{}, err
		}
	}
	return wallet.Bundle{}, errCut
}

// TestKilledBetweenGrantAndBundle: the phone repeats its sync, and gets the
// slots of the first try.
func TestKilledBetweenGrantAndBundle(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t)
		p := r.phone(t, walletA)
		cut := &cutting{Granted: walletdb.New(r.db), after: after}
		wcfg, ecfg := r.wcfg, r.cfg
		wcfg.Granted = cut
		broken, err := wallet.New(wcfg)
		if err != nil {
			t.Fatal(err)
		}
		ecfg.Bundles = broken
		if _, err := p.ask(t, r.with(t, ecfg)); !errors.Is(err, errCut) || cut.calls != 1 {
			t.Fatalf("after=%v: %v", after, err)
		}
		a := p.sync(t)
		if a.Bundle == nil || a.Bundle.CtrFirst != 1 || a.Bundle.Slots != 10 || p.Count(p.token.Ref) != 10 {
			t.Fatalf("after=%v: %+v", after, a.Bundle)
		}
		tok, err := r.tokens.Token(t.Context(), p.token.Ref)
		if err != nil || tok.CtrNext != 11 || tok.State != token.Delivered {
			t.Errorf("after=%v: next counter %d, %s (%v)", after, tok.CtrNext, tok.State, err)
		}
		if err := p.EnterPIN(goodPIN); err != nil {
			t.Fatal(err)
		}
		if got, err := p.pay(t, 300); err != nil || !p.tacGood(t, got) {
			t.Errorf("after=%v: the healed bundle does not pay: %v", after, err)
		}
	}
}

// TestTokenEndsSoonerMeanwhile: slots that were granted until the end of a token that ends
// sooner by now are in no bundle, which no phone could open: its sync is answered without,
// and so is the next one.
func TestTokenEndsSoonerMeanwhile(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	wcfg, ecfg := r.wcfg, r.cfg
	wcfg.Granted = &cutting{Granted: walletdb.New(r.db)}
	broken, err := wallet.New(wcfg)
	if err != nil {
		t.Fatal(err)
	}
	ecfg.Bundles = broken
	if _, err := p.ask(t, r.with(t, ecfg)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	tok, err := r.tokens.Token(t.Context(), p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	sooner := tok.NotAfter.Add(-2 * time.Hour)
	if _, err := r.tokens.Change(t.Context(), token.Change{Ref: tok.Ref, From: tok.State, Verb: token.Update, At: r.vault.Clock.Now(),
		Set: token.Attributes{NotAfter: &sooner}, Expiry: tok.Expiry}, "", attempt("sooner")); err != nil {
		t.Fatal(err)
	}
	first, err := p.Sync(tok.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if a := p.sync(t); a.Bundle != nil || p.Count(tok.Ref) != 0 {
		t.Errorf("%d slots until after the end of their token", p.Count(tok.Ref))
	}
	if next, err := p.Sync(tok.Ref); err != nil || next.ID == first.ID {
		t.Errorf("the phone is not done with that sync: %v", err)
	}
}

// TestOneSyncAtOnce: a phone that asks twice at the same time gets one bundle.
func TestOneSyncAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	q, err := p.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]edge.Answer, 6)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = r.Sync(t.Context(), caller, q.Device, q.Signed); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range got[1:] {
		if a.Bundle == nil || *a.Bundle != *got[0].Bundle {
			t.Fatal("two bundles of one sync")
		}
	}
}

// TestChangeIsFinished: a change of the PIN that was killed before its tokens
// were deleted is finished by whoever asks next.
func TestChangeIsFinished(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	cfg := r.pcfg
	cfg.Tokens = brokenTokens{r}
	broken := r.pin(t, cfg)
	a := attempt("change")
	if _, err := broken.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: a}); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if _, err := p.ask(t, r.Service); !errors.Is(err, wallet.ErrRefused) || r.trail.last() != "pin-epoch" {
		t.Errorf("a sync under the old PIN: %v, %s", err, r.trail.last())
	}
	if got, err := r.tokens.Token(t.Context(), p.token.Ref); err != nil || got.State != token.Deleted {
		t.Errorf("the token of the old PIN is %s (%v)", got.State, err)
	}
	// The attempt itself may be repeated, though its old PIN is none any more.
	if epoch, err := r.pins.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: a}); err != nil || epoch != 2 {
		t.Errorf("repeated: epoch %d, %v", epoch, err)
	}
}

type brokenTokens struct{ *rig }

func (b brokenTokens) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	return b.tokens.Token(ctx, ref)
}

func (brokenTokens) Move(context.Context, token.Ref, token.State, token.Verb, time.Time) (token.Token, error) {
	return token.Token{}, errCut
}
