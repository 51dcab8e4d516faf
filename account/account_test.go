package account_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestOneTap takes a tap through its whole life.
func TestOneTap(t *testing.T) {
	l := newLab(t)
	tap := l.tap(0, 5)
	first := l.one(tap)
	l.want("first", first, account.Posted, "")
	if l.state() != token.Active {
		t.Errorf("the token is %s after its first good tap", l.state())
	}
	again := l.one(tap)
	l.want("again", again, account.Duplicate, "")
	if again.TapID != first.TapID || !again.Good() || l.posted() != 1 {
		t.Errorf("again: %+v, first: %+v, %d posted", again, first, l.posted())
	}
	got, err := l.Accepted(t.Context(), l.tok.Ref, first.TapID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Number.Digits() != "" {
		t.Error("the number was stored")
	}
	if got.Number = tap.Number; got != tap {
		t.Errorf("stored  %+v\nuploaded %+v", got, tap)
	}
	for name, q := range map[string][2]string{"other token": {"trAAAA", first.TapID}, "no tap": {string(l.tok.Ref), "0"}, "empty": {"", ""}} {
		if _, err := l.Accepted(t.Context(), token.Ref(q[0]), q[1]); !errors.Is(err, account.ErrNoTap) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJudging changes what is wrong with a tap, after or before it was signed.
func TestJudging(t *testing.T) {
	l := newLab(t)
	other := l.issue(2)
	day := func(minutes int) func(*account.Tap) {
		return func(x *account.Tap) {
			x.At = cryptogram.DateTimeOf(l.tok.NotBefore.Add(time.Duration(minutes) * time.Minute).In(shanghai))
		}
	}
	unknown, err := token.ParseNumber("9100019999999999")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		before  func(*account.Tap) // signed with it
		after   func(*account.Tap) // changed on the way
		outcome account.Outcome
		reason  account.Reason
	}{
		{"good", nil, nil, account.Posted, ""},
		{"at the cap", func(x *account.Tap) { x.Amount = 1000 }, nil, account.Posted, ""},
		{"nothing paid", func(x *account.Tap) { x.Amount = 0 }, nil, account.Posted, ""},
		{"type 06", func(x *account.Tap) { x.Type = cryptogram.PurchasePurse }, nil, account.Posted, ""},
		{"two minutes early", day(-2), nil, account.Posted, ""},
		{"two minutes late but a second", func(x *account.Tap) {
			x.At = cryptogram.DateTimeOf(l.tok.NotAfter.Add(119 * time.Second).In(shanghai))
		}, nil, account.Posted, ""},
		{"balance is not vouched for", nil, func(x *account.Tap) { x.Balance = 1 << 31 }, account.Posted, ""},

		{"three minutes early", day(-3), nil, account.Rejected, account.OutsideWindow},
		{"two minutes late", day(24*60 + 2), nil, account.Rejected, account.OutsideWindow},
		{"next year", day(365 * 24 * 60), nil, account.Rejected, account.OutsideWindow},
		{"over the cap", func(x *account.Tap) { x.Amount = 1001 }, nil, account.Rejected, account.OverCap},
		{"counter below", func(x *account.Tap) { x.Seq, x.UD.Ctr = l.tok.CtrFirst-1, l.tok.CtrFirst-1 }, nil, account.Rejected, account.CounterRange},
		{"counter above", func(x *account.Tap) { x.Seq, x.UD.Ctr = l.tok.CtrFirst+slots, l.tok.CtrFirst+slots }, nil, account.Rejected, account.CounterRange},
		{"counter is not the slot's", func(x *account.Tap) { x.Seq++ }, nil, account.Rejected, account.Malformed},
		{"no such date", func(x *account.Tap) { x.At[2] = 0x13 }, nil, account.Rejected, account.Malformed},
		{"cash", func(x *account.Tap) { x.Type = cryptogram.CashWithdrawal }, nil, account.Rejected, account.Malformed},
		{"a load's type", func(x *account.Tap) { x.Type = cryptogram.LoadPurse }, nil, account.Rejected, account.Malformed},
		{"no number", nil, func(x *account.Tap) { x.Number = token.Number{} }, account.Rejected, account.Malformed},
		{"key version", nil, func(x *account.Tap) { x.KeyVer = 2 }, account.Rejected, account.UnknownKey},
		{"algorithm", nil, func(x *account.Tap) { x.AlgID = 4 }, account.Rejected, account.UnknownKey},
		{"key version of the slot", func(x *account.Tap) { x.UD.KeyVer = 2 }, nil, account.Rejected, account.UnknownKey},
		{"unknown number", func(x *account.Tap) { x.Number = unknown }, nil, account.Rejected, account.UnknownToken},

		{"another token's", nil, func(x *account.Tap) { x.Number = other.Number }, account.Rejected, account.Forged},
		{"another issuer", nil, func(x *account.Tap) { x.Issuer[0]++ }, account.Rejected, account.Forged},
		{"cap raised", nil, func(x *account.Tap) { x.UD.Cap++ }, account.Rejected, account.Forged},
		{"expiry moved", nil, func(x *account.Tap) { x.UD.HourExp++ }, account.Rejected, account.Forged},
		{"class raised", nil, func(x *account.Tap) { x.UD.Class++ }, account.Rejected, account.Forged},
		{"amount raised", nil, func(x *account.Tap) { x.Amount++ }, account.Rejected, account.Forged},
		{"serial changed", nil, func(x *account.Tap) { x.TermSeq++ }, account.Rejected, account.Forged},
		{"MAC2 changed", nil, func(x *account.Tap) { x.MAC2[3] ^= 1 }, account.Rejected, account.Tamper},
		{"random changed", nil, func(x *account.Tap) { x.Rand[0] ^= 1 }, account.Rejected, account.Tamper},
		{"TAC changed", nil, func(x *account.Tap) { x.TAC[3] ^= 1 }, account.Posted, account.WrongPIN},
		{"terminal changed", nil, func(x *account.Tap) { x.Terminal[0]++ }, account.Posted, account.WrongPIN},
		{"serial's high half changed", nil, func(x *account.Tap) { x.TermSeq += 1 << 16 }, account.Posted, account.WrongPIN},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fresh := *l
			fresh.t = t
			fresh.tok = fresh.issue(100)
			l.tok = fresh.tok // the changes above look at the lab's token
			if tc.before == nil {
				tc.before = func(*account.Tap) {}
			}
			tap := fresh.tap(0, 5, tc.before)
			if tc.after != nil {
				tc.after(&tap)
			}
			fresh.log.reasons()
			fresh.want(tc.name, fresh.one(tap), tc.outcome, tc.reason)
			told := fresh.log.reasons()
			if tc.outcome == account.Rejected && !slices.Equal(told, []string{string(tc.reason)}) {
				t.Errorf("recorded %v", told)
			}
			active := tc.outcome == account.Posted && tc.reason == ""
			if (fresh.state() == token.Active) != active {
				t.Errorf("the token is %s", fresh.state())
			}
		})
	}
}

