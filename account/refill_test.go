package account_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// model is a wallet with its tokens, without a database: what the store does with
// the same functions, in the same order.
type model struct {
	*world
	w      account.Wallet
	now    time.Time
	terms  account.Terms
	tokens []token.Ref
	ends   []time.Time
	ctr    uint16
	n      int
	lent   token.Amount
	cloned bool
}

func newModel(random *rand.Rand, now time.Time) *model {
	m := &model{world: newWorld(0, random.IntN(2) == 0), now: now, terms: tierA}
	m.w = account.Wallet{ID: theWallet, State: account.WalletActive, RealName: m.credit, Ceiling: tierA.Ceiling, Limit: tierA.Limit}
	if m.credit {
		m.w.Allowance, m.w.Quota, m.w.Card = 5000, 20000, true
	}
	return m
}

func (m *model) funds() account.Funds {
	f := account.Funds{Wallet: m.w, Balances: m.b, Now: m.now, Lent: m.lent}
	for _, l := range m.lots {
		if !l.Posted.Free || l.NotAfter.After(m.now) {
			f.Lots = append(f.Lots, l)
		}
	}
	return f
}

// step does one random thing.
func (m *model) step(random *rand.Rand) string {
	m.n++
	if random.IntN(20) == 0 {
		return m.close()
	}
	switch random.IntN(10) {
	case 0, 1:
		return m.happen(random)
	case 2, 3, 4:
		return m.sync(random)
	case 5, 6, 7:
		return m.tap(random)
	case 8:
		m.now = m.now.Add(time.Duration(random.IntN(30)) * time.Hour)
		return m.sweep()
	}
	m.tokens, m.ends = append(m.tokens, token.Ref(fmt.Sprint("tr", m.n))), append(m.ends, m.now.Add(24*time.Hour))
	return "token"
}

func (m *model) happen(random *rand.Rand) string {
	h := account.Happening{ID: fmt.Sprint(m.n), Kind: []account.HappeningKind{account.TopUp, account.WebSpend, account.Refund, account.CardBound,
		account.CardUnbound, account.ChargeFailed}[min(random.IntN(12), 5)], Amount: token.Amount(1 + random.IntN(9000))}
	if h.Kind == account.ChargeFailed && random.IntN(4) > 0 {
		h.Kind = account.TopUp
	}
	f := m.funds()
	moves, effect, err := f.Effect(h)
	if err != nil {
		return "refused"
	}
	m.lend(moves)
	effect(&m.w)
	return string(h.Kind)
}

// lend posts, and counts credit.
func (m *model) lend(moves []ledger.Transfer) {
	for _, t := range moves {
		if t.From == ledger.Due {
			m.lent += t.Amount
		}
	}
	m.post(moves)
}

// sync is what FinishSync does. The phone says nothing that is not so, but may
// have thrown slots away.
func (m *model) sync(random *rand.Rand) string {
	if len(m.tokens) == 0 {
		return ""
	}
	i := random.IntN(len(m.tokens))
	ref := m.tokens[i]
	var mine []*account.Lot
	var reports []account.Report
	for _, l := range m.lots {
		if l.Ref != ref {
			continue
		}
		mine = append(mine, l)
		if l.State() == account.SlotIssued && random.IntN(50) > 0 {
			status := account.ReportLive
			if random.IntN(30) == 0 {
				status = account.ReportDiscarded
			}
			reports = append(reports, account.Report{Ctr: l.Ctr(), Status: status})
		}
	}
	account.Hear(mine, account.Word{Reports: reports, At: m.now, Heard: m.now})
	e := account.SyncEnd{Request: account.SyncRequest{Wallet: theWallet, Ref: ref, ID: fmt.Sprint(m.n), Terms: m.terms}, NotAfter: m.ends[i]}
	f := m.funds()
	out, kinds, held := e.Settle(f, false)
	e.Leave(&m.w, out, m.now)
	e.First, e.Taken = m.ctr, len(kinds)
	m.ctr += uint16(len(kinds))
	lots, moves, err := e.Lots(f, kinds, held)
	if err != nil {
		panic(err)
	}
	m.post(moves)
	m.lots = append(m.lots, lots...)
	if len(lots) > 0 {
		if f := m.funds(); f.Authority("") > m.terms.Ceiling || token.Amount(live(f, ref)) > max(m.terms.Limit, 0) || out.Result != account.SyncClean {
			panic(fmt.Sprintf("granted over the limit, or to a phone that is not in step: %+v", out))
		}
	}
	return fmt.Sprint("sync ", len(lots))
}

