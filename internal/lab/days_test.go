package lab_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
)

// weeks is a service with people who live with it for many service days.
type weeks struct {
	*testing.T
	l      *lab.Lab
	c      *watch
	zone   *time.Location
	issuer *client.Client
	reader *sim.Reader
	people sim.Issuing
	book   *tapdb.DB
	fares  token.Amount // of everybody, since the beginning
}

const (
	daysPIN   = "482915"
	daysMoney = 200_000
)

// newWeeks begins at a time of a zone that has its cut-over at 03:00.
func newWeeks(t *testing.T, zone, at string, more ...func(*assembly.Config)) *weeks {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	begin, err := time.ParseInLocation("2006-01-02 15:04", at, z)
	if err != nil {
		t.Fatal(err)
	}
	c := &watch{at: begin}
	l := lab.New(t, lab.Options{Now: c.now, Config: func(c *assembly.Config) {
		c.Calendar.Zone, c.Slots.ElementKeyVersion = zone, 2
		c.Tokens.SweepEvery = 50 * time.Millisecond
		for _, change := range more {
			change(c)
		}
	}})
	return &weeks{T: t, l: l, c: c, zone: z, issuer: l.Client(t, "issuer"), reader: newReader(t, l, c.now),
		people: sim.Issuing{Issuer: l.Client(t, "issuer"), Wallet: l.Client(t, "wallet"), Terminal: l.Client(t, "terminal"),
			Now: c.now, Stretch: sim.Remember(mask.Argon2id)},
		book: bookOf(t, l)}
}

func (w *weeks) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("at %s: %v", w.c.now().In(w.zone).Format(time.DateTime), err)
	}
}

// to moves the clock to the next time that a clock on the wall shows this.
func (w *weeks) to(clock string) {
	w.Helper()
	at, err := time.Parse(time.TimeOnly, clock)
	w.must(err)
	now := w.c.now()
	for day := now.In(w.zone).Day(); ; day++ {
		l := now.In(w.zone)
		if then := time.Date(l.Year(), l.Month(), day, at.Hour(), at.Minute(), at.Second(), 0, w.zone); then.After(now) {
			w.c.pass(then.Sub(now))
			return
		}
	}
}

// step is how a holder comes to the next token, at a time of the wall.
type step struct {
	at   string
	anew bool // asked for, not renewed
}

// steps are six ways: ahead by hours, in the last hour, in the last minute, after
// the end, asked for in the last hour, and renewed once more after that.
var steps = []step{{at: "20:00:00"}, {at: "02:30:00"}, {at: "02:59:30"}, {at: "09:00:00"}, {at: "02:10:00", anew: true}, {at: "01:00:00"}}

// next gives a holder the next token.
func (w *weeks) next(h *sim.Holder, s step) wire.Token {
	w.Helper()
	w.to(s.at)
	var t wire.Token
	var err error
	if s.anew {
		t, err = w.issuer.RequestToken(w.Context(), cardRequest())
	} else {
		t, err = w.issuer.Renew(w.Context(), string(h.Ref))
	}
	w.must(err)
	_, err = w.issuer.BindToken(w.Context(), string(h.Wallet), wire.WalletToken{Ref: t.Ref, Device: string(h.Device)})
	w.must(err)
	h.Ref, h.Number = token.Ref(t.Ref), t.Number
	return t
}

// pay rides once, and the fare has to come in.
func (w *weeks) pay(what string, card apdu.Transmitter, fare token.Amount) {
	w.Helper()
	if _, err := w.reader.Tap(w.Context(), card, fare); err != nil {
		w.Fatalf("%s, at %s: %v", what, w.c.now().In(w.zone).Format(time.DateTime), err)
	}
	w.fares += fare
	w.c.pass(10 * time.Second)
}

// upload hands everything in; each record has to be posted.
func (w *weeks) upload(n int) {
	w.Helper()
	got, err := w.reader.Upload(w.Context())
	w.must(err)
	if len(got) != n {
		w.Errorf("%d records are uploaded, want %d", len(got), n)
	}
	for _, r := range got {
		if r.Reason != "" || r.Outcome != "POSTED" && r.Outcome != "DUPLICATE" { // a fob told of it
			w.Errorf("at %s: a record is answered %s %s", w.c.now().In(w.zone).Format(time.DateTime), r.Outcome, r.Reason)
		}
	}
	w.must(w.reader.Report(w.Context()))
}

// settled checks that every fen is where it has to be.
func (w *weeks) settled(h *sim.Holder) {
	w.Helper()
	at := w.c.now().In(w.zone)
	f, err := w.book.Funds(w.Context(), h.Wallet)
	w.must(err)
	if err := account.Invariants(f); err != nil {
		w.Errorf("at %s: %v", at.Format(time.DateTime), err)
	}
	paid, err := h.Paid(w.Context())
	w.must(err)
	if paid != w.fares {
		w.Errorf("at %s: %d fen went out of the account, for fares of %d", at.Format(time.DateTime), paid, w.fares)
	}
	state, err := h.State(w.Context())
	w.must(err)
	if state != "ACTIVE" {
		w.Errorf("at %s: the wallet is %s", at.Format(time.DateTime), state)
	}
	r, err := w.l.Client(w, "operator").Recon(w.Context(), at.Format(time.DateOnly))
	w.must(err)
	if len(r.Mismatches) > 0 || r.Accounts["OPERATOR_PAYABLE"] != int64(w.fares) || r.Cases > 0 {
		w.Errorf("at %s: payable are %d for fares of %d, %d mismatches, %d cases", at.Format(time.DateTime),
			r.Accounts["OPERATOR_PAYABLE"], w.fares, len(r.Mismatches), r.Cases)
	}
}

