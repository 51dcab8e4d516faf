package issuerhost_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/issuerhost/counterdb"
	"github.com/tapvault/tapvault/token"
)

// record keeps entries.
type record struct {
	mu      sync.Mutex
	entries []audit.Entry
}

func (r *record) Record(_ context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

// reason is why the last entry was refused; "" when it was not.
func (r *record) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 && r.entries[n-1].Outcome == audit.Refused {
		return r.entries[n-1].Reason
	}
	return ""
}

// prefix says that numbers whose last 16 digits begin with these are tokens.
type prefix string

func (p prefix) IsToken(asn [10]byte) bool {
	return strings.HasPrefix(fmt.Sprintf("%X", asn[2:]), string(p))
}

// tokens is a vault of one token.
type tokens struct{ t token.Token }

var errUnknown = fault.New(fault.TokenUnknown, "no such token")

func (v *tokens) Token(_ context.Context, ref token.Ref) (token.Token, error) {
	if ref != v.t.Ref {
		return token.Token{}, errUnknown
	}
	return v.t, nil
}

func (v *tokens) ByNumber(_ context.Context, n token.Number, _ time.Time) (token.Token, error) {
	if n.Digits() != v.t.Number.Digits() {
		return token.Token{}, errUnknown
	}
	return v.t, nil
}

const (
	panText   = "4761739001010119"
	longText  = "4761739001010119007"
	otherText = "5413330089010434"
	tokenText = "6235290123456781"
)

var (
	now    = time.Date(2026, time.July, 24, 9, 0, 0, 0, time.UTC)
	bank   = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.ForRole(access.Issuer), Requestor: "50120834693"}
	reader = access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
)

// house is a service over SoftHSM and a database, and the cards in memory.
type house struct {
	*issuerhost.Service
	t      *testing.T
	cfg    issuerhost.Config
	cards  *softkey.Ring
	log    *record
	tokens *tokens
	db     *store.DB
}