func live(f account.Funds, ref token.Ref) (sum token.Amount) {
	for _, l := range f.Lots {
		if l.Ref == ref && l.Live(f.Now) {
			sum += l.Cap()
		}
	}
	return sum
}

// tap uses a slot: the phone tells of it, a terminal does, now or late, it fails,
// or a clone uses it again.
func (m *model) tap(random *rand.Rand) string {
	if len(m.lots) == 0 {
		return ""
	}
	l := m.lots[random.IntN(len(m.lots))]
	if len(l.Entries) > 0 && random.IntN(20) > 0 || m.now.After(l.NotAfter.Add(20*24*time.Hour)) {
		return ""
	}
	at := m.now
	if at.After(l.NotAfter) {
		at = l.NotAfter.Add(-time.Minute)
	}
	e := account.Evidence{Ref: l.Ref, TACGood: random.IntN(10) > 0, Moment: at, Received: m.now, Fresh: random.IntN(10) > 0, Reporter: "a",
		Sources: []account.Sources{account.ByTerminal, account.ByTerminal, account.ByPhone, account.ByFailure}[random.IntN(4)],
		Tap:     account.Tap{UD: l.UD, Seq: l.Ctr(), Amount: token.Amount(random.IntN(int(l.Cap()) + 1)), Rand: [4]byte{byte(m.n), byte(m.n >> 8)}}}
	switch late := m.now.Sub(l.NotAfter); {
	case late > 7*24*time.Hour:
		e.Late = account.Manual
	case late > 24*time.Hour:
		e.Late = account.PastDue
	}
	m.cloned = m.cloned || len(l.Entries) > 0
	l.Add(e)
	m.settle(l)
	return "tap"
}

// settle is what the store does with a slot: it counts credit, and a debt that is
// paid holds nothing back.
func (m *model) settle(l *account.Lot) {
	before := m.b
	moves, _ := l.Settle(m.b, m.w)
	m.lend(moves)
	if m.w.Repaid(before, m.b) {
		m.w.Settled(m.now)
	}
}

// close closes the wallet if it can be, and lets what may still come come.
func (m *model) close() string {
	moves, err := m.funds().Closes()
	if err != nil {
		return "refused"
	}
	m.lend(moves)
	m.w.State = account.WalletClosed
	return "close"
}

func (m *model) sweep() string {
	for _, l := range m.lots {
		l.Released = l.Released || !m.now.Before(l.NotAfter.Add(24*time.Hour))
		l.Refunded = l.Refunded || !m.now.Before(l.NotAfter.Add(7*24*time.Hour))
		m.settle(l)
	}
	return "time"
}

// TestProof06Refill: what syncs may mint, over many wallets and over a database.
func TestProof06Refill(t *testing.T) {
	t.Run("ten thousand wallets", func(t *testing.T) {
		random := rand.New(rand.NewPCG(11, 12))
		did := make(map[string]int)
		for n := range 10_000 {
			m := newModel(random, dayEnd)
			var log []string
			for range 20 + random.IntN(60) {
				what := m.step(random)
				log = append(log, what)
				did[strings.Fields(what + " -")[0]]++
				if err := account.Invariants(m.funds()); err != nil {
					t.Fatalf("wallet %d: %v after %v", n, err, log)
				}
				if !m.credit && m.b.Due > 0 || m.b.Cash()+sum(m.shared) != 0 {
					t.Fatalf("wallet %d: %+v, shared %v after %v", n, m.b, m.shared, log)
				}
			}
			if !m.cloned && m.shared["FRAUD_LOSSa"] != 0 {
				t.Fatalf("wallet %d: a loss without a clone after %v", n, log)
			}
		}
		for _, what := range []string{"sync", "tap", "time", "token", "TOP_UP", "WEB_SPEND", "CHARGE_FAILED", "close"} {
			if did[what] < 1000 {
				t.Errorf("%s was done %d times: the model does not move", what, did[what])
			}
		}
	})
	t.Run("a hundred idle syncs", hundredSyncs)
	t.Run("thirty days", thirtyDays)
	t.Run("the database", refillDatabase)
	t.Run("repeated", repeatedSync)
}

