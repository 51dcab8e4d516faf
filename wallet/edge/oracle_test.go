package edge_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/pin"
)

// uniform fails unless err is the one refusal, in its one text.
func uniform(t *testing.T, name string, err error) {
	t.Helper()
	if !errors.Is(err, wallet.ErrRefused) || fault.KindOf(err) != fault.Refused || fault.Text(err) != fault.Text(wallet.ErrRefused) {
		t.Errorf("%s: %v", name, err)
	}
}

// TestProof20PINOracle: the service is asked for a PIN over and over. It judges
// five guesses between two right ones, wherever they are made, and refuses all
// that does not hold in one way, after the same work.
func TestProof20PINOracle(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	var stretched atomic.Int32
	cfg := r.pcfg
	cfg.Stretch = func(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret { stretched.Add(1); return cheap(p, salt) }
	pins := r.pin(t, cfg)
	ask := func(w token.WalletID, sealed string) error {
		stretched.Store(0)
		_, err := pins.Verify(t.Context(), caller, w, sealed)
		if n := stretched.Load(); n != 1 {
			t.Errorf("%d PINs were stretched", n)
		}
		return err
	}
	other := r.blank(t, walletB)
	for name, tc := range map[string]struct {
		w      token.WalletID
		sealed string
		reason string
	}{
		"no such wallet":       {"wlCCCCCCCCCCCCCCCCCCCCCCCCCC", p.sealed(t, goodPIN), "wallet"},
		"a wallet without PIN": {walletB, other.sealed(t, goodPIN), "no-pin"},
		"sealed for another":   {walletA, other.sealed(t, goodPIN), "sealed"},
		"nothing sealed":       {walletA, "a.b.c.d.e", "sealed"},
		"a wrong PIN":          {walletA, p.sealed(t, otherPIN), "wrong-pin"},
	} {
		if uniform(t, name, ask(tc.w, tc.sealed)); r.trail.last() != tc.reason && tc.reason != "wallet" {
			t.Errorf("%s: recorded as %s", name, r.trail.last())
		}
	}
	if err := ask(walletA, p.sealed(t, goodPIN)); err != nil {
		t.Fatalf("the right PIN after one wrong: %v", err)
	}
	// Two wrong windows at terminals leave three tries here.
	r.vault.Clock.Add(time.Minute)
	r.accounts.windows[walletA] = []time.Time{r.vault.Clock.Now(), r.vault.Clock.Now().Add(10 * time.Minute)}
	for i, want := range []account.WalletState{account.WalletRestricted, account.WalletRestricted, account.WalletSuspended} {
		uniform(t, "wrong", ask(walletA, p.sealed(t, digits(100*i+482))))
		if got := r.accounts.wallets[walletA]; got != want {
			t.Errorf("after %d wrong PINs of both kinds: %s", i+3, got)
		}
	}
	uniform(t, "the right PIN, too late", ask(walletA, p.sealed(t, goodPIN)))
	if r.trail.last() != "no-tries" {
		t.Errorf("recorded as %s", r.trail.last())
	}
	// The other ways to have a PIN judged share the count.
	_, err := pins.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("late")})
	uniform(t, "change", err)
	_, err = pins.Set(t.Context(), caller, walletA, pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("again")})
	uniform(t, "a second first PIN", err)
	// Only an operator lets a new one be set.
	uniform(t, "reset by a wallet", pins.AllowReset(t.Context(), caller, walletA))
	if err := pins.AllowReset(t.Context(), operator, walletA); err != nil {
		t.Fatal(err)
	}
	if epoch, err := pins.Set(t.Context(), caller, walletA, pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("reset")}); err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if err := ask(walletA, p.sealed(t, otherPIN)); err != nil {
		t.Errorf("the new PIN: %v", err)
	}
}

// counting counts the tries that are given out.
type counting struct {
	pin.Tries
	given atomic.Int32
}

