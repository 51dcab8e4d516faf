package account_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// dated gives a record a date and time as its reader wrote it.
func dated(at string) func(*account.Tap) {
	return func(x *account.Tap) {
		for k := range x.At {
			x.At[k] = (at[2*k]-'0')<<4 | (at[2*k+1] - '0')
		}
	}
}

// TestTerminalClocks: a reader whose clock is wrong has records refused that no token
// allows, and nothing else follows: nobody is held back and no money moves.
func TestTerminalClocks(t *testing.T) {
	const layout = "20060102150405"
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	now := l.vault.Clock.Now().In(shanghai)
	for i, c := range []struct {
		name, at string
		outcome  account.Outcome
		why      account.Reason
	}{
		{"right", now.Format(layout), account.Posted, ""},
		{"a day behind", now.AddDate(0, 0, -1).Format(layout), account.Rejected, account.OutsideWindow},
		{"a day ahead", now.AddDate(0, 0, 1).Format(layout), account.Rejected, account.OutsideWindow},
		{"a year behind", now.AddDate(-1, 0, 0).Format(layout), account.Rejected, account.OutsideWindow},
		{"a year ahead", now.AddDate(1, 0, 0).Format(layout), account.Rejected, account.OutsideWindow},
		{"1970", "19700101080000", account.Rejected, account.OutsideWindow},
		{"2038", "20380119111408", account.Rejected, account.OutsideWindow},
		{"year 0", "00000101000000", account.Rejected, account.OutsideWindow},
		{"year 9999", "99991231235959", account.Rejected, account.OutsideWindow},
		{"a leap second", now.Format(layout[:12]) + "60", account.Rejected, account.Malformed},
	} {
		l.want(c.name, l.one(l.ride(tok, slots[i%len(slots)], dated(c.at), func(x *account.Tap) { x.Rand[2] = byte(i) })), c.outcome, c.why)
	}
	if got := l.wallet(w).State; got != account.WalletActive || len(l.signals(w)) > 0 || len(l.tokenState(tok.Ref).Suspenders) > 0 {
		t.Errorf("%s, %v", got, l.signals(w))
	}
	if b := l.funds(w).Balances; b.Available+b.Reserve != 20000-200 {
		t.Errorf("%+v", b)
	}
	l.invariants()
}

// TestReaderAheadOfItsRecords: a reader whose clock is ahead uploads records before their
// own date. Their order and pace say nothing of the phone, in whatever order they come,
// together or one by one; those of readers whose clocks are right still do.
func TestReaderAheadOfItsRecords(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	for _, ahead := range []time.Duration{0, time.Hour} {
		for _, together := range []bool{false, true} {
			l := walletLabOn(t, storetest.New(t), keys)
			w, tok, slots := l.ready()
			var taps []account.Tap
			for i := range 6 { // every other at the reader that is ahead
				at, terminal := l.vault.Clock.Now().Add(time.Duration(20*i)*time.Second), byte(7)
				if i%2 == 0 {
					at, terminal = at.Add(ahead), 8
				}
				if ahead == 0 && i > 3 { // really out of order
					at = at.Add(-20 * time.Minute)
				}
				taps = append(taps, l.ride(tok, slots[i], func(x *account.Tap) {
					x.At, x.Terminal[5] = cryptogram.DateTimeOf(at.In(shanghai)), terminal
				}))
			}
			for len(taps) > 0 {
				n := 1
				if together {
					n = len(taps)
				}
				if _, err := l.Upload(t.Context(), gate, "gate-7", taps[:n]); err != nil {
					t.Fatal(err)
				}
				taps = taps[n:]
			}
			want := account.WalletActive
			if ahead == 0 {
				want = account.WalletRestricted
			}
			if got := l.wallet(w).State; got != want {
				t.Errorf("%v ahead, together %v: %s, %v", ahead, together, got, l.signals(w))
			}
		}
	}
}
