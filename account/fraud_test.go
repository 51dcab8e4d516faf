package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// ready is a wallet with money and ten slots.
func (l *walletLab) ready() (token.WalletID, token.Token, []credential.UD) {
	l.t.Helper()
	w := l.open(20000, account.Opening{})
	tok := l.bind(w)
	s := l.sync(w, tok.Ref, tierA)
	if s.Grant == nil {
		l.t.Fatalf("%+v", s)
	}
	l.vault.Clock.Add(time.Hour)
	return w, tok, s.Grant.Slots
}

// state checks a wallet's state and who holds its token back.
func (l *walletLab) stands(name string, w token.WalletID, ref token.Ref, state account.WalletState, by ...token.Suspender) {
	l.t.Helper()
	got, tok := l.wallet(w), l.tokenState(ref)
	if got.State != state || !slices.Equal(tok.Suspenders, by) || (tok.State == token.Suspended) != (len(by) > 0) {
		l.t.Errorf("%s: the wallet is %s %v, its token %s by %v; found %v", name, got.State, got.Holds, tok.State, tok.Suspenders, l.signals(w))
	}
	l.invariants()
}

// TestProof02WrongPIN: what is typed wrongly counts once for each time it is
// typed, and only when the device's MAC is good. Five times suspend wallet and
// token; nobody without the device's keys can make it count.
func TestProof02WrongPIN(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	for i := range 40 { // strangers: bad MACs of all sorts, under a real token
		x := wrong(l.ride(tok, slots[i%10]))
		x.MAC2[i%4] ^= byte(1 + i)
		if r := l.one(x); r.Outcome != account.Rejected || r.Reason != account.Forged {
			t.Fatalf("%+v", r)
		}
	}
	l.stands("after strangers", w, tok.Ref, account.WalletActive)
	if n, err := l.WrongWindows(t.Context(), w, time.Time{}); n != 0 || err != nil {
		t.Errorf("strangers raised the count to %d, %v", n, err)
	}
	for i := range 2 { // two taps of one entry
		l.want("one entry", l.one(wrong(l.ride(tok, slots[i]))), account.Posted, account.WrongPIN)
		l.vault.Clock.Add(time.Minute)
	}
	if n, _ := l.WrongWindows(t.Context(), w, time.Time{}); n != 1 {
		t.Errorf("%d windows", n)
	}
	states := []account.WalletState{account.WalletActive, account.WalletRestricted, account.WalletRestricted}
	for i := range 3 {
		l.vault.Clock.Add(10 * time.Minute)
		l.one(wrong(l.ride(tok, slots[2+i])))
		l.stands("entry", w, tok.Ref, states[i])
	}
	// Restricted, it keeps its slots and is given no new ones.
	if s := l.sync(w, tok.Ref, tierA, words(slots[5:])...); s.Grant != nil || s.State != account.WalletRestricted {
		t.Errorf("%+v", s)
	}
	l.vault.Clock.Add(10 * time.Minute)
	l.one(wrong(l.ride(tok, slots[5])))
	l.stands("the fifth", w, tok.Ref, account.WalletSuspended, token.ByPINLock)
	if got := l.told(w); !slices.Equal(got, []string{"wallet.opened", "wallet.restricted", "wallet.suspended"}) {
		t.Errorf("%v", got)
	}
	// Rides were given, and are paid.
	if b := l.funds(w).Balances; b.Available+b.Reserve != 20000-6*200 {
		t.Errorf("%+v", b)
	}
	if _, err := l.Restore(t.Context(), operator, w, "re-attested", accessNone); err != nil {
		t.Error(err)
	}
	l.stands("restored", w, tok.Ref, account.WalletActive, token.ByPINLock)
}

