package cardhost_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// record keeps entries, or fails.
type record struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (r *record) Record(_ context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return r.err
}

func (r *record) last() audit.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return audit.Entry{}
	}
	return r.entries[len(r.entries)-1]
}

// prefix says that serial numbers which start with a byte are tokens.
type prefix byte

func (p prefix) IsToken(asn [10]byte) bool { return asn[0] == byte(p) }

var (
	terminal = access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
	issuer   = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.ForRole(access.Issuer)}
	auditor  = access.Caller{ID: "eye", Role: access.Auditor, Scopes: access.ForRole(access.Auditor)}
	at, _    = cryptogram.ParseDateTime("20260301", "083059")
	card     = cardhost.Card{Realm: "transit", Issuer: [8]byte{1, 2, 3, 4, 5, 6, 7, 8},
		ASN: [10]byte{0x31, 0x04, 1, 2, 3, 4, 5, 6, 7, 8}, KeyVersion: 1}
)

func realm(name string, tac cryptogram.TACMode, factors ...string) cryptogram.Scheme {
	s := cryptogram.Scheme{Realm: name, Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1},
		TAC: tac, OverdraftTAC: tac}
	for _, f := range factors {
		r, err := cryptogram.ParseFactorRule(f)
		if err != nil {
			panic(err)
		}
		s.Factors = append(s.Factors, r)
	}
	return s
}

// usages are the keys of a realm that diversifies.
var usages = []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.UnloadMaster, keyref.OverdraftMaster, keyref.TACMaster}

func service(t *testing.T, keys conformance.Ring, realms ...cryptogram.Scheme) (*cardhost.Service, *record) {
	t.Helper()
	for i, u := range usages {
		key := make([]byte, 16)
		for k := range key {
			key[k] = byte(16*i + k)
		}
		if err := keys.ImportScratch(t.Context(), keyref.Ref{Realm: "transit", Usage: u, Version: 1}, key); err != nil {
			t.Fatal(err)
		}
	}
	r := &record{}
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: r}, Realms: realms, Tokens: prefix(0x91),
		Requestors: map[string][]string{"others": {"50110000002"}}})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// path leads to a key of card, as a card or PSAM would derive it.
