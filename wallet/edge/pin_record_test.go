package edge_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/pin"
)

// deleting deletes no token of which the record does not say so.
type deleting struct{ *rig }

func (d deleting) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	return d.tokens.Token(ctx, ref)
}

func (d deleting) Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error) {
	if !slices.Contains(d.trail.deleted(), ref) {
		return token.Token{}, errors.New("moved before it is recorded")
	}
	return d.tokens.Move(ctx, ref, from, v, at)
}

// deleted lists tokens that the record says are deleted with a PIN.
func (r *trail) deleted() (refs []token.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.Action == access.TokenManage && e.Outcome == audit.Allowed && e.Caller.ID == "service:pin" && strings.HasPrefix(e.Reason, "deleted with") {
			refs = append(refs, token.Ref(e.Object))
		}
	}
	return refs
}

// failing is a recorder that keeps nothing of what is deleted.
type failing struct{ *trail }

func (f failing) Record(ctx context.Context, e audit.Entry) error {
	if e.Action == access.TokenManage {
		return errCut
	}
	return f.trail.Record(ctx, e)
}

// TestChangeRecordsWhatItDeletes: every token that goes with a PIN is in the record
// before it goes, that of the wallet and the one that follows it, once each; none
// goes while nothing can be recorded.
func TestChangeRecordsWhatItDeletes(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	next := r.successor(t, p.token.Ref)
	cfg, a := r.pcfg, attempt("change")
	cfg.Gate = audit.Gate{Recorder: failing{r.trail}}
	if _, err := r.pin(t, cfg).Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: a}); !errors.Is(err, errCut) {
		t.Errorf("what cannot be recorded: %v", err)
	}
	if got, err := r.tokens.Token(t.Context(), p.token.Ref); err != nil || got.State == token.Deleted {
		t.Errorf("deleted and not recorded: %s, %v", got.State, err)
	}
	cfg = r.pcfg
	cfg.Tokens = deleting{r}
	for range 2 {
		if epoch, err := r.pin(t, cfg).Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: a}); err != nil || epoch != 2 {
			t.Fatalf("epoch %d, %v", epoch, err)
		}
	}
	for _, ref := range []token.Ref{p.token.Ref, next.Ref} {
		if got, err := r.tokens.Token(t.Context(), ref); err != nil || got.State != token.Deleted {
			t.Errorf("%s is %s, %v", ref, got.State, err)
		}
	}
	if got := r.trail.deleted(); !slices.Equal(got, []token.Ref{p.token.Ref, next.Ref}) {
		t.Errorf("recorded are %v", got)
	}
}

// reading counts how often a token is read.
type reading struct {
	*rig
	n int
}

func (r *reading) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	r.n++
	return r.tokens.Token(ctx, ref)
}

func (r *reading) Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error) {
	return r.tokens.Move(ctx, ref, from, v, at)
}

// TestChangeReadsEachTokenOnce: a PIN is changed though the wallet's token was renewed day by
// day for long: each is read once, not once for every one before it.
func TestChangeReadsEachTokenOnce(t *testing.T) {
	const days = 30
	r := newRig(t)
	p := r.phone(t, walletA)
	ref := p.token.Ref
	for range days {
		ref = r.successor(t, ref).Ref
		r.accounts.bound[ref] = walletA
	}
	read, cfg := &reading{rig: r}, r.pcfg
	cfg.Tokens = read
	choice := pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("change")}
	if epoch, err := r.pin(t, cfg).Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), choice); err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if read.n != days+1 {
		t.Errorf("%d tokens were read %d times", days+1, read.n)
	}
	if got, err := r.tokens.Token(t.Context(), ref); err != nil || got.State != token.Deleted {
		t.Errorf("the last is %s, %v", got.State, err)
	}
}

// torn is a vault in which one token cannot be read.
type torn struct {
	*rig
	ref token.Ref
}

func (v torn) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	if ref == v.ref {
		return token.Token{}, errCut
	}
	return v.tokens.Token(ctx, ref)
}

func (v torn) Move(ctx context.Context, ref token.Ref, from token.State, verb token.Verb, at time.Time) (token.Token, error) {
	return v.tokens.Move(ctx, ref, from, verb, at)
}

// TestChangeDeletesWhatCanBeRead: of a wallet's tokens one cannot be read. Whoever knows the
// PIN before pays with none of the others once it was changed, and the change goes on to
// wait for the one.
func TestChangeDeletesWhatCanBeRead(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	refs := []token.Ref{p.token.Ref}
	for range 2 {
		p.bind(t)
		refs = append(refs, p.token.Ref)
	}
	choice := pin.Choice{PIN: p.sealed(t, otherPIN), Attempt: attempt("change")}
	for i, ref := range refs[:2] { // the second one is deleted by then
		cfg := r.pcfg
		cfg.Tokens = torn{r, ref}
		if _, err := r.pin(t, cfg).Change(t.Context(), caller, walletA, p.sealed(t, goodPIN), choice); !errors.Is(err, errCut) {
			t.Fatalf("one that cannot be read: %v", err)
		}
		for _, other := range refs {
			got, err := r.tokens.Token(t.Context(), other)
			if err != nil || (got.State == token.Deleted) != (other != ref || i > 0) {
				t.Errorf("%s is %s while %s cannot be read, %v", other, got.State, ref, err)
			}
		}
	}
	if epoch, err := r.pins.Epoch(t.Context(), walletA); err != nil || epoch != 2 {
		t.Errorf("epoch %d, %v", epoch, err)
	}
}

// successor renews a token for the day after it.
func (r *rig) successor(t *testing.T, ref token.Ref) token.Token {
	t.Helper()
	old, err := r.tokens.Token(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	o := r.vault.Order(t, 1)
	o.Renews, o.Revision, o.NotBefore, o.NotAfter = old.Ref, old.Revision, old.NotAfter, old.NotAfter.Add(24*time.Hour)
	next, err := r.tokens.Renew(t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return next
}
