package account_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// spoil changes rows as no program does.
func (l *walletLab) spoil(statement string, args ...any) {
	l.t.Helper()
	if err := l.db.Tx(l.t.Context(), func(tx *gorm.DB) error { return tx.Exec(statement, args...).Error }); err != nil {
		l.t.Fatal(err)
	}
}

// TestUnreadableSlotHoldsNoOther: a slot that cannot be read holds back no money but its
// own token's, and no signal.
func TestUnreadableSlotHoldsNoOther(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	bad, badTok, _ := l.ready()
	l.broken.down = true // what follows from the fork is left to the sweep
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 }))
	l.broken.down = false
	l.spoil("UPDATE slots SET ud = ? WHERE token_ref = ?", make([]byte, 9), string(badTok.Ref))
	l.vault.Clock.Add(50 * time.Hour)
	for range 2 {
		if _, err := l.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), string(badTok.Ref)) {
			t.Errorf("the token that fails is not told of: %v", err)
		}
	}
	b, err := l.Balances(t.Context(), bank, w)
	if err != nil || b.Reserve != 0 {
		t.Errorf("%d are still held, %v", b.Reserve, err)
	}
	if got := l.wallet(w).State; got != account.WalletSuspended {
		t.Errorf("after a fork: %s", got)
	}
	var held int64
	if err := l.db.Read(t.Context()).Raw("SELECT reserve FROM wallet_balances WHERE wallet = ?", string(bad)).Scan(&held).Error; err != nil || held != 10000 {
		t.Errorf("of the token that fails %d are held, %v", held, err)
	}
}

// panicky is a vault that panics at one token.
type panicky struct {
	account.Tokens
	at token.Ref
}

func (p *panicky) Token(ctx ctx, ref token.Ref) (token.Token, error) {
	if ref == p.at {
		panic("no such thing")
	}
	return p.Tokens.Token(ctx, ref)
}

// TestSignalsThatFailHoldUpNoOther: however many signals cannot be acted on, by errors or
// panics, a wallet whose slot paid twice is suspended, and uploads are answered.
func TestSignalsThatFailHoldUpNoOther(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	_, badTok, badSlots := l.ready()
	l.broken.Tokens = &panicky{l.broken.Tokens, badTok.Ref}
	for i := range 250 { // of wallets that nobody knows
		l.spoil("INSERT INTO signals (id, kind, severity, wallet, token_ref, ctr, terminal, found_at, handled) VALUES (?, 'FORK', 3, 'wlX', 'trX', 0, ?, ?, ?)",
			fmt.Sprintf("%032d", i), make([]byte, 6), i, false)
	}
	fork := func(tok token.Token, ud credential.UD) {
		t.Helper()
		l.one(l.ride(tok, ud))
		l.one(l.ride(tok, ud, func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 }))
	}
	fork(badTok, badSlots[0])
	fork(tok, slots[0])
	l.stands("behind signals that fail", w, tok.Ref, account.WalletSuspended, token.ByRisk)
	if _, err := l.Redo(t.Context()); err == nil {
		t.Error("nobody is told of signals that fail")
	}
}

// TestSignalsThatFailKeepNoOtherFromSyncing: a phone is answered though signals of other
// wallets cannot be acted on; one whose own cannot has to wait, and is given nothing.
func TestSignalsThatFailKeepNoOtherFromSyncing(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	bad, badTok, badSlots := l.ready()
	l.broken.down = true // no token can be suspended
	l.one(l.ride(badTok, badSlots[0]))
	l.one(l.ride(badTok, badSlots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 }))
	if got := l.sync(w, tok.Ref, tierA, words(slots)...); got.Result != account.SyncClean || got.State != account.WalletActive {
		t.Errorf("a wallet of which nothing was found: %+v", got)
	}
	if got, err := l.Sync(t.Context(), phone, l.request(bad, badTok.Ref, tierA, words(badSlots)...)); err == nil {
		t.Errorf("the wallet of the signal: %+v", got)
	}
	l.broken.down = false
	if got := l.sync(bad, badTok.Ref, tierA, words(badSlots)...); got.State != account.WalletSuspended || got.Grant != nil {
		t.Errorf("the wallet of the signal, once it can be acted on: %+v", got)
	}
}

// TestWrongPINsThatWait: wrong PINs that were recorded, and not acted on because so much of
// other wallets came before, give their phone no new slots.
func TestWrongPINsThatWait(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	other, _, _ := l.ready()
	n := 0
	before := func() { // as much as one look acts on
		for range 100 {
			n++
			l.spoil("INSERT INTO signals (id, kind, severity, wallet, token_ref, ctr, terminal, found_at, handled) VALUES (?, 'PHONE_ONLY', 1, ?, 'trX', 0, ?, ?, ?)",
				fmt.Sprintf("%032d", n), string(other), make([]byte, 6), n, false)
		}
	}
	var taps []account.Tap
	for i := range 5 { // each typed anew
		at := l.vault.Clock.Now().Add(time.Duration(i-5) * 10 * time.Minute)
		taps = append(taps, wrong(l.ride(tok, slots[i], func(x *account.Tap) { x.At = cryptogram.DateTimeOf(at.In(shanghai)) })))
	}
	before()
	l.upload(taps...)
	if got := l.wallet(w).State; got != account.WalletActive {
		t.Fatalf("what came last was acted on: %s", got)
	}
	before()
	if got := l.sync(w, tok.Ref, tierA, words(slots, taps...)...); got.Grant != nil {
		t.Errorf("after five wrong PINs it was given %d slots: %+v", len(got.Grant.Slots), got)
	}
	if _, err := l.Redo(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.stands("in the end", w, tok.Ref, account.WalletSuspended, token.ByPINLock)
}