func path(t *testing.T, u keyref.Usage) keyref.Path {
	t.Helper()
	p, err := realm("transit", cryptogram.TACFold, "issuer8", "asn8").Key(u, cryptogram.Card{Issuer: card.Issuer, ASN: card.ASN}, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func purchase() cryptogram.Purchase {
	return cryptogram.Purchase{Rand: [4]byte{1, 2, 3, 4}, Seq: 7, Amount: 200, Type: cryptogram.PurchasePurse,
		Terminal: [6]byte{6, 5, 4, 3, 2, 1}, TermSeq: 0x12345678, At: at}
}

// TestPurchase plays the card with a ring that holds the same masters.
func TestPurchase(t *testing.T) {
	keys := &softkey.Ring{}
	s, log := service(t, keys, realm("transit", cryptogram.TACFold, "issuer8", "asn8"))
	ctx, p := t.Context(), purchase()
	mac1, mac2, err := cryptogram.PurchaseMACs(ctx, keys, path(t, keyref.PurchaseMaster), p)
	if err != nil {
		t.Fatal(err)
	}
	tac, err := cryptogram.TAC(ctx, keys, path(t, keyref.TACMaster), cryptogram.TACFold, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.PurchaseMAC1(ctx, terminal, card, p); err != nil || got != mac1 {
		t.Errorf("MAC1 %X, %v", got, err)
	}
	if err := s.PurchaseVerify(ctx, terminal, card, p, cardhost.PurchaseProof{MAC2: mac2, MAC1: &mac1, TAC: &tac}); err != nil {
		t.Error(err)
	}
	if err := s.TACVerify(ctx, issuer, card, p, tac); err != nil {
		t.Error(err)
	}
	if len(log.entries) != 0 {
		t.Errorf("what held was recorded: %+v", log.entries)
	}
	bad := [4]byte{0xBA, 0xD0, 0xBA, 0xD0}
	for reason, proof := range map[string]cardhost.PurchaseProof{
		"mac2": {MAC2: bad, MAC1: &mac1, TAC: &tac}, "mac1": {MAC2: mac2, MAC1: &bad, TAC: &tac}, "tac": {MAC2: mac2, MAC1: &mac1, TAC: &bad},
	} {
		err := s.PurchaseVerify(ctx, terminal, card, p, proof)
		if !errors.Is(err, cryptogram.ErrMismatch) || log.last().Reason != reason || log.last().Object != "transit" {
			t.Errorf("%s: %v, recorded %+v", reason, err, log.last())
		}
		if err.Error() != cryptogram.ErrMismatch.Error() {
			t.Errorf("the answer says more than refused: %v", err)
		}
	}
	changed := p
	changed.Amount++
	if err := s.PurchaseVerify(ctx, terminal, card, changed, cardhost.PurchaseProof{MAC2: mac2}); !errors.Is(err, cryptogram.ErrMismatch) {
		t.Errorf("changed amount: %v", err)
	}
	if err := s.TACVerify(ctx, issuer, card, changed, tac); !errors.Is(err, cryptogram.ErrMismatch) {
		t.Errorf("changed amount: %v", err)
	}
}

// TestPurchaseBatch: each is answered in its place, and what does not hold is
// recorded; a batch is bounded.
func TestPurchaseBatch(t *testing.T) {
	keys := &softkey.Ring{}
	s, log := service(t, keys, realm("transit", cryptogram.TACFold, "issuer8", "asn8"))
	var all []cardhost.PurchaseCheck
	for i := range cardhost.MaxBatch {
		p := purchase()
		p.Seq = uint16(i)
		_, mac2, err := cryptogram.PurchaseMACs(t.Context(), keys, path(t, keyref.PurchaseMaster), p)
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 7 {
			mac2[0]++
		}
		all = append(all, cardhost.PurchaseCheck{Card: card, Purchase: p, Proof: cardhost.PurchaseProof{MAC2: mac2}})
	}
	errs, err := s.PurchaseVerifyBatch(t.Context(), terminal, all)
	if err != nil || len(errs) != len(all) {
		t.Fatalf("%d answers, %v", len(errs), err)
	}
	for i, err := range errs {
		if bad := i%100 == 7; errors.Is(err, cryptogram.ErrMismatch) != bad || !bad && err != nil {
			t.Errorf("purchase %d: %v", i, err)
		}
	}
	if len(log.entries) != 5 || log.last().Reason != "mac2" {
		t.Errorf("recorded: %+v", log.entries)
	}
	for _, n := range []int{0, len(all) + 1} {
		if _, err := s.PurchaseVerifyBatch(t.Context(), terminal, make([]cardhost.PurchaseCheck, n)); !errors.Is(err, cryptogram.ErrMalformed) {
			t.Errorf("a batch of %d: %v", n, err)
		}
	}
	if _, err := s.PurchaseVerifyBatch(t.Context(), access.Caller{ID: "nobody"}, all); !errors.Is(err, access.ErrDenied) {
		t.Errorf("nobody: %v", err)
	}
}

// call is one method, asked with fields that would do.
type call struct {
	name   string
	action access.Action
	do     func(s *cardhost.Service, c access.Caller, card cardhost.Card) error
}

func calls(ctx context.Context) []call {
	load := cryptogram.Load{Type: cryptogram.LoadPurse, Amount: 1, At: at}
	unload := cryptogram.Unload{Balance: 1, Amount: 1, At: at}
	overdraft := cryptogram.Overdraft{At: at}
	var none [4]byte
	return []call{
		{"mac1", access.PurchaseMake, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			_, err := s.PurchaseMAC1(ctx, c, k, purchase())
			return err
		}},
		{"verify", access.PurchaseMake, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			return s.PurchaseVerify(ctx, c, k, purchase(), cardhost.PurchaseProof{})
		}},
		{"tac", access.TACVerify, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			return s.TACVerify(ctx, c, k, overdraft, none)
		}},
		{"load", access.LoadHost, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			_, err := s.Load(ctx, c, k, load, none)
			return err
		}},
		{"unload", access.LoadHost, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			_, err := s.Unload(ctx, c, k, unload, none)
			return err
		}},
		{"unload verify", access.LoadHost, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			return s.UnloadVerify(ctx, c, k, unload, none)
		}},
		{"overdraft", access.LoadHost, func(s *cardhost.Service, c access.Caller, k cardhost.Card) error {
			_, err := s.Overdraft(ctx, c, k, overdraft, none)
			return err
		}},
	}
}