// TestPINCounts: tries online share the count; a right PIN online ends it, and
// with a clean sync also the restriction; nine taps are too many in any case.
func TestPINCounts(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.pins.wrong = 2
	l.one(wrong(l.ride(tok, slots[0])))
	l.stands("two online, one tap", w, tok.Ref, account.WalletRestricted)
	l.vault.Clock.Add(10 * time.Minute)
	l.pins.wrong, l.pins.success = 0, l.vault.Clock.Now()
	l.vault.Clock.Add(time.Minute)
	if s := l.sync(w, tok.Ref, tierA, words(slots[1:])...); s.State != account.WalletActive || s.Grant == nil {
		t.Errorf("after a right PIN: %+v", s)
	}
	l.stands("after a right PIN", w, tok.Ref, account.WalletActive)
	for i := range 9 {
		l.vault.Clock.Add(time.Second)
		l.one(wrong(l.ride(tok, slots[1+i])))
		if n, _ := l.WrongWindows(t.Context(), w, l.pins.success); n != 1 {
			t.Fatalf("%d windows", n)
		}
	}
	l.stands("nine taps", w, tok.Ref, account.WalletSuspended, token.ByPINLock)
}

// TestReplayPaysNobodyLocksNobody: whoever hears a MAC2 and presents it at another
// terminal is not paid, and locks nobody, whichever record comes first.
func TestReplayPaysNobodyLocksNobody(t *testing.T) {
	for _, first := range []string{"the real one", "the copy"} {
		t.Run(first+" first", func(t *testing.T) {
			l := newWalletLab(t)
			w, tok, slots := l.ready()
			for i := range 8 { // more often than any PIN count bears
				real := l.ride(tok, slots[i])
				copied := real
				copied.Terminal, copied.TAC = [6]byte{6, 6, 6, 6, 6, 6}, [4]byte{byte(i), 1, 2, 3}
				order := []account.Tap{real, copied}
				if first == "the copy" {
					slices.Reverse(order)
				}
				for _, x := range order {
					if _, err := l.Upload(t.Context(), gate, "gate-7", []account.Tap{x}); err != nil {
						t.Fatal(err)
					}
				}
				l.vault.Clock.Add(6 * time.Minute)
			}
			l.stands("after eight copies", w, tok.Ref, account.WalletActive)
			if b := l.funds(w).Balances; b.Available+b.Reserve != 20000-8*200 || l.loss() != 0 {
				t.Errorf("%+v, %d lost", b, l.loss())
			}
			if n, _ := l.WrongWindows(t.Context(), w, time.Time{}); n != 0 {
				t.Errorf("copies count as %d wrong PINs", n)
			}
			cases, err := l.Cases(t.Context(), operator, "", "", 100)
			if err != nil || len(cases) != 8 {
				t.Fatalf("%+v, %v", cases, err)
			}
			for _, c := range cases {
				if c.Kind != string(detect.TerminalCopy) || c.Wallet != "" || c.Terminal != [6]byte{6, 6, 6, 6, 6, 6} {
					t.Errorf("%+v", c)
				}
			}
			if own, err := l.Cases(t.Context(), bank, "", "", 100); err != nil || len(own) != 0 {
				t.Errorf("the requestor is told of %+v, %v", own, err)
			}
		})
	}
}

// TestProof05LateAndSkew: forks in both orders, what the phone denied, how late is
// late, and clocks at the edge.
func TestProof05LateAndSkew(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	for _, reverse := range []bool{false, true} {
		l := walletLabOn(t, storetest.New(t), keys)
		w, tok, slots := l.ready()
		both := []account.Tap{l.ride(tok, slots[0]), l.ride(tok, slots[0], func(x *account.Tap) {
			x.Rand[3]++
			x.At = cryptogram.DateTimeOf(l.vault.Clock.Now().Add(10 * time.Minute).In(shanghai))
			x.Amount = 300
		})}
		if reverse {
			slices.Reverse(both)
		}
		for _, x := range both {
			l.one(x)
		}
		l.stands("a fork", w, tok.Ref, account.WalletSuspended, token.ByRisk)
		if b := l.funds(w).Balances; b.Available+b.Reserve != 20000-200 || l.loss() != 300 {
			t.Errorf("reversed %v: %+v, %d lost", reverse, b, l.loss())
		}
		if got := l.told(w); !slices.Equal(got, []string{"wallet.opened", "wallet.suspended", "case.opened"}) {
			t.Errorf("%v", got)
		}
		// A tap after the suspension is paid: the gate could not know yet.
		l.vault.Clock.Add(time.Minute)
		l.want("after the suspension", l.one(l.ride(tok, slots[1])), account.Posted, "")
		l.lists.current = 5
		l.want("with an old list", l.one(l.ride(tok, slots[2])), account.Rejected, account.TokenSuspended)
	}
	t.Run("denied", denied)
	t.Run("late", lateClasses)
	t.Run("skew", skew)
}