// sum is what the shared accounts hold together.
func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// hundredSyncs: syncs without taps mint nothing, whatever they say.
func hundredSyncs(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(50000, account.Opening{})
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	first := l.tokenState(tok.Ref).CtrNext
	for i := range 100 {
		l.vault.Clock.Add(time.Minute)
		s := l.sync(w, tok.Ref, tierA, words(slots)...)
		if s.Grant != nil || s.Result != account.SyncClean || s.Balances.Authority != 10000 || s.Balances.Reserve != 10000 || s.Balances.Available != 40000 {
			t.Fatalf("sync %d: %+v", i, s)
		}
	}
	if next := l.tokenState(tok.Ref).CtrNext; next != first {
		t.Errorf("idle syncs took %d counters", next-first)
	}
	// Thrown away, they are authority all the same: what replaces them fills the
	// ceiling, and then nothing does.
	thrown := words(slots)
	for i := range thrown {
		thrown[i].Status = account.ReportDiscarded
	}
	s := l.sync(w, tok.Ref, tierA, thrown...)
	if s.Grant == nil || len(s.Grant.Slots) != 10 || s.Balances.Authority != 20000 {
		t.Fatalf("%+v", s)
	}
	again := words(s.Grant.Slots)
	for i := range again {
		again[i].Status = account.ReportDiscarded
	}
	if s = l.sync(w, tok.Ref, tierA, append(again, thrown...)...); s.Grant != nil || s.Balances.Authority != 20000 {
		t.Errorf("beyond the ceiling: %+v", s)
	}
}

// thirtyDays: a wallet that holds just one day's limit rides every day. Tomorrow's
// slots are fetched while today's live, and it never starves.
func thirtyDays(t *testing.T) {
	l := newWalletLab(t)
	l.estate.online = true // what is not used is free soon after the end of a day
	w := l.open(10000, account.Opening{})
	rides := 0
	for day := range 30 {
		tok := l.bind(w)
		s := l.sync(w, tok.Ref, tierA)
		if s.Grant == nil || len(s.Grant.Slots) < 2 {
			t.Fatalf("day %d: starved: %+v", day, s)
		}
		l.vault.Clock.Add(8 * time.Hour)
		taps := []account.Tap{l.ride(tok, s.Grant.Slots[0])}
		l.vault.Clock.Add(10 * time.Minute)
		l.want("out", l.one(taps[0]), account.Posted, "")
		l.vault.Clock.Add(9 * time.Hour)
		taps = append(taps, l.ride(tok, s.Grant.Slots[1]))
		l.vault.Clock.Add(10 * time.Minute)
		l.want("home", l.one(taps[1]), account.Posted, "")
		rides += 2
		home := l.sync(w, tok.Ref, tierA, words(s.Grant.Slots, taps...)...)
		if home.Result != account.SyncClean || l.wallet(w).State != account.WalletActive {
			t.Fatalf("day %d: %+v, %v", day, home, l.signals(w))
		}
		l.happen(w, account.TopUp, 400)
		// Tomorrow's slots can be asked for while today's live. They get what money is
		// left, and the rest when today's are over.
		if b := home.Balances; b.Available+b.Reserve < 9600 {
			t.Errorf("day %d: %+v", day, b)
		}
		l.pass(6*time.Hour + 45*time.Minute)
	}
	l.pass(48 * time.Hour)
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 10000}) || rides != 60 {
		t.Errorf("%d rides, %+v", rides, b)
	}
}

// signals lists kinds of what detection found of a wallet.
func (l *walletLab) signals(w token.WalletID) (kinds []string) {
	l.t.Helper()
	all, err := l.book.Signals(l.t.Context(), w, 100)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range all {
		kinds = append(kinds, string(f.Kind))
	}
	slices.Sort(kinds)
	return kinds
}