// TestRefusals: every method refuses the same things, in the same words.
func TestRefusals(t *testing.T) {
	s, log := service(t, &softkey.Ring{}, realm("transit", cryptogram.TACFold, "issuer8", "asn8"))
	slot, elsewhere, version, algorithm := card, card, card, card
	slot.ASN[0] = 0x91
	elsewhere.Realm = "nowhere-6228480000000000000"
	version.KeyVersion, algorithm.AlgorithmID = 2, 4
	for _, c := range calls(t.Context()) {
		for _, tc := range []struct {
			name   string
			caller access.Caller
			card   cardhost.Card
			want   error
			reason string
		}{
			{"not allowed", auditor, card, access.ErrDenied, "denied"},
			{"nobody", access.Caller{}, card, access.ErrDenied, "denied"},
			{"slot token", issuer, slot, cardhost.ErrSlotToken, "slot-token"},
			{"no such realm", issuer, elsewhere, cardhost.ErrRealm, "realm"},
			{"key version", issuer, version, cryptogram.ErrNoKey, ""},
			{"algorithm", issuer, algorithm, cryptogram.ErrNoKey, ""},
			{"bad MAC", issuer, card, cryptogram.ErrMismatch, "mac"},
		} {
			log.entries = nil
			err := c.do(s, tc.caller, tc.card)
			if c.name == "mac1" && tc.name == "bad MAC" { // it checks none
				tc.want, tc.reason = nil, ""
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("%s, %s: %v", c.name, tc.name, err)
			}
			if e := log.last(); tc.reason != "" && tc.reason != "mac" && (e.Outcome != audit.Refused || e.Reason != tc.reason || e.Action != c.action) {
				t.Errorf("%s, %s: recorded %+v", c.name, tc.name, e)
			}
			if strings.Contains(log.last().Object, "6228") {
				t.Errorf("%s, %s: a caller's text was recorded", c.name, tc.name)
			}
		}
	}
}

// TestRequestors: a realm that names token requestors answers no other's issuers, by any
// method, and tells them no more than of a realm that is not there. Terminals are nobody's.
func TestRequestors(t *testing.T) {
	s, log := service(t, &softkey.Ring{}, realm("transit", cryptogram.TACFold, "issuer8", "asn8"), realm("others", cryptogram.TACFold, "issuer8", "asn8"))
	theirs := card
	theirs.Realm = "others"
	own, foreign := issuer, issuer
	own.Requestor, foreign.Requestor = "50110000002", "50110000001"
	for _, c := range calls(t.Context()) {
		for _, stranger := range []access.Caller{foreign, issuer} {
			if err := c.do(s, stranger, theirs); !errors.Is(err, cardhost.ErrRealm) || log.last().Reason != "other-issuer" {
				t.Errorf("%s for %q: %v, recorded %+v", c.name, stranger.Requestor, err, log.last())
			}
			if err := c.do(s, stranger, card); errors.Is(err, cardhost.ErrRealm) {
				t.Errorf("%s in a realm that names nobody: %v", c.name, err)
			}
		}
		if err := c.do(s, own, theirs); errors.Is(err, cardhost.ErrRealm) {
			t.Errorf("%s for its own: %v", c.name, err)
		}
		if err := c.do(s, terminal, theirs); errors.Is(err, cardhost.ErrRealm) {
			t.Errorf("%s for a terminal: %v", c.name, err)
		}
	}
}