func own(t *testing.T) []emv.Profile {
	t.Helper()
	p, err := emv.ParseProfile([]byte(`{"name":"city","master":"a","session":"csk","padding":2,"fields":["9F02:6","5F2A:2","9F36:2"],"response":{"method":1,"master":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	return []emv.Profile{p}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, cards: &softkey.Ring{}, log: &record{}, tokens: &tokens{}, db: storetest.New(t)}
	issuers := []issuerhost.Issuer{
		{Realm: "bank", Prefixes: []string{"4761", "5413", "623529"}, Versions: []uint8{1, 2}, Ahead: 100, Behind: 5, Extra: issuerhost.Extras,
			Profiles: []string{"visa-10", "visa-18", "mchip-16", "mchip-17", "mchip-20", "emv-aes-128", "city"}},
		{Realm: "other", Prefixes: []string{"47617399"}, Versions: []uint8{1}, Profiles: []string{"visa-18"}, Requestors: []string{"11111111111"}},
	}
	refs, err := issuerhost.Keys(issuers, own(t))
	if err != nil {
		t.Fatal(err)
	}
	values := map[keyref.Ref][]byte{}
	for i, r := range refs {
		v := make([]byte, 16)
		for k := range v {
			v[k] = byte(31*i + 7*k + 1)
		}
		values[r] = v
		if err := h.cards.ImportScratch(t.Context(), r, v); err != nil {
			t.Fatal(err)
		}
	}
	name := keyref.Ref{Usage: keyref.PARKey, Version: 1}
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{name}, Values: values, Config: func(c *hsm.Config) { c.RevealCardKeys = true }})
	n, err := token.ParseNumber(pan(t, tokenText).Reveal())
	if err != nil {
		t.Fatal(err)
	}
	h.tokens.t = token.Token{Ref: "trAAAAAAAAAAAAAAAAAAAAAAAAAA", Number: n, Requestor: "50120834693", PSN: "01", State: token.Active,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	kept := counterdb.New(h.db, func() time.Time { return now })
	h.cfg = issuerhost.Config{Keys: tok, Gate: audit.Gate{Recorder: h.log}, Issuers: issuers, Profiles: own(t), Tokens: h.tokens, Ranges: prefix("623529"),
		Names: tok, NameKey: name, Counters: kept, Controls: uses{}, Uses: kept, PINs: kept, Now: func() time.Time { return now }}
	h.open()
	return h
}

// open makes the service anew, as a restart does.
func (h *house) open() {
	h.t.Helper()
	var err error
	if h.Service, err = issuerhost.New(h.cfg); err != nil {
		h.t.Fatal(err)
	}
}

func pan(t *testing.T, digits string) token.PAN {
	t.Helper()
	digits = digits[:len(digits)-1]
	p, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// data is a transaction with a counter. 9F10 is Visa's format 1, CVN 18.
func data(atc uint16) emv.Data {
	return emv.Data{"9F02": {0, 0, 0, 0, 2, 0}, "9F03": make([]byte, 6), "9F1A": {1, 0x56}, "95": {0, 0, 0, 0x80, 0}, "5F2A": {1, 0x56},
		"9A": {0x26, 7, 0x24}, "9C": {0}, "9F37": {0x11, 0x22, 0x33, 0x44}, "82": {0x20, 0}, "9F36": {byte(atc >> 8), byte(atc)},
		"9F10": {6, 1, 0x12, 3, 0xA0, 0, 0}}
}

// made is a transaction as a card makes it by a profile.
func (h *house) made(profile, digits, psn string, version uint8, d emv.Data) issuerhost.Transaction {
	h.t.Helper()
	p, ok := emv.Profiles[profile]
	if !ok {
		p = own(h.t)[0]
	}
	number := pan(h.t, digits)
	c, err := emv.NewCard(number.Reveal(), psn)
	if err != nil {
		h.t.Fatal(err)
	}
	covered := maps.Clone(d)
	if err := p.Divide(covered); err != nil {
		h.t.Fatal(err)
	}
	ac, err := p.AC(h.t.Context(), h.cards, keyref.Ref{Realm: "bank", Usage: p.Usage(), Version: version}, c, covered)
	if err != nil {
		h.t.Fatal(err)
	}
	return issuerhost.Transaction{Payer: issuerhost.Payer{PAN: number, PSN: psn}, Profile: profile, Version: version, Data: d, AC: ac}
}

// ofToken is a transaction of the token.
func (h *house) ofToken(atc uint16) issuerhost.Transaction {
	t := h.made("visa-18", tokenText, "01", 1, data(atc))
	t.Payer = issuerhost.Payer{Ref: h.tokens.t.Ref}
	return t
}

func (h *house) pays(t issuerhost.Transaction, key string) error {
	h.t.Helper()
	_, err := h.Authorise(h.t.Context(), bank, issuerhost.Request{Transaction: t}, access.Attempt{Key: key})
	return err
}

// refuses expects a kind outside and a reason in the record.
func (h *house) refuses(err error, kind fault.Kind, reason string) {
	h.t.Helper()
	if fault.KindOf(err) != kind || h.log.reason() != reason {
		h.t.Errorf("%v (%s), recorded %q; want %s and %q", err, fault.KindOf(err), h.log.reason(), kind, reason)
	}
}

// TestAuthorise: the answer of each method is the one that the card expects.
func TestAuthorise(t *testing.T) {
	h := newHouse(t)
	for i, profile := range []string{"visa-10", "visa-18", "emv-aes-128", "city"} {
		tx := h.made(profile, panText, "01", 1, data(uint16(10*i+1)))
		answer := emv.Answer{Code: [2]byte{'0', '0'}, Status: [4]byte{0, 0x82, 0, 0}}
		got, err := h.Authorise(t.Context(), bank, issuerhost.Request{Transaction: tx, Answer: answer}, access.Attempt{})
		if err != nil {
			t.Fatalf("%s: %v", profile, err)
		}
		p, ok := emv.Profiles[profile]
		if !ok {
			p = own(t)[0]
		}
		c, _ := emv.NewCard(tx.Payer.PAN.Reveal(), "01")
		want, err := p.Issuer(t.Context(), h.cards, keyref.Ref{Realm: "bank", Usage: p.Usage(), Version: 1}, emv.Transaction{Card: c, Data: tx.Data, AC: tx.AC}, answer)
		if err != nil || string(want) != string(got.Response) || int(got.ATC) != 10*i+1 {
			t.Errorf("%s: %X, want %X; counter %d; %v", profile, got.Response, want, got.ATC, err)
		}
		silent, err := h.Authorise(t.Context(), bank, issuerhost.Request{Transaction: h.made(profile, panText, "01", 1, data(uint16(10*i+2))), Silent: true}, access.Attempt{})
		if err != nil || len(silent.Response) != 0 {
			t.Errorf("%s, no answer wanted: %X, %v", profile, silent.Response, err)
		}
	}
	if err := h.pays(h.ofToken(1), ""); err != nil {
		t.Errorf("a token by reference: %v", err)
	}
	byNumber := h.ofToken(2)
	byNumber.Payer = issuerhost.Payer{Number: h.tokens.t.Number}
	if err := h.pays(byNumber, ""); err != nil {
		t.Errorf("a token by number: %v", err)
	}
}

// TestAnswerOfAnotherMethod: zeros in the place of what the issuer said might be
// its contrary, so that nothing is answered, and no counter taken.
func TestAnswerOfAnotherMethod(t *testing.T) {
	h := newHouse(t)
	for i, tc := range []struct {
		profile string
		right   int
	}{{"visa-10", 1}, {"visa-18", 2}, {"emv-aes-128", 2}} {
		r := issuerhost.Request{Transaction: h.made(tc.profile, panText, "01", 1, data(uint16(10*i+1))), Method: 3 - tc.right}
		var wrong *emv.FieldError
		if _, err := h.Authorise(t.Context(), bank, r, access.Attempt{}); !errors.As(err, &wrong) || wrong.Field != "answer" || !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%s by method %d: %v", tc.profile, r.Method, err)
		}
		r.Method = tc.right
		if got, err := h.Authorise(t.Context(), bank, r, access.Attempt{}); err != nil || len(got.Response) == 0 {
			t.Errorf("%s after that: %+v, %v", tc.profile, got, err)
		}
	}
}

// TestWhichFieldIsWrong: a caller is told the field and what would do.
func TestWhichFieldIsWrong(t *testing.T) {
	h := newHouse(t)
	for field, change := range map[string]func(d emv.Data){
		"9F36: must have 2 bytes": func(d emv.Data) { delete(d, "9F36") },
		"9F02: must have 6 bytes": func(d emv.Data) { d["9F02"] = d["9F02"][:5] },
		"9C: must have 1 byte":    func(d emv.Data) { d["9C"] = []byte{0, 0} },
		"CVR: must have 4 bytes":  func(d emv.Data) { delete(d, "CVR"); delete(d, "9F10") },
	} {
		tx := h.made("visa-10", panText, "01", 1, data(1))
		change(tx.Data)
		var wrong *emv.FieldError
		if _, err := h.Authorise(t.Context(), bank, issuerhost.Request{Transaction: tx, Silent: true}, access.Attempt{}); !errors.As(err, &wrong) || err.Error() != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t)
	good := h.made("visa-18", panText, "01", 1, data(1))
	for name, c := range map[string]struct {
		spoil  func(*issuerhost.Transaction)
		kind   fault.Kind
		reason string
	}{
		"other cryptogram":       {func(x *issuerhost.Transaction) { x.AC[7] ^= 1 }, fault.Refused, "cryptogram"},
		"other amount":           {func(x *issuerhost.Transaction) { x.Data["9F02"] = []byte{0, 0, 0, 0, 3, 0} }, fault.Refused, "cryptogram"},
		"other profile":          {func(x *issuerhost.Transaction) { x.Profile = "visa-10" }, fault.Refused, "cryptogram"},
		"other key":              {func(x *issuerhost.Transaction) { x.Version = 2 }, fault.Refused, "cryptogram"},
		"unknown key":            {func(x *issuerhost.Transaction) { x.Version = 9 }, fault.RealmUnknown, "key-version"},
		"unknown profile":        {func(x *issuerhost.Transaction) { x.Profile = "none" }, fault.ProfileUnknown, "profile"},
		"profile not of issuer":  {func(x *issuerhost.Transaction) { x.Profile = "visa-22" }, fault.ProfileUnknown, "profile"},
		"unknown issuer":         {func(x *issuerhost.Transaction) { x.Payer.PAN = pan(t, "3761739001010119") }, fault.RealmUnknown, "issuer"},
		"other requestor's bank": {func(x *issuerhost.Transaction) { x.Payer.PAN = pan(t, "4761739901010119") }, fault.RealmUnknown, "other-issuer"},
		"token as card":          {func(x *issuerhost.Transaction) { x.Payer.PAN = pan(t, tokenText) }, fault.CardIsToken, "card-is-token"},
		"unknown token":          {func(x *issuerhost.Transaction) { x.Payer = issuerhost.Payer{Ref: "trB"} }, fault.Refused, "unknown"},
		"nobody":                 {func(x *issuerhost.Transaction) { x.Payer = issuerhost.Payer{} }, fault.Malformed, ""},
		"two":                    {func(x *issuerhost.Transaction) { x.Payer.Ref = h.tokens.t.Ref }, fault.Malformed, ""},
		"token with sequence":    {func(x *issuerhost.Transaction) { x.Payer = issuerhost.Payer{Ref: h.tokens.t.Ref, PSN: "01"} }, fault.Malformed, ""},
		"no counter":             {func(x *issuerhost.Transaction) { delete(x.Data, "9F36") }, fault.Malformed, ""},
		"short field":            {func(x *issuerhost.Transaction) { x.Data["9F02"] = []byte{0} }, fault.Malformed, ""},
		"long 9F10":              {func(x *issuerhost.Transaction) { x.Data["9F10"] = make([]byte, 32) }, fault.Malformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h.t, h.log.entries = t, nil
			bad := good
			bad.Data = maps.Clone(good.Data)
			c.spoil(&bad)
			h.refuses(h.pays(bad, ""), c.kind, c.reason)
		})
	}
	h.t = t
	_, err := h.Authorise(t.Context(), reader, issuerhost.Request{Transaction: good}, access.Attempt{})
	h.refuses(err, fault.Denied, "denied")
	for reason, change := range map[string]func(*token.Token){
		"other-requestor": func(x *token.Token) { x.Requestor = "11111111111" }, "suspended": func(x *token.Token) { x.State = token.Suspended },
		"deleted": func(x *token.Token) { x.State = token.Deleted }, "undecided": func(x *token.Token) { x.Decision = token.DecisionStepUp },
		"future": func(x *token.Token) { x.NotBefore = now.Add(time.Second) }, "expired": func(x *token.Token) { x.NotAfter = now },
	} {
		was := h.tokens.t
		change(&h.tokens.t)
		h.refuses(h.pays(h.ofToken(1), ""), fault.Refused, reason)
		h.tokens.t = was
	}
	if err := h.pays(good, ""); err != nil {
		t.Errorf("after all that, the good one: %v", err)
	}
	for _, e := range h.log.entries {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, good.Payer.PAN.Reveal()) || strings.Contains(text, tokenText) {
			t.Errorf("a record holds a number: %s", text)
		}
	}
}

// TestCounter: each value serves once, in a window, across restarts; the same
// attempt is answered again.
func TestCounter(t *testing.T) {
	h := newHouse(t)
	card := func(atc uint16) issuerhost.Transaction { return h.made("visa-18", panText, "01", 1, data(atc)) }
	if err := h.pays(card(100), "k1"); err != nil {
		t.Fatal(err)
	}
	if err := h.pays(card(100), "k1"); err != nil {
		t.Errorf("the same attempt: %v", err)
	}
	h.refuses(h.pays(card(100), "k2"), fault.CounterReplayed, "counter-replayed")
	h.open()
	h.refuses(h.pays(card(100), ""), fault.CounterReplayed, "counter-replayed")
	h.refuses(h.pays(card(201), ""), fault.CounterJumped, "counter-jumped")
	h.refuses(h.pays(card(94), ""), fault.CounterReplayed, "counter-replayed")
	for _, late := range []uint16{200, 197} {
		if err := h.pays(card(late), ""); err != nil {
			t.Errorf("%d: %v", late, err)
		}
	}
	h.refuses(h.pays(card(197), ""), fault.CounterReplayed, "counter-replayed")
	if err := h.pays(h.made("visa-18", panText, "02", 1, data(1)), ""); err != nil {
		t.Errorf("another card of the account has its own counter: %v", err)
	}
	// A token's number that comes back goes on where it was.
	if err := h.pays(h.ofToken(7), ""); err != nil {
		t.Fatal(err)
	}
	h.tokens.t.Ref = "trBBBBBBBBBBBBBBBBBBBBBBBBBB"
	h.refuses(h.pays(h.ofToken(7), ""), fault.CounterReplayed, "counter-replayed")
	var n int64
	if err := h.db.Read(t.Context()).Raw("SELECT COUNT(*) FROM emv_counters WHERE name = ? OR CAST(name AS TEXT) LIKE ?", panText, "%"+panText+"%").Scan(&n).Error; err != nil || n != 0 {
		t.Errorf("%d counters are kept under a number, %v", n, err)
	}
}

// TestGuessing: a caller may be wrong about a card so often, and nobody else
// suffers for it.
func TestGuessing(t *testing.T) {
	h := newHouse(t)
	good := h.made("visa-18", panText, "01", 1, data(1))
	bad := good
	bad.AC[0] ^= 1
	for range 32 {
		h.refuses(h.pays(bad, ""), fault.Refused, "cryptogram")
	}
	err := h.pays(good, "")
	h.refuses(err, fault.TooFast, "misses")
	if left := now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now); fault.Wait(err) != left {
		t.Errorf("told to wait %v, of %v", fault.Wait(err), left)
	}
	other := bank
	other.ID = "other"
	if _, err := h.Authorise(t.Context(), other, issuerhost.Request{Transaction: good}, access.Attempt{}); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if err := h.pays(h.made("visa-18", otherText, "01", 1, data(1)), ""); err != nil {
		t.Errorf("another card: %v", err)
	}
}

func TestBatch(t *testing.T) {
	h := newHouse(t)
	var rs []issuerhost.Request
	for i := range 40 {
		rs = append(rs, issuerhost.Request{Transaction: h.made("visa-18", fmt.Sprintf("47617390010%05d", 10*i), "01", 1, data(5))})
	}
	rs = append(rs, rs[3]) // the same counter twice: one of the two holds
	rs[7].AC[0] ^= 1
	items, err := h.AuthoriseBatch(t.Context(), bank, rs, access.Attempt{Key: "b1"})
	if err != nil || len(items) != len(rs) {
		t.Fatal(err)
	}
	for i, item := range items {
		switch kind := fault.KindOf(item.Err); {
		case i == 7 && kind != fault.Refused, i != 3 && i != 7 && i != 40 && item.Err != nil:
			t.Errorf("%d: %v", i, item.Err)
		}
	}
	if (items[3].Err == nil) == (items[40].Err == nil) {
		t.Errorf("one counter, twice: %v and %v", items[3].Err, items[40].Err)
	}
	again, err := h.AuthoriseBatch(t.Context(), bank, rs, access.Attempt{Key: "b1"})
	if err != nil || again[0].Err != nil || string(again[0].Response.Response) != string(items[0].Response.Response) {
		t.Errorf("the same attempt: %v", err)
	}
	for _, n := range []int{0, issuerhost.MaxBatch + 1} {
		if _, err := h.AuthoriseBatch(t.Context(), bank, make([]issuerhost.Request, n), access.Attempt{}); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%d transactions: %v", n, err)
		}
	}
	_, err = h.AuthoriseBatch(t.Context(), reader, rs, access.Attempt{})
	h.refuses(err, fault.Denied, "denied")
}

// TestVerifyBatch: each by itself, and nobody is refused for what could not be
// read.
func TestVerifyBatch(t *testing.T) {
	h := newHouse(t)
	var ts []issuerhost.Transaction
	for i := range 20 {
		ts = append(ts, h.made("visa-18", fmt.Sprintf("47617390010%05d", 10*i), "01", 1, data(5)))
	}
	ts[7].AC[0] ^= 1
	ts[9] = issuerhost.Transaction{}
	for range 2 { // no counter is taken
		errs, err := h.VerifyBatch(t.Context(), bank, ts)
		if err != nil || len(errs) != len(ts) {
			t.Fatal(err)
		}
		for i, err := range errs {
			want := map[int]error{7: issuerhost.ErrRefused, 9: emv.ErrMalformed}[i]
			if !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
		}
	}
	for _, n := range []int{0, issuerhost.MaxBatch + 1} {
		if _, err := h.VerifyBatch(t.Context(), bank, make([]issuerhost.Transaction, n)); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%d transactions: %v", n, err)
		}
	}
	_, err := h.VerifyBatch(t.Context(), reader, ts)
	h.refuses(err, fault.Denied, "denied")
}

// TestStateless: what takes no counter is for cards only, and no profile
// reaches a key that a PIN masks.
func TestStateless(t *testing.T) {
	h := newHouse(t)
	card := h.made("visa-18", panText, "01", 1, data(9))
	for range 2 {
		if err := h.Verify(t.Context(), bank, card); err != nil {
			t.Error(err)
		}
	}
	if err := h.pays(card, ""); err != nil {
		t.Errorf("a check took the counter: %v", err)
	}
	byNumber, asCard := h.ofToken(9), h.made("visa-18", tokenText, "01", 1, data(9))
	byNumber.Payer = issuerhost.Payer{Number: h.tokens.t.Number}
	for name, tx := range map[string]issuerhost.Transaction{"by reference": h.ofToken(9), "by number": byNumber, "as a card": asCard} {
		t.Log(name)
		h.refuses(h.Verify(t.Context(), bank, tx), fault.SlotToken, "slot-token")
		_, err := h.Explain(t.Context(), bank, tx)
		h.refuses(err, fault.SlotToken, "slot-token")
	}
	for name, p := range emv.Profiles {
		if u := p.Usage(); u == keyref.UserMaster || u == keyref.DeviceMaster {
			t.Errorf("%s reaches keys of phones", name)
		}
	}
	_, err := h.Explain(t.Context(), reader, card)
	h.refuses(err, fault.Denied, "denied")
	h.refuses(h.Verify(t.Context(), reader, card), fault.Denied, "denied")
}

func TestConfig(t *testing.T) {
	ok := issuerhost.Issuer{Realm: "bank", Prefixes: []string{"4761"}, Profiles: []string{"visa-18"}, Versions: []uint8{1}}
	if err := issuerhost.Check([]issuerhost.Issuer{ok}, nil); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*issuerhost.Issuer){
		"no realm": func(i *issuerhost.Issuer) { i.Realm = "" }, "no prefix": func(i *issuerhost.Issuer) { i.Prefixes = nil },
		"bad prefix": func(i *issuerhost.Issuer) { i.Prefixes = []string{"47x1"} }, "twice": func(i *issuerhost.Issuer) { i.Prefixes = []string{"47", "47"} },
		"unknown profile": func(i *issuerhost.Issuer) { i.Profiles = []string{"none"} }, "no version": func(i *issuerhost.Issuer) { i.Versions = nil },
		"version 0": func(i *issuerhost.Issuer) { i.Versions = []uint8{0} }, "far behind": func(i *issuerhost.Issuer) { i.Behind = 64 },
	} {
		bad := ok
		spoil(&bad)
		if issuerhost.Check([]issuerhost.Issuer{bad}, nil) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if issuerhost.Check([]issuerhost.Issuer{ok, ok}, nil) == nil || issuerhost.Check(nil, []emv.Profile{{Name: "x"}}) == nil ||
		issuerhost.Check(nil, append(own(t), own(t)...)) == nil {
		t.Error("a realm or profile twice, or a bad one, is taken")
	}
	if _, err := issuerhost.New(issuerhost.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
}