// TestStates: a token that was suspended or deleted pays for what it did
// before, and for nothing after.
func TestStates(t *testing.T) {
	for _, tc := range []struct {
		verb   token.Verb
		reason account.Reason
	}{{token.Suspend, account.TokenSuspended}, {token.Delete, account.TokenDeleted}} {
		l := newLab(t)
		at := l.tok.NotBefore.Add(time.Hour)
		if _, err := l.vault.Writer().Move(t.Context(), l.tok.Ref, token.Delivered, tc.verb, at); err != nil {
			t.Fatal(err)
		}
		l.want("before", l.one(l.tap(0, 59)), account.Posted, "")
		l.want("at the moment", l.one(l.tap(1, 60)), account.Rejected, tc.reason)
		l.want("after", l.one(l.tap(2, 90)), account.Rejected, tc.reason)
		if s := l.state(); s == token.Active {
			t.Errorf("a tap moved a token after %s to %s", tc.verb, s)
		}
	}
	l := newLab(t)
	if _, err := l.vault.Writer().Move(t.Context(), l.tok.Ref, token.Delivered, token.Expire, l.tok.NotAfter); err != nil {
		t.Fatal(err)
	}
	l.want("expired meanwhile", l.one(l.tap(0, 5)), account.Posted, "")
	l.vault.Clock.Set(l.tok.NotBefore.Add(30*24*time.Hour + 5*time.Minute))
	l.want("thirty days", l.one(l.tap(1, 5)), account.Posted, "")
	l.vault.Clock.Add(time.Second)
	l.want("a second more", l.one(l.tap(2, 5)), account.Rejected, account.Late)
	l.want("known before", l.one(l.tap(1, 5)), account.Duplicate, "")
}