// TestPhoneForDays is a phone's life over service days: each next token comes at
// another hour, and whatever the hour it brings slots, rides are paid for, and
// money is in step.
func TestPhoneForDays(t *testing.T) {
	for _, c := range []struct{ name, zone, from string }{
		{"over the new year", "Asia/Shanghai", "2026-12-28 12:00"},
		{"clocks are set back", "America/New_York", "2026-10-29 12:00"},
		{"clocks are set forward", "Europe/Berlin", "2027-03-24 12:00"},
	} {
		t.Run(c.name, func(t *testing.T) { phoneForDays(newWeeks(t, c.zone, c.from)) })
	}
}

func phoneForDays(w *weeks) {
	p, err := w.people.Phone(w.Context(), sim.Spec{Card: testPAN, PIN: daysPIN, TopUp: daysMoney})
	w.must(err)
	if p.Live() != 10 {
		w.Fatalf("the first token brought %d slots", p.Live())
	}
	ride := func(what string) {
		w.Helper()
		w.must(p.EnterPIN(daysPIN))
		w.pay(what, p, 350)
	}
	for n, s := range steps {
		old := p.Ref
		ride("at noon")
		w.upload(1)
		if s.at == "09:00:00" { // nobody renewed it in time
			w.to("03:10:00")
			w.must(p.EnterPIN(daysPIN))
			if _, err := w.reader.Tap(w.Context(), p, 350); err == nil {
				w.Error("it pays with a token that came to its end")
			}
		}
		tok := w.next(p.Holder, s)
		w.must(p.Attest(w.Context()))
		got, err := p.Sync(w.Context())
		w.must(err)
		if got.Result != "CLEAN" || got.Slots != 10 {
			w.Fatalf("step %d: the token of %s until %s brought %d slots, the sync was %s", n, s.at, tok.NotAfter.In(w.zone), got.Slots, got.Result)
		}
		if s.at != "09:00:00" {
			w.to("02:59:50")
			ride("before the cut-over")
			w.to("03:00:30")
			ride("after the cut-over, by the old token or the next")
			w.to("03:05:00")
			ride("when the old token is over")
			w.upload(3)
		}
		w.to("12:00:00")
		w.must(p.Attest(w.Context()))
		if got, err = p.Sync(w.Context()); err != nil || got.Result != "CLEAN" || p.Live() != 10 {
			w.Fatalf("step %d: at noon it has %d slots, the sync was %s: %v", n, p.Live(), got.Result, err)
		}
		next := p.Ref
		p.Ref = old // what it has to say of the token before
		if got, err = p.Sync(w.Context()); err != nil || got.Result != "CLEAN" || got.Slots != 0 {
			w.Errorf("step %d: of the old token: %s, %d slots: %v", n, got.Result, got.Slots, err)
		}
		p.Ref = next
		w.settled(p.Holder)
	}
	w.c.pass(8 * 24 * time.Hour)
	w.free(p.Holder)
}

// free waits until nothing is held any more.
func (w *weeks) free(h *sim.Holder) {
	w.Helper()
	until := time.Now().Add(2 * time.Minute)
	for {
		b, err := h.Balances(w.Context())
		w.must(err)
		if b.Reserve == 0 && b.Available == daysMoney-w.fares {
			break
		}
		if time.Now().After(until) {
			w.Fatalf("a week later %+v, after fares of %d", b, w.fares)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.settled(h)
}

// TestFobForDays: a fob has one token at a time, so its next one is carried to it
// when the one before is over, and not sooner.
func TestFobForDays(t *testing.T) {
	w := newWeeks(t, "America/New_York", "2026-10-29 12:00") // whose clocks are set back on the way
	f, err := w.people.Fob(w.Context(), sim.Spec{Card: testPAN, PIN: daysPIN, TopUp: daysMoney})
	w.must(err)
	courier := w.l.Client(w, "terminal")
	w.must(f.InStep(w.Context(), courier))
	ride := func(what string) {
		w.Helper()
		sw, err := f.Verify(w.Context(), daysPIN)
		w.must(err)
		if sw != apdu.OK {
			w.Fatal(sw)
		}
		w.pay(what, f, 350)
	}
	for n, s := range steps {
		ride("at noon")
		w.upload(1)
		tok := w.next(f.Holder, s)
		order := wire.ElementOrder{Verb: "ISSUE", Ref: tok.Ref}
		rides := 0
		if s.at != "09:00:00" {
			if _, err := w.people.Wallet.OrderElement(w.Context(), string(f.Device), order); !client.IsProblem(err, "refused") {
				w.Errorf("step %d: its next token takes the place of one that pays: %v", n, err)
			}
			w.to("02:59:50")
			ride("before the cut-over")
			w.to("03:00:10")
			rides = 1
		}
		_, err := w.people.Wallet.OrderElement(w.Context(), string(f.Device), order)
		w.must(err)
		w.to("09:00:30")
		w.must(f.InStep(w.Context(), courier))
		ride("with the next token")
		w.upload(rides + 1)
		w.to("12:00:00")
		w.must(f.InStep(w.Context(), courier))
		if b, err := f.Balance(w.Context()); err != nil || b != 20000 {
			w.Errorf("step %d: at noon it may pay %d: %v", n, b, err)
		}
		w.settled(f.Holder)
	}
	w.c.pass(8 * 24 * time.Hour)
	w.free(f.Holder)
}