// denied: evidence of a slot that the phone said it had thrown away, or had not
// used then.
func denied(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	for _, status := range []account.ReportStatus{account.ReportDiscarded, account.ReportLive} {
		l := walletLabOn(t, storetest.New(t), keys)
		w, tok, slots := l.ready()
		x := l.ride(tok, slots[0])
		l.vault.Clock.Add(5 * time.Minute)
		said := words(slots)
		said[0].Status = status
		if s := l.sync(w, tok.Ref, tierA, said...); s.Result != account.SyncClean {
			t.Errorf("%+v", s)
		}
		l.want("its evidence", l.one(x), account.Posted, "")
		l.stands(string(status), w, tok.Ref, account.WalletSuspended, token.ByRisk)
		if got := l.signals(w); !slices.Contains(got, string(detect.Denied)) {
			t.Errorf("%v", got)
		}
		if s := l.sync(w, tok.Ref, tierA, said...); s.Result != account.SyncContradiction || s.Grant != nil || s.State != account.WalletSuspended {
			t.Errorf("%+v", s)
		}
	}
	// Used after it was said to be unused, it is used, and nothing is wrong.
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.sync(w, tok.Ref, tierA, words(slots)...)
	l.vault.Clock.Add(time.Minute)
	l.want("used afterwards", l.one(l.ride(tok, slots[0])), account.Posted, "")
	l.stands("used afterwards", w, tok.Ref, account.WalletActive)
	// A slot that the phone says nothing of is a gap: what lives stays, nothing new
	// is given, for a day.
	if s := l.sync(w, tok.Ref, tierA, words(slots[2:])...); s.Result != account.SyncGaps || s.Grant != nil || s.Balances.Count != 9 {
		t.Errorf("%+v", s)
	}
	if s := l.sync(w, tok.Ref, tierA, words(slots[1:])...); s.Result != account.SyncClean || s.Grant == nil {
		t.Errorf("%+v", s)
	}
}