func (c *counting) Take(ctx context.Context, w token.WalletID, limit int) (bool, error) {
	ok, err := c.Tries.Take(ctx, w, limit)
	if ok {
		c.given.Add(1)
	}
	return ok, err
}

// TestGuessesAtOnce: asking many times at the same time gives no more tries.
func TestGuessesAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	c := &counting{Tries: r.pcfg.Tries}
	cfg := r.pcfg
	cfg.Tries = c
	pins := r.pin(t, cfg)
	var wg sync.WaitGroup
	for i := range 30 {
		sealed := p.sealed(t, digits(907_000+i))
		wg.Go(func() {
			if _, err := pins.Verify(t.Context(), caller, walletA, sealed); !errors.Is(err, wallet.ErrRefused) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := c.given.Load(); n != pin.MaxTries {
		t.Errorf("%d of 30 guesses were judged", n)
	}
}

// TestHSMFailureCostsNoTry: a PIN that could not be judged is no wrong one.
func TestHSMFailureCostsNoTry(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	cfg := r.pcfg
	cfg.Keys = deafHSM{r.pcfg.Keys}
	broken := r.pin(t, cfg)
	for range 2 * pin.MaxTries {
		if _, err := broken.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
	}
	if _, err := r.pins.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); err != nil {
		t.Errorf("the right PIN: %v", err)
	}
}

// forgetful are tries that a right PIN does not bring back.
type forgetful struct{ pin.Tries }

func (forgetful) Clear(context.Context, token.WalletID, time.Time) error { return errCut }

// TestRightPINCostsNoTry: a right PIN of which nobody can note that it was given, as the
// database or a second clock went away while it was stretched, is no wrong one. A holder who
// tries again until it is back is let in.
func TestRightPINCostsNoTry(t *testing.T) {
	for name, breaks := range map[string]func(*pin.Config){
		"what cannot be forgotten": func(c *pin.Config) { c.Tries = forgetful{c.Tries} },
		"without a second clock":   func(c *pin.Config) { c.Sure = func(context.Context) (time.Time, error) { return time.Time{}, errCut } },
	} {
		r := newRig(t)
		p := r.phone(t, walletA)
		cfg := r.pcfg
		breaks(&cfg)
		broken := r.pin(t, cfg)
		for range 2 * pin.MaxTries {
			if _, err := broken.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); !errors.Is(err, errCut) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, err := r.pins.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); err != nil {
			t.Errorf("%s: the right PIN afterwards: %v", name, err)
		}
		// What was wrong before is not forgotten by what failed.
		for i := range pin.MaxTries {
			_, err := r.pins.Verify(t.Context(), caller, walletA, p.sealed(t, digits(907_000+i)))
			uniform(t, name, err)
			if _, err := broken.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); i+1 < pin.MaxTries && !errors.Is(err, errCut) {
				t.Fatalf("%s, after %d wrong: %v", name, i+1, err)
			}
		}
		_, err := r.pins.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN))
		uniform(t, name, err)
	}
}

// TestBusy: PINs that would wait too long are told to come back.
func TestBusy(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	hold, entered := make(chan struct{}), make(chan struct{}, 1)
	cfg := r.pcfg
	cfg.Parallel, cfg.Waiting = 1, 1
	cfg.Stretch = func(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret {
		entered <- struct{}{}
		<-hold
		return cheap(p, salt)
	}
	pins := r.pin(t, cfg)
	sealed := p.sealed(t, goodPIN)
	var wg sync.WaitGroup
	first := make(chan error, 3)
	for range 3 { // one stretches, one waits, one is sent away
		wg.Go(func() { _, err := pins.Verify(t.Context(), caller, walletA, sealed); first <- err })
	}
	<-entered
	if err := <-first; !errors.Is(err, pin.ErrBusy) {
		t.Errorf("the third: %v", err)
	}
	close(hold)
	wg.Wait()
	for range 2 {
		if err := <-first; err != nil {
			t.Error(err)
		}
	}
}
