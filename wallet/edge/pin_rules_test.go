package edge_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/pin"
)

// TestResetTakesTokens: with a PIN that nobody knows any more go the tokens whose slots are
// masked with it, as with one that is changed, and its S is lent to nobody.
func TestResetTakesTokens(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	if err := r.pins.AllowReset(t.Context(), operator, walletA); err != nil {
		t.Fatal(err)
	}
	if epoch, err := r.pins.Set(t.Context(), caller, walletA, pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("reset")}); err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if got, err := r.tokens.Token(t.Context(), p.token.Ref); err != nil || got.State != token.Deleted {
		t.Errorf("the token of the PIN before is %s, %v", got.State, err)
	}
	for epoch, want := range map[uint32]error{1: wallet.ErrRefused, 2: nil, 3: wallet.ErrRefused} {
		lent := false
		err := r.pins.Lend(t.Context(), walletA, epoch, func(*mask.Secret) error { lent = true; return nil })
		if !errors.Is(err, want) || lent != (want == nil) {
			t.Errorf("epoch %d: lent %t, %v", epoch, lent, err)
		}
	}
}

// TestNonsenseCostsNoTry: what is no PIN for this wallet is no wrong one, however often it
// is sent: nobody locks a holder out with it.
func TestNonsenseCostsNoTry(t *testing.T) {
	r := newRig(t)
	p, other := r.phone(t, walletA), r.blank(t, walletB)
	for range pin.MaxTries {
		for _, sealed := range []string{"a.b.c.d.e", other.sealed(t, goodPIN)} {
			_, err := r.pins.Verify(t.Context(), caller, walletA, sealed)
			uniform(t, "nonsense", err)
		}
	}
	if _, err := r.pins.Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); err != nil {
		t.Errorf("the right PIN: %v", err)
	}
}

// away are accounts that do not answer.
type away struct {
	*accounts
	holder bool // only who holds a token is not told
}

func (a away) Open(ctx context.Context, c access.Caller, w token.WalletID) error {
	if a.holder {
		return a.accounts.Open(ctx, c, w)
	}
	return errCut
}

func (away) Holder(context.Context, token.Ref) (token.WalletID, token.DeviceID, error) {
	return "", "", errCut
}

// silent opens nothing, as an HSM that is away.
type silent struct{}

func (silent) Plain(context.Context, string) ([]byte, error) { return nil, errCut }

// TestOutageIsNoRefusal: while accounts or the HSM are away nobody is told that a PIN is wrong.
func TestOutageIsNoRefusal(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	for name, breaks := range map[string]func(*pin.Config){
		"accounts": func(c *pin.Config) { c.Accounts = away{r.accounts, false} },
		"the HSM":  func(c *pin.Config) { c.Opener = silent{} },
	} {
		cfg := r.pcfg
		breaks(&cfg)
		if _, err := r.pin(t, cfg).Verify(t.Context(), caller, walletA, p.sealed(t, goodPIN)); !errors.Is(err, errCut) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestSuccessorOfAnother: a token that follows one of the PIN before goes with it, unless
// another wallet has it, and not before it is known who has.
func TestSuccessorOfAnother(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	next := r.successor(t, p.token.Ref)
	r.accounts.bound[next.Ref] = walletB
	choice := pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("change")}
	cfg := r.pcfg
	cfg.Accounts = away{r.accounts, true}
	if _, err := r.pin(t, cfg).Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), choice); !errors.Is(err, errCut) {
		t.Errorf("while nobody says whose it is: %v", err)
	}
	if epoch, err := r.pins.Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), choice); err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if got, err := r.tokens.Token(t.Context(), next.Ref); err != nil || got.State != token.Requested {
		t.Errorf("another wallet's token is %s, %v", got.State, err)
	}
}