// lateClasses: how long after the end of its token evidence is worth something.
func lateClasses(t *testing.T) {
	const day = 24 * time.Hour
	keys := hsmtest.New(t, hsmtest.Options{})
	for _, tc := range []struct {
		name    string
		after   time.Duration
		spent   bool // the released money is gone before
		named   bool // the holder can owe
		outcome account.Outcome
		reason  account.Reason
		b       ledger.Balances
	}{
		{"23 hours", 23 * time.Hour, false, false, account.Posted, "", ledger.Balances{Available: 800}},
		{"6 days", 6 * day, false, false, account.Posted, "", ledger.Balances{Available: 800}},
		{"6 days, spent", 6 * day, true, false, account.Posted, "", ledger.Balances{}},
		{"6 days, spent, by name", 6 * day, true, true, account.Posted, "", ledger.Balances{Due: 200}},
		{"29 days", 29 * day, false, false, account.Posted, account.LateManual, ledger.Balances{Available: 1000}},
		{"31 days", 31 * day, false, false, account.Rejected, account.Late, ledger.Balances{Available: 1000}},
	} {
		l := walletLabOn(t, storetest.New(t), keys)
		w := l.open(1000, account.Opening{RealName: tc.named})
		tok := l.bind(w)
		slots := l.sync(w, tok.Ref, tierA).Grant.Slots
		l.vault.Clock.Add(time.Hour)
		x := l.ride(tok, slots[0])
		l.pass(tok.NotAfter.Add(tc.after).Sub(l.vault.Clock.Now()))
		if tc.spent {
			l.happen(w, account.WebSpend, 1000)
		}
		l.want(tc.name, l.one(x), tc.outcome, tc.reason)
		l.pass(2 * time.Hour)
		if b := l.funds(w).Balances; b != tc.b {
			t.Errorf("%s: %+v", tc.name, b)
		}
		again := account.Duplicate
		if tc.outcome == account.Rejected {
			again = account.Rejected
		}
		if r := l.one(x); r.Outcome != again {
			t.Errorf("%s, again: %+v", tc.name, r)
		}
	}
	// What only the phone tells of is held, set aside at the end of the next day,
	// and back after the time of grace.
	l := newWalletLab(t)
	w := l.open(1000, account.Opening{})
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	l.vault.Clock.Add(time.Hour)
	x := l.ride(tok, slots[0])
	l.vault.Clock.Add(time.Minute)
	if s := l.sync(w, tok.Ref, tierA, words(slots, x)...); s.Balances.Reserve != 1000 || s.Grant != nil {
		t.Errorf("the phone's word freed money: %+v", s)
	}
	for _, at := range []struct {
		after time.Duration
		b     ledger.Balances
	}{{23 * time.Hour, ledger.Balances{Reserve: 1000}}, {25 * time.Hour, ledger.Balances{Available: 800}}, {7*day - time.Hour, ledger.Balances{Available: 800}},
		{7*day + time.Hour, ledger.Balances{Available: 1000}}} {
		l.pass(tok.NotAfter.Add(at.after).Sub(l.vault.Clock.Now()))
		if b := l.funds(w).Balances; b != at.b {
			t.Errorf("%v after the end: %+v", at.after, b)
		}
	}
	if got := l.signals(w); !slices.Equal(got, []string{"PHONE_ONLY"}) {
		t.Errorf("%v", got)
	}
}

func skew(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	for i, tc := range []struct {
		at      time.Time
		outcome account.Outcome
		reason  account.Reason
	}{
		{tok.NotBefore.Add(-119 * time.Second), account.Posted, ""},
		{tok.NotBefore.Add(-121 * time.Second), account.Rejected, account.OutsideWindow},
		{tok.NotAfter.Add(119 * time.Second), account.Posted, ""},
		{tok.NotAfter.Add(121 * time.Second), account.Rejected, account.OutsideWindow},
	} {
		x := l.ride(tok, slots[i], func(x *account.Tap) { x.At = cryptogram.DateTimeOf(tc.at.In(shanghai)) })
		l.want(tc.at.String(), l.one(x), tc.outcome, tc.reason)
	}
	l.stands("skew", w, tok.Ref, account.WalletActive)
}