// TestReplayAndFork: an altered copy is no
// payment, a second proof is a second use of the slot's keys.
func TestReplayAndFork(t *testing.T) {
	l := newLab(t)
	real := l.tap(0, 5)
	altered := real
	altered.Terminal[5]++
	second := l.tap(0, 6, func(x *account.Tap) { x.Rand[0]++ })
	same := l.tap(0, 7) // same proof, other time, and both TACs are good: the keys signed twice
	noTAC := second
	noTAC.Rand[1]++
	noTAC = l.signed(noTAC)
	noTAC.TAC[0]++

	first := l.one(altered)
	l.want("altered, alone", first, account.Posted, account.WrongPIN)
	if _, err := l.Accepted(t.Context(), l.tok.Ref, first.TapID); !errors.Is(err, account.ErrNoTap) {
		t.Errorf("a tap with a bad TAC proves a payment: %v", err)
	}
	posted := l.one(real)
	l.want("the real one", posted, account.Posted, "")
	l.want("altered, again", l.one(altered), account.Duplicate, account.Reason(account.Replay))
	l.want("second proof", l.one(second), account.Forked, "")
	l.want("same proof, two TACs", l.one(same), account.Forked, "")
	l.want("third proof", l.one(noTAC), account.Forked, "")
	l.want("the real one, again", l.one(real), account.Duplicate, "")
	l.want("second proof, again", l.one(second), account.Duplicate, account.Reason(account.Forked))
	if l.posted() != 1 {
		t.Errorf("%d taps are posted", l.posted())
	}
	earlier := l.tap(0, 4, func(x *account.Tap) { x.Rand[0] += 2 })
	l.want("earlier proof", l.one(earlier), account.Posted, "")
	if _, err := l.Accepted(t.Context(), l.tok.Ref, posted.TapID); !errors.Is(err, account.ErrNoTap) {
		t.Errorf("a tap that lost its standing proves a payment: %v", err)
	}
	if l.posted() != 1 {
		t.Errorf("%d taps are posted", l.posted())
	}
}

// TestBatch: each record is judged by itself, and results answer in order.
func TestBatch(t *testing.T) {
	l := newLab(t)
	bad := l.tap(1, 5)
	bad.MAC2[0]++
	forged := bad
	forged.TAC[0]++
	r := l.upload(l.tap(0, 5), bad, l.tap(2, 5), l.tap(0, 5), forged, bad)
	for i, want := range []account.Outcome{account.Posted, account.Rejected, account.Posted, account.Duplicate, account.Rejected, account.Rejected} {
		if r[i].Outcome != want {
			t.Errorf("record %d: %+v, want %s", i, r[i], want)
		}
	}
	if got := l.log.reasons(); !slices.Equal(got, []string{"TAMPER", "FORGED"}) {
		t.Errorf("recorded %v", got)
	}
	var kept int64
	if err := l.db.Read(t.Context()).Raw("SELECT COUNT(*) FROM tap_refusals").Scan(&kept).Error; err != nil || kept != 2 {
		t.Errorf("%d refusals are kept, %v", kept, err)
	}
	// A slot whose better record comes later in the same batch is answered as
	// it stands in the end.
	later, sooner := l.tap(3, 9), l.tap(3, 8, func(x *account.Tap) { x.Rand[0]++ })
	r = l.upload(later, sooner)
	l.want("later", r[0], account.Forked, "")
	l.want("sooner", r[1], account.Posted, "")
	for _, n := range []int{0, account.MaxBatch + 1} {
		if _, err := l.Upload(t.Context(), gate, "gate-7", make([]account.Tap, n)); !errors.Is(err, account.ErrBatch) {
			t.Errorf("%d records: %v", n, err)
		}
	}
	full := make([]account.Tap, account.MaxBatch)
	for i := range full {
		full[i] = l.tap(i%slots, 10+i)
	}
	l.upload(full...)
	if l.posted() != slots {
		t.Errorf("%d taps are posted from %d slots", l.posted(), slots)
	}
}