// refillDatabase does random things to a few wallets through the whole service.
func refillDatabase(t *testing.T) {
	l := newWalletLab(t)
	random := rand.New(rand.NewPCG(13, 14))
	type holder struct {
		id    token.WalletID
		tok   token.Token
		slots []credential.UD
		used  []account.Tap
	}
	var all []*holder
	for i := range 8 {
		h := &holder{id: l.open(token.Amount(3000*i), account.Opening{RealName: i%2 == 0, Allowance: token.Amount(5000 * (1 - i%2))})}
		if i%2 == 0 {
			l.happen(h.id, account.CardBound, 0)
		}
		h.tok = l.bind(h.id)
		all = append(all, h)
	}
	for range 250 {
		h := all[random.IntN(len(all))]
		l.vault.Clock.Add(2 * time.Minute)
		switch random.IntN(5) {
		case 0, 1:
			if s := l.sync(h.id, h.tok.Ref, tierA, words(h.slots, h.used...)...); s.Grant != nil {
				h.slots = append(h.slots, s.Grant.Slots...)
			}
		case 2, 3:
			if len(h.used) < len(h.slots) {
				x := l.ride(h.tok, h.slots[len(h.used)], func(x *account.Tap) { x.Amount = token.Amount(random.IntN(1001)) })
				h.used = append(h.used, x)
				if random.IntN(4) > 0 {
					l.one(x)
				}
			}
		case 4:
			h := account.Happening{ID: fmt.Sprint(random.Uint32()), Kind: []account.HappeningKind{account.TopUp, account.WebSpend}[random.IntN(2)],
				Amount: token.Amount(1 + random.IntN(5000))}
			if _, err := l.Happen(t.Context(), bank, all[random.IntN(len(all))].id, h); err != nil && !errors.Is(err, account.ErrReserved) && !errors.Is(err, ledger.ErrFunds) {
				t.Fatal(err)
			}
		}
		l.invariants()
	}
	for _, h := range all {
		if w := l.wallet(h.id); w.State != account.WalletActive {
			t.Errorf("an honest holder is %s: %v", w.State, l.signals(h.id))
		}
	}
	l.pass(9 * 24 * time.Hour)
	for _, h := range all {
		if f := l.funds(h.id); f.Balances.Reserve != 0 || len(f.Lots) != 0 {
			t.Errorf("still held: %+v", f.Balances)
		}
	}
	if n := l.loss(); n != 0 {
		t.Errorf("%d fen were lost without a clone", n)
	}
}

// loss is what was paid at nobody's charge.
func (l *walletLab) loss() (n int64) {
	l.t.Helper()
	err := l.db.Read(l.t.Context()).Raw("SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE from_account = 'FRAUD_LOSS'").Scan(&n).Error
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// repeatedSync: the answer that was lost is the answer that is given again; a
// sync that fails on its way is made good by the next try.
func repeatedSync(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(50000, account.Opening{})
	tok := l.bind(w)
	r := l.request(w, tok.Ref, tierA)
	r.ID = "once"
	first, err := l.Sync(t.Context(), phone, r)
	if err != nil || first.Grant == nil {
		t.Fatal(first, err)
	}
	l.vault.Clock.Add(time.Hour)
	l.one(l.ride(tok, first.Grant.Slots[0]))
	again, err := l.Sync(t.Context(), phone, r)
	if err != nil || fmt.Sprintf("%+v %+v", again.Grant, again.Balances) != fmt.Sprintf("%+v %+v", first.Grant, first.Balances) || !slices.Equal(again.Grant.Slots, first.Grant.Slots) {
		t.Errorf("%+v, %v\n%+v", again, err, first)
	}
	other := r
	other.Digest[31]++
	if _, err := l.Sync(t.Context(), phone, other); !errors.Is(err, account.ErrSyncReused) {
		t.Errorf("another sync of the same id: %v", err)
	}
	for name, bad := range map[string]account.SyncRequest{
		"no id":           {Wallet: w, Ref: tok.Ref, Clock: r.Clock, Terms: tierA},
		"no clock":        {Wallet: w, Ref: tok.Ref, ID: "x", Terms: tierA},
		"a report twice":  {Wallet: w, Ref: tok.Ref, ID: "x", Clock: r.Clock, Terms: tierA, Reports: append(words(first.Grant.Slots[:1]), words(first.Grant.Slots[:1])...)},
		"no such status":  {Wallet: w, Ref: tok.Ref, ID: "x", Clock: r.Clock, Terms: tierA, Reports: []account.Report{{Status: "LOST"}}},
		"another's token": {Wallet: w, Ref: l.vaultToken(), ID: "x", Clock: r.Clock, Terms: tierA},
	} {
		if _, err := l.Sync(t.Context(), phone, bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