// TestConsequences: what each kind of signal leads to.
func TestConsequences(t *testing.T) {
	at := func(l *walletLab, d time.Duration, terminal byte) func(*account.Tap) {
		return func(x *account.Tap) {
			x.At = cryptogram.DateTimeOf(l.vault.Clock.Now().Add(d).In(shanghai))
			x.Terminal[0] = terminal
		}
	}
	for _, tc := range []struct {
		name  string
		do    func(l *walletLab, tok token.Token, slots []credential.UD)
		kind  detect.Kind
		state account.WalletState
		by    []token.Suspender
	}{
		{"tampered", func(l *walletLab, tok token.Token, slots []credential.UD) {
			x := l.ride(tok, slots[0])
			x.MAC2[0]++
			l.one(x)
		}, detect.Tamper, account.WalletSuspended, []token.Suspender{token.ByRisk}},
		{"never issued", func(l *walletLab, tok token.Token, slots []credential.UD) {
			ud := slots[9]
			ud.Ctr++
			l.one(l.ride(tok, ud))
		}, detect.NeverIssued, account.WalletSuspended, []token.Suspender{token.ByRisk}},
		{"another cap than was issued", func(l *walletLab, tok token.Token, slots []credential.UD) {
			ud := slots[0]
			ud.Cap++
			l.one(l.ride(tok, ud))
		}, detect.NeverIssued, account.WalletSuspended, []token.Suspender{token.ByRisk}},
		{"out of order once", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.upload(l.ride(tok, slots[1], at(l, -11*time.Minute, 0)), l.ride(tok, slots[0]))
		}, detect.OrderOnce, account.WalletActive, nil},
		{"out of order twice", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.upload(l.ride(tok, slots[2], at(l, -12*time.Minute, 0)), l.ride(tok, slots[1], at(l, -time.Minute, 0)), l.ride(tok, slots[0]))
		}, detect.Order, account.WalletRestricted, []token.Suspender{token.ByRisk}},
		{"two places", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.points[[6]byte{1, 0, 0, 0, 0, 7}], l.points[[6]byte{2, 0, 0, 0, 0, 7}] = detect.Point{Lat: 31, Lon: 121}, detect.Point{Lat: 31.5, Lon: 121}
			l.upload(l.ride(tok, slots[0], at(l, -10*time.Minute, 1)), l.ride(tok, slots[1], at(l, 0, 2)))
		}, detect.Velocity, account.WalletRestricted, []token.Suspender{token.ByRisk}},
		{"two at once", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.upload(l.ride(tok, slots[0], at(l, 0, 1)), l.ride(tok, slots[1], at(l, 4*time.Second, 2)))
		}, detect.TwoAtOnce, account.WalletRestricted, []token.Suspender{token.ByRisk}},
		{"two at once, again", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.upload(l.ride(tok, slots[0], at(l, 0, 1)), l.ride(tok, slots[1], at(l, 4*time.Second, 2)), l.ride(tok, slots[2], at(l, 6*time.Second, 3)))
		}, detect.Repeated, account.WalletSuspended, []token.Suspender{token.ByRisk}},
		{"a stale list", func(l *walletLab, tok token.Token, slots []credential.UD) {
			l.lists.current = 7
			l.one(l.ride(tok, slots[0]))
		}, detect.StaleList, account.WalletActive, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newWalletLab(t)
			w, tok, slots := l.ready()
			tc.do(l, tok, slots)
			if got := l.signals(w); !slices.Contains(got, string(tc.kind)) {
				t.Errorf("found %v", got)
			}
			l.stands(tc.name, w, tok.Ref, tc.state, tc.by...)
			if down := len(l.fallen) > 0; down != (tc.state == account.WalletSuspended) {
				t.Errorf("devices that are trusted less: %v", l.fallen)
			}
			before := len(l.signals(w))
			tc.do(l, tok, slots) // the same again is no news
			if after := len(l.signals(w)); after != before {
				t.Errorf("%d signals, and %d when the same comes again", before, after)
			}
			risk, err := l.Risk(t.Context(), operator, w)
			if err != nil || risk.Score == 0 {
				t.Errorf("%+v, %v", risk, err)
			}
		})
	}
}

// TestConsequencesSurvive: what a crash leaves undone is done later; until then
// nothing new is handed out.
func TestConsequencesSurvive(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.broken.down = true
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++ }))
	l.stands("while the vault is down", w, tok.Ref, account.WalletActive)
	l.syncs++
	if _, err := l.Sync(t.Context(), phone, l.request(w, tok.Ref, tierA, words(slots[1:])...)); err == nil {
		t.Error("a sync was answered although a fork was not acted on")
	}
	if n, err := l.Redo(t.Context()); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	l.broken.down = false
	if n, err := l.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	l.stands("afterwards", w, tok.Ref, account.WalletSuspended, token.ByRisk)
	if n, err := l.Redo(t.Context()); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := l.told(w); !slices.Equal(got, []string{"wallet.opened", "wallet.suspended", "case.opened"}) {
		t.Errorf("%v", got)
	}
	// A token that somebody else deleted meanwhile hinders nothing.
	w, tok, slots = l.ready()
	if _, err := l.vault.Writer().Change(t.Context(), token.Change{Ref: tok.Ref, From: tok.State, Verb: token.Delete, At: l.vault.Clock.Now()}, "", access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++ }))
	if got := l.wallet(w); got.State != account.WalletSuspended {
		t.Errorf("%+v", got)
	}
}