func TestGate(t *testing.T) {
	l := newLab(t)
	tap := []account.Tap{l.tap(0, 5)}
	for name, tc := range map[string]struct {
		caller   access.Caller
		terminal string
	}{
		"nobody":          {access.Caller{}, "gate-7"},
		"an issuer":       {access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.ForRole(access.Issuer)}, "gate-7"},
		"without scope":   {access.Caller{ID: "gate-7", Role: access.Terminal}, "gate-7"},
		"of another gate": {access.Caller{ID: "x", Role: access.Terminal, Scopes: gate.Scopes, Terminal: "gate-8"}, "gate-7"},
	} {
		if _, err := l.Upload(t.Context(), tc.caller, tc.terminal, tap); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
		if len(l.log.reasons()) != 1 {
			t.Errorf("%s: not recorded", name)
		}
	}
	l.log.err = fault.New(fault.AuditDown, "disk gone")
	if _, err := l.Upload(t.Context(), gate, "gate-7", tap); !errors.Is(err, l.log.err) {
		t.Error(err)
	}
	if l.posted() != 0 {
		t.Error("something was posted")
	}
	l.log.err = nil
	own := gate
	own.Terminal = "gate-7"
	if r, err := l.Upload(t.Context(), own, "gate-7", tap); err != nil || !r[0].Good() {
		t.Error(r, err)
	}
}

// TestFailures: whatever is lost between an effect and its answer, sending the
// records again makes up for it.
func TestFailures(t *testing.T) {
	l := newLab(t)
	tap := l.tap(0, 5)
	for _, tc := range []struct {
		name          string
		before, after bool
		posted        int64
	}{{"before", true, false, 0}, {"after", false, true, 1}} {
		l.flaky.before, l.flaky.after = tc.before, tc.after
		r, err := l.Upload(t.Context(), gate, "gate-7", []account.Tap{tap})
		if !errors.Is(err, errFlaky) || r != nil || l.posted() != tc.posted {
			t.Errorf("%s: %v, %v, %d posted", tc.name, r, err, l.posted())
		}
		if l.state() != token.Delivered {
			t.Errorf("%s: the token is %s", tc.name, l.state())
		}
	}
	l.flaky.before, l.flaky.after = false, false
	l.want("afterwards", l.one(tap), account.Duplicate, "")
	if l.state() != token.Active {
		t.Errorf("the token is %s", l.state())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Upload(ctx, gate, "gate-7", []account.Tap{l.tap(1, 5)}); err == nil {
		t.Error("a caller who went away got an answer")
	}
	if err := l.hsm.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := l.Upload(t.Context(), gate, "gate-7", []account.Tap{tap})
	if fault.KindOf(err) != fault.HSMUnavailable {
		t.Errorf("without an HSM: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), tap.Number.Digits()[6:12]) {
		t.Error("the number is in the error")
	}
}

// TestRaces has many callers send the same records, copies and forks at once.
func TestRaces(t *testing.T) {
	l := newLab(t)
	var taps []account.Tap
	for i := range 8 {
		taps = append(taps, l.tap(0, 5+i%3, func(x *account.Tap) { x.Rand[0] = byte(i) }))
	}
	var mu sync.Mutex
	ids := make(map[int][]string)
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for i := range taps {
				k := (i + caller) % len(taps)
				r, err := l.Upload(t.Context(), gate, "gate-7", taps[k:k+1])
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				ids[k] = append(ids[k], r[0].TapID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l.posted() != 1 {
		t.Errorf("%d taps are posted", l.posted())
	}
	for k, names := range ids {
		if len(slices.Compact(names)) != 1 {
			t.Errorf("record %d has ids %v", k, names)
		}
	}
}

// TestJudge is what detokenize asks: one record, with its token.
func TestJudge(t *testing.T) {
	l := newLab(t)
	tap := l.tap(0, 5)
	r, tok, err := l.Judge(t.Context(), gate, tap, token.Use{})
	if err != nil || !r.Good() || tok.Ref != l.tok.Ref {
		t.Error(r, tok.Ref, err)
	}
	l.want("the terminal's upload", l.one(tap), account.Duplicate, "")
	tap.MAC2[0]++
	if r, tok, err = l.Judge(t.Context(), gate, tap, token.Use{}); err != nil || r.Good() || r.Reason != account.Tamper || tok.Ref != l.tok.Ref {
		t.Error(r, tok.Ref, err)
	}
	if tap.Number, err = token.ParseNumber("9100019999999999"); err != nil {
		t.Fatal(err)
	}
	if r, tok, err = l.Judge(t.Context(), gate, tap, token.Use{}); err != nil || r.Reason != account.UnknownToken || tok.Ref != "" {
		t.Error(r, tok.Ref, err)
	}
}

func TestNew(t *testing.T) {
	if _, err := account.New(account.Config{}); err == nil {
		t.Error("no error")
	}
}