// TestRecordFirst: what orders money to move happens only if it was recorded.
func TestRecordFirst(t *testing.T) {
	s, log := service(t, &softkey.Ring{}, realm("transit", cryptogram.TACFold, "issuer8", "asn8"))
	log.err = fault.New(fault.AuditDown, "disk gone")
	for _, c := range calls(t.Context()) {
		err := c.do(s, issuer, card)
		if c.name != "mac1" && !errors.Is(err, log.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBadTransactions(t *testing.T) {
	s, _ := service(t, &softkey.Ring{}, realm("transit", cryptogram.TACFold, "issuer8", "asn8"))
	ctx := t.Context()
	p := purchase()
	p.Type = cryptogram.LoadPurse
	coded := purchase()
	coded.AuthCode = new([9]byte)
	var errs [6]error
	_, errs[0] = s.PurchaseMAC1(ctx, terminal, card, p)
	errs[1] = s.PurchaseVerify(ctx, terminal, card, coded, cardhost.PurchaseProof{})
	errs[2] = s.TACVerify(ctx, issuer, card, p, [4]byte{})
	_, errs[3] = s.Load(ctx, issuer, card, cryptogram.Load{Type: cryptogram.PurchasePurse, At: at}, [4]byte{})
	_, errs[4] = s.Unload(ctx, issuer, card, cryptogram.Unload{Amount: 1, At: at}, [4]byte{})
	_, errs[5] = s.Overdraft(ctx, issuer, card, cryptogram.Overdraft{OldLimit: cryptogram.Limit{1}, At: at}, [4]byte{})
	for i, err := range errs {
		if !errors.Is(err, cryptogram.ErrTransaction) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestTACModes(t *testing.T) {
	keys := &softkey.Ring{}
	refusing, direct := realm("transit", cryptogram.TACRefuse, "issuer8", "asn8"), realm("transit", cryptogram.TACFold, "issuer8", "asn8")
	direct.OverdraftTAC = cryptogram.TACDirect
	s, _ := service(t, keys, refusing)
	if err := s.TACVerify(t.Context(), issuer, card, purchase(), [4]byte{}); !errors.Is(err, cryptogram.ErrNoKey) {
		t.Error(err)
	}
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: &record{}}, Realms: []cryptogram.Scheme{direct}, Tokens: prefix(0x91)})
	if err != nil {
		t.Fatal(err)
	}
	o := cryptogram.Overdraft{At: at}
	for mode, want := range map[cryptogram.TACMode]error{cryptogram.TACDirect: nil, cryptogram.TACFold: cryptogram.ErrMismatch} {
		tac, err := cryptogram.TAC(t.Context(), keys, path(t, keyref.TACMaster), mode, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.TACVerify(t.Context(), issuer, card, o, tac); !errors.Is(err, want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestNew(t *testing.T) {
	good := realm("transit", cryptogram.TACFold, "asn8")
	for name, realms := range map[string][]cryptogram.Scheme{"twice": {good, good}, "bad": {{Realm: "x"}}} {
		if _, err := cardhost.New(cardhost.Config{Realms: realms}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestPublishedLogs replays every known answer through a realm without
// diversification on a SoftHSM token: the keys of a log are one card's own.
func TestPublishedLogs(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	b, err := os.ReadFile("../cryptogram/testdata/vectors/epurse.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Functions []struct {
			Function string
			Vectors  []struct {
				ID      string
				In, Out map[string]any
			}
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	log := realm("log", cryptogram.TACFold)
	log.AuthCode = true
	s, err := cardhost.New(cardhost.Config{Keys: keys, Gate: audit.Gate{Recorder: &record{}}, Realms: []cryptogram.Scheme{log}, Tokens: prefix(0x91)})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, f := range file.Functions {
		replay, ok := replays[f.Function]
		for _, v := range f.Vectors {
			if !ok {
				break
			}
			t.Run(v.ID, func(t *testing.T) { replay(t, s, keys, fields{t, v.In}, fields{t, v.Out}) })
			ran++
		}
	}
	if ran < 60 {
		t.Errorf("%d logs were replayed", ran)
	}
}

// fields reads a vector's members.
type fields struct {
	t *testing.T
	m map[string]any
}

func (f fields) num(name string) uint32 { n, _ := f.m[name].(float64); return uint32(n) }

func (f fields) hex(name string) []byte {
	s, _ := f.m[name].(string)
	b, err := hex.DecodeString(s)
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return b
}

func (f fields) mac(name string) [4]byte { return [4]byte(f.hex(name)) }

func (f fields) at() cryptogram.DateTime {
	date, _ := f.m["date"].(string)
	clock, _ := f.m["time"].(string)
	d, err := cryptogram.ParseDateTime(date, clock)
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

// use imports a vector's key into the log realm for this vector.
func (f fields) use(keys conformance.Ring, name string, u keyref.Usage) {
	ref := keyref.Ref{Realm: "log", Usage: u, Version: 1}
	if err := keys.ImportScratch(f.t.Context(), ref, f.hex(name)); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := keys.Forget(context.Background(), ref); err != nil {
			f.t.Error(err)
		}
	})
}

var logCard = cardhost.Card{Realm: "log", KeyVersion: 1}

var replays = map[string]func(t *testing.T, s *cardhost.Service, keys conformance.Ring, in, out fields){
	"epurse_purchase_tdes":      replayPurchase,
	"epurse_capp_purchase_tdes": replayPurchase,
	"epurse_load_tdes":          replayLoad,
	"epurse_unload_tdes": func(t *testing.T, s *cardhost.Service, keys conformance.Ring, in, out fields) {
		in.use(keys, "dulk", keyref.UnloadMaster)
		u := cryptogram.Unload{Rand: in.mac("rand"), Seq: uint16(in.num("online_seq")), Balance: in.num("balance"), Amount: in.num("amount"),
			Terminal: [6]byte(in.hex("term_id")), At: in.at()}
		mac2, err := s.Unload(t.Context(), issuer, logCard, u, out.mac("mac1"))
		if err != nil || mac2 != out.mac("mac2") {
			t.Errorf("MAC2 %X, %v", mac2, err)
		}
		if err := s.UnloadVerify(t.Context(), issuer, logCard, u, out.mac("mac3")); err != nil {
			t.Error(err)
		}
	},
	"epurse_update_overdraft_tdes": func(t *testing.T, s *cardhost.Service, keys conformance.Ring, in, out fields) {
		in.use(keys, "duk", keyref.OverdraftMaster)
		in.use(keys, "dtk", keyref.FoldedTAC)
		older, _ := cryptogram.NewLimit(in.num("old_limit"))
		newer, _ := cryptogram.NewLimit(in.num("new_limit"))
		o := cryptogram.Overdraft{Rand: in.mac("rand"), Seq: uint16(in.num("online_seq")), Balance: in.num("balance"),
			OldLimit: older, NewLimit: newer, Terminal: [6]byte(in.hex("term_id")), At: in.at()}
		mac2, err := s.Overdraft(t.Context(), issuer, logCard, o, out.mac("mac1"))
		if err != nil || mac2 != out.mac("mac2") {
			t.Errorf("MAC2 %X, %v", mac2, err)
		}
		if err := s.TACVerify(t.Context(), issuer, logCard, o, out.mac("tac")); err != nil {
			t.Error(err)
		}
	},
}

func replayPurchase(t *testing.T, s *cardhost.Service, keys conformance.Ring, in, out fields) {
	in.use(keys, "dpk", keyref.PurchaseMaster)
	in.use(keys, "dtk", keyref.FoldedTAC)
	p := cryptogram.Purchase{Rand: in.mac("rand"), Seq: uint16(in.num("offline_seq")), Amount: in.num("amount"),
		Type: cryptogram.PurchaseCAPP, Terminal: [6]byte(in.hex("term_id")), TermSeq: in.num("term_seq"), At: in.at()}
	if in.m["txn_type"] != nil {
		p.Type = cryptogram.Type(in.num("txn_type"))
	}
	if in.m["auth_code"] != nil {
		code := [9]byte(in.hex("auth_code"))
		p.AuthCode = &code
	}
	mac1, err := s.PurchaseMAC1(t.Context(), terminal, logCard, p)
	if err != nil || mac1 != out.mac("mac1") {
		t.Errorf("MAC1 %X, %v", mac1, err)
	}
	proof := cardhost.PurchaseProof{MAC2: out.mac("mac2"), MAC1: &mac1}
	if out.m["tac"] != nil {
		tac := out.mac("tac")
		proof.TAC = &tac
	}
	if err := s.PurchaseVerify(t.Context(), terminal, logCard, p, proof); err != nil {
		t.Error(err)
	}
}

func replayLoad(t *testing.T, s *cardhost.Service, keys conformance.Ring, in, out fields) {
	in.use(keys, "dlk", keyref.LoadMaster)
	l := cryptogram.Load{Rand: in.mac("rand"), Seq: uint16(in.num("online_seq")), Balance: in.num("balance"), Amount: in.num("amount"),
		Type: cryptogram.Type(in.num("txn_type")), Terminal: [6]byte(in.hex("term_id")), At: in.at()}
	mac2, err := s.Load(t.Context(), issuer, logCard, l, out.mac("mac1"))
	if err != nil || out.m["mac2"] != nil && mac2 != out.mac("mac2") {
		t.Errorf("MAC2 %X, %v", mac2, err)
	}
	if out.m["tac"] == nil {
		return
	}
	in.use(keys, "dtk", keyref.FoldedTAC)
	if err := s.TACVerify(t.Context(), issuer, logCard, l, out.mac("tac")); err != nil {
		t.Error(err)
	}
}
