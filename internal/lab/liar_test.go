package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// liar is a phone of tier B whose every key is its holder's to use as he likes. It says
// whatever it is told to, to whichever process.
type liar struct {
	t          *testing.T
	by         *liars
	wallet     string
	device     string
	ref        string
	wrap, sign *ecdsa.PrivateKey
	secret     mask.Secret
	epoch      uint32
	number     token.Number
	card       payload.Card
	slots      []slot
}

// slot is a slot with its keys, the TAC key's without the mask.
type slot struct{ payload.Slot }

// liars are callers of two processes.
type liars struct {
	f                *fleet
	issuer, operator *client.Client
	wallets, gates   [2]*client.Client // one at each process
	syncKey, pinKey  *ecdsa.PublicKey
	cards            int
}

const toppedUp = 20000

var shanghai = time.FixedZone("UTC+8", 8*3600)

func newLiars(t *testing.T) *liars {
	t.Helper()
	b := &liars{f: newFleet(t, 2, ""), cards: 7000}
	b.issuer, b.operator = b.caller(t, "issuer", 0), b.caller(t, "operator", 1)
	for i := range b.wallets {
		b.wallets[i], b.gates[i] = b.caller(t, "wallet", i), b.caller(t, "terminal", i)
	}
	set, err := b.wallets[0].SyncKeys(t.Context())
	b.syncKey = firstKey(t, set, err)
	set, err = b.wallets[1].IntakeKeys(t.Context())
	b.pinKey = firstKey(t, set, err)
	return b
}

// caller is a client of the nth process.
func (b *liars) caller(t *testing.T, id string, n int) *client.Client {
	t.Helper()
	key, err := client.ReadKey(filepath.Join(b.f.dir, "clients", id+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{BaseURL: b.f.ships[n].url, ClientID: id, Key: key,
		CAFile: filepath.Join(b.f.dir, "tls", "ca.pem"), Audience: "https://localhost:8443"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// need is what a call returned that may not fail.
func need[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// phone gives somebody a wallet with money, a PIN, and a token that no slots were given for.
func (b *liars) phone(t *testing.T) *liar {
	t.Helper()
	b.cards++
	l := &liar{t: t, by: b}
	l.wallet = need(b.issuer.OpenWallet(t.Context(), wire.WalletRequest{Holder: "ANONYMOUS"}))(t).ID
	need(b.issuer.AccountEvent(t.Context(), l.wallet, wire.AccountEvent{ID: "top-up", Type: "TOP_UP", Amount: toppedUp}))(t)
	l.wrap, l.sign = need(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), need(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	l.device = need(l.enrol(l.wallet))(t).ID
	need(b.wallets[0].SetPIN(t.Context(), l.wallet, wire.PINSet{PIN: l.sealPIN(l.wallet, "482915")}))(t)
	l.epoch = 1
	l.secret = mask.Argon2id(need(mask.ParsePIN([]byte("482915")))(t), mask.Salt(token.WalletID(l.wallet), 1))
	l.newToken()
	return l
}

// newToken is a token of a new card, bound to the phone.
func (l *liar) newToken() {
	l.t.Helper()
	l.by.cards++
	tok := need(l.by.issuer.RequestToken(l.t.Context(), wire.TokenRequest{PAN: wire.NewDigits(pan(l.by.cards)), PANExpiry: "4912", Location: "03"}))(l.t)
	need(l.by.issuer.BindToken(l.t.Context(), l.wallet, wire.WalletToken{Ref: tok.Ref, Device: l.device}))(l.t)
	l.ref, l.number = tok.Ref, need(token.ParseNumber(tok.Number))(l.t)
}

func (l *liar) enrol(wallet string) (wire.Device, error) {
	now := time.Now().UTC().Truncate(time.Second)
	q := wire.Enrolment{Wallet: wallet, WrapKey: jwkOf(l.t, l.wrap), SignKey: jwkOf(l.t, l.sign), Attestation: wire.Attestation{
		Verdict: "UNTRUSTED", Level: "SOFTWARE", At: now, PatchLevel: now.AddDate(0, -1, 0).Format("2006-01"), Boot: "VERIFIED",
		Locked: true, UseCount: "NONE", SignP95: 60}}
	q.Attestation.Leaf = wire.Hex32(sha256.Sum256([]byte(q.SignKey.X)))
	return l.by.wallets[1].Enrol(l.t.Context(), q)
}

func jwkOf(t *testing.T, k *ecdsa.PrivateKey) wire.PublicKey {
	t.Helper()
	d := need(bundle.DeviceFromKey(k))(t)
	return publicKey(t, need(d.PublicJWK())(t))
}

func (l *liar) sealPIN(wallet, pin string) string {
	l.t.Helper()
	h := need(bundle.NewHandset(bundle.HandsetConfig{Wallet: token.WalletID(wallet), SyncKey: l.by.syncKey, PINKey: l.by.pinKey}))(l.t)
	return need(h.SealPIN(pin))(l.t)
}

// truth is what an honest phone would say that never paid.
func (l *liar) truth() payload.Sync {
	var id [16]byte
	_, _ = rand.Read(id[:])
	point := need(bundle.NewProofKey(rand.Reader, 5))(l.t).Public()
	s := payload.Sync{Device: token.DeviceID(l.device), Ref: token.Ref(l.ref), ID: hex.EncodeToString(id[:]), Clock: time.Now().Unix(),
		PINEpoch: l.epoch, ProofKey: strings.ToUpper(hex.EncodeToString(point[:])), Reports: []payload.Report{}}
	for _, x := range l.slots {
		s.Reports = append(s.Reports, payload.Report{Ctr: x.UD.Ctr, Status: payload.Live})
	}
	return s
}

// signed is what is said, signed by the phone's key whatever it is.
func (l *liar) signed(body string) string {
	l.t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(`{"alg":"ES256","typ":"tapvault-sync"}`)) + "." + enc([]byte(body))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, l.sign, digest[:])
	if err != nil {
		l.t.Fatal(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + enc(sig[:])
}

func (l *liar) say(lie func(*payload.Sync)) string {
	s := l.truth()
	if lie != nil {
		lie(&s)
	}
	return l.signed(string(need(json.Marshal(s))(l.t)))
}

func (l *liar) send(node int, jws string) (wire.Synced, error) {
	return l.by.wallets[node].Sync(l.t.Context(), wire.Sync{Device: l.device, Signed: jws})
}

// sync says something and takes the slots that it is given.
func (l *liar) sync(node int, lie func(*payload.Sync)) wire.Synced {
	l.t.Helper()
	got, err := l.send(node, l.say(lie))
	if err != nil {
		l.t.Fatal(err)
	}
	l.take(got)
	return got
}

// take opens a bundle and takes the mask off its TAC keys.
func (l *liar) take(got wire.Synced) {
	l.t.Helper()
	if got.Bundle == nil {
		return
	}
	obj := need(jose.ParseEncryptedCompact(got.Bundle.JWE, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM}))(l.t)
	p := need(payload.Parse(need(obj.Decrypt(l.wrap))(l.t)))(l.t)
	head, _ := obj.Header.ExtraHeaders[payload.HeaderCard].(string)
	l.card = need(payload.ParseCard(head))(l.t)
	id := need(hex.DecodeString(got.Bundle.ID))(l.t)
	for _, s := range p.Slots {
		if err := mask.Apply(&s.TAC, &l.secret, nil, mask.Slot{Bundle: [16]byte(id), Ctr: s.UD.Ctr}); err != nil {
			l.t.Fatal(err)
		}
		l.slots = append(l.slots, slot{s})
	}
}

// tap is a purchase with a slot that no reader ever saw: all MACs are good.
func (l *liar) tap(n int, change func(*payload.Tap)) payload.Tap {
	l.t.Helper()
	s := l.slots[n]
	x := payload.Tap{Terminal: [6]byte{0x31, 5: byte(n)}, Issuer: l.card.Issuer, Number: l.number, UD: s.UD, Rand: [4]byte{0xC0, 0xFF, 0xEE, byte(n)},
		Seq: s.UD.Ctr, Amount: 200, Type: byte(cryptogram.PurchaseCAPP), TermSeq: uint32(n) + 1, KeyVersion: l.card.KeyVersion, Algorithm: l.card.Algorithm,
		At: cryptogram.DateTimeOf(time.Now().In(shanghai))}
	if change != nil {
		change(&x)
	}
	p := cryptogram.Purchase{Rand: x.Rand, Seq: x.Seq, Amount: uint32(x.Amount), Type: cryptogram.Type(x.Type), Terminal: x.Terminal, TermSeq: x.TermSeq, At: x.At}
	var ring softkey.Ring
	dpk := keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.PurchaseMaster, Version: 1}}
	dtk := keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.FoldedTAC, Version: 1}}
	if err := ring.ImportScratch(l.t.Context(), dpk.Key, s.Purchase[:]); err != nil {
		l.t.Fatal(err)
	}
	if err := ring.ImportScratch(l.t.Context(), dtk.Key, s.TAC[:]); err != nil {
		l.t.Fatal(err)
	}
	var err error
	if x.MAC1, x.MAC2, err = cryptogram.PurchaseMACs(l.t.Context(), &ring, dpk, p); err == nil {
		x.TAC, err = cryptogram.TAC(l.t.Context(), &ring, dtk, cryptogram.TACFold, p)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return x
}

// used says of a slot that it paid so.
func (l *liar) used(x payload.Tap) func(*payload.Sync) {
	enc := need(jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: l.by.syncKey}, nil))(l.t)
	sealed := need(need(enc.Encrypt(x.Bytes()))(l.t).CompactSerialize())(l.t)
	return func(s *payload.Sync) {
		for i, r := range s.Reports {
			if r.Ctr == x.Seq {
				s.Reports[i] = payload.Report{Ctr: x.Seq, Status: payload.Used, Tap: sealed}
				return
			}
		}
		s.Reports = append(s.Reports, payload.Report{Ctr: x.Seq, Status: payload.Used, Tap: sealed})
	}
}

// uploaded is what a gate of the nth process would hand in of a purchase.
func (l *liar) uploaded(node int, x payload.Tap) (wire.TapResult, error) {
	date, at := wire.Date{}, wire.Time{}
	copy(date[:], x.At[:4])
	copy(at[:], x.At[4:])
	r, err := l.by.gates[node].UploadTaps(l.t.Context(), "terminal", []wire.Tap{{TermID: x.Terminal, Issuer: x.Issuer, Number: l.number.Digits(), UD: x.UD.Bytes(),
		Rand: x.Rand, OfflineSeq: x.Seq, Amount: uint32(x.Amount), TxnType: x.Type, TermSeq: x.TermSeq, Date: date, Time: at, KeyVersion: x.KeyVersion,
		AlgorithmID: x.Algorithm, MAC1: x.MAC1, MAC2: x.MAC2, TAC: x.TAC}})
	if err != nil {
		return wire.TapResult{}, err
	}
	return r[0], nil
}

// holds checks what is in the wallet, and its state.
func (l *liar) holds(what string, available, reserve uint32, state string) {
	l.t.Helper()
	b := need(l.by.issuer.Balances(l.t.Context(), l.wallet))(l.t)
	w := need(l.by.issuer.Wallet(l.t.Context(), l.wallet))(l.t)
	if b.Available != available || b.Reserve != reserve || b.Due != 0 || w.State != state {
		l.t.Errorf("%s: %d available, %d reserved, %d due, %s; want %d, %d, 0, %s", what, b.Available, b.Reserve, b.Due, w.State, available, reserve, state)
	}
}

// agree checks that the books agree, with what gates are owed by now.
func (b *liars) agree(t *testing.T) {
	t.Helper()
	day := time.Now().In(shanghai)
	for _, d := range []time.Time{day, day.AddDate(0, 0, -1)} {
		r := need(b.operator.Recon(t.Context(), d.Format("2006-01-02")))(t)
		if len(r.Mismatches) != 0 {
			t.Errorf("%v: %+v", d, r.Mismatches)
		}
	}
}

// refusedAs reports an answer that is none of the refusals named.
func refusedAs(t *testing.T, what string, err error, kinds ...string) {
	t.Helper()
	for _, k := range kinds {
		if client.IsProblem(err, k) {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, err, fmt.Sprint(kinds))
}

// TestPhonesThatLie has phones that lie, and copies of phones, talk to two processes of the
// service over one database: no slot or money comes of it twice, what they make up is theirs
// alone to pay, and nobody else is held back.
func TestPhonesThatLie(t *testing.T) {
	b := newLiars(t)
	for name, test := range map[string]func(*testing.T, *liars){
		"answers lost": answersLost, "copies in a race": copiesInARace, "slots used twice": slotsUsedTwice, "messages cut": messagesCut,
		"others' keys": othersKeys, "made-up purchases": madeUpPurchases, "clocks": liarsClocks, "numbers": liarsNumbers, "PINs": liarsPINs,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, b)
			b.agree(t)
		})
	}
}

// answersLost: one sync, sent at once and again to both processes, is one grant.
func answersLost(t *testing.T, b *liars) {
	l := b.phone(t)
	jws := l.say(nil)
	got := make([]wire.Synced, 6)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = l.send(i%2, jws); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, g := range got {
		if t.Failed() || g.Bundle == nil || *g.Bundle != *got[0].Bundle {
			t.Fatalf("one sync, two answers: %+v, %+v", g.Bundle, got[0].Bundle)
		}
	}
	l.take(got[0])
	l.holds("one sync", toppedUp-5000, 5000, "ACTIVE")
	x := l.tap(0, nil)
	if s := l.sync(1, l.used(x)); s.Result != "CLEAN" || s.Bundle == nil || s.Bundle.Slots != 1 {
		t.Fatalf("a purchase is told: %+v", s)
	}
	if s, err := l.send(0, jws); err != nil || s.Bundle == nil || *s.Bundle != *got[0].Bundle { // long after
		t.Errorf("the first sync again: %+v, %v", s, err)
	}
	l.holds("the first sync again", toppedUp-6000, 6000, "ACTIVE") // what only the phone tells is held
	for i, want := range []string{"MERGED", "DUPLICATE", "DUPLICATE"} {
		if r, err := l.uploaded(i%2, x); err != nil || r.Outcome != want && r.Outcome != "DUPLICATE" {
			t.Errorf("upload %d: %+v, %v, want %s", i, r, err, want)
		}
	}
	l.holds("the gate told of it, three times", toppedUp-5200, 5000, "ACTIVE")
}

// copiesInARace: copies of one storage, none of which has slots yet, ask at once.
func copiesInARace(t *testing.T, b *liars) {
	l := b.phone(t)
	var all sync.WaitGroup
	got := make([]wire.Synced, 8)
	for i := range got {
		jws := l.say(nil)
		all.Go(func() {
			var err error
			if got[i], err = l.send(i%2, jws); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, g := range got {
		l.take(g)
	}
	seen := map[uint16]bool{}
	for _, s := range l.slots {
		if seen[s.UD.Ctr] {
			t.Errorf("slot %d was given twice", s.UD.Ctr)
		}
		seen[s.UD.Ctr] = true
	}
	if len(l.slots) != 5 {
		t.Errorf("copies were given %d slots together, want 5", len(l.slots))
	}
	l.holds("copies in a race", toppedUp-5000, 5000, "ACTIVE")
	all = sync.WaitGroup{}
	for i := range 6 { // each says that it has none
		jws := l.say(func(s *payload.Sync) { s.Reports = []payload.Report{} })
		all.Go(func() {
			if g, err := l.send(i%2, jws); err != nil || g.Bundle != nil || g.Result != "GAPS" {
				t.Errorf("a copy that says nothing of slots: %+v, %v", g, err)
			}
		})
	}
	all.Wait()
	l.holds("copies that say nothing", toppedUp-5000, 5000, "ACTIVE")
}

// slotsUsedTwice: two copies pay with one slot, at gates of two processes at once. One is
// paid by the holder, and the wallet and its token are held.
func slotsUsedTwice(t *testing.T, b *liars) {
	l := b.phone(t)
	l.sync(0, nil)
	var all sync.WaitGroup
	got := make([]wire.TapResult, 4)
	for i := range got {
		x := l.tap(0, func(x *payload.Tap) { x.Amount, x.Terminal[4], x.Rand[0] = token.Amount(200+10*i), byte(i), byte(i) })
		all.Go(func() {
			var err error
			if got[i], err = l.uploaded(i%2, x); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	balance := need(b.issuer.Balances(t.Context(), l.wallet))(t)
	if paid := toppedUp - balance.Available - balance.Reserve; paid < 200 || paid > 230 {
		t.Errorf("of one slot %d were paid: %+v, %+v", paid, got, balance)
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		w := need(b.issuer.Wallet(t.Context(), l.wallet))(t)
		tok := need(b.issuer.Token(t.Context(), l.ref))(t)
		if w.State == "SUSPENDED" && tok.State == "SUSPENDED" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a slot paid four times: the wallet is %s, its token %s", w.State, tok.State)
		}
	}
	if s, err := l.send(1, l.say(nil)); err != nil || s.Bundle != nil || len(s.Scripts) == 0 || s.Result != "CONTRADICTION" {
		t.Errorf("the copy asks for more: %+v, %v", s, err)
	}
}

// messagesCut: nothing comes of half a message, of two in one, or of one with a bit turned.
func messagesCut(t *testing.T, b *liars) {
	l := b.phone(t)
	l.sync(0, nil)
	jws := l.say(l.used(l.tap(0, nil)))
	parts := strings.Split(jws, ".")
	other := strings.Split(l.say(nil), ".")
	bad := map[string]string{"empty": "", "twice": jws + jws, "another signature": parts[0] + "." + parts[1] + "." + other[2],
		"another body": parts[0] + "." + other[1] + "." + parts[2], "no signature": parts[0] + "." + parts[1] + ".",
		"no algorithm": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."}
	for i := 1; i < len(jws); i += len(jws) / 12 {
		bad[fmt.Sprint("cut at ", i)] = jws[:i]
		turned := []byte(jws)
		turned[i] ^= 1
		bad[fmt.Sprint("turned at ", i)] = string(turned)
	}
	for name, text := range bad {
		_, err := l.send(len(text)%2, text)
		refusedAs(t, name, err, "malformed", "refused")
	}
	l.holds("messages cut", toppedUp-5000, 5000, "ACTIVE")
	if _, err := l.send(1, jws); err != nil {
		t.Error(err)
	}
	// The same name for something else.
	said := l.truth()
	first := l.signed(string(need(json.Marshal(said))(t)))
	need(l.send(0, first))(t)
	said.Remaining++
	_, err := l.send(1, l.signed(string(need(json.Marshal(said))(t))))
	refusedAs(t, "another sync of the same name", err, "idempotency-key-reused")
}

// othersKeys: a phone that gives itself out for another, or has what is another's.
func othersKeys(t *testing.T, b *liars) {
	victim, thief := b.phone(t), b.phone(t)
	victim.sync(0, nil)
	thief.sync(1, nil)
	x := victim.tap(0, nil)
	for name, lie := range map[string]func(*payload.Sync){
		"another's device": func(s *payload.Sync) { s.Device = token.DeviceID(victim.device) },
		"another's token":  func(s *payload.Sync) { s.Ref = token.Ref(victim.ref) },
		"no such device":   func(s *payload.Sync) { s.Device = "dvAAAAAAAAAAAAAAAAAAAAAAAAAA" },
		"no such token":    func(s *payload.Sync) { s.Ref = "trAAAAAAAAAAAAAAAAAAAAAAAAAA" },
		"no such epoch":    func(s *payload.Sync) { s.PINEpoch += 1 << 30 },
	} {
		jws := thief.say(lie)
		_, err := thief.send(0, jws)
		refusedAs(t, name, err, "refused")
		_, err = victim.send(1, jws)
		refusedAs(t, name+", as the other", err, "refused")
	}
	_, err := thief.send(0, victim.say(nil)) // overheard
	refusedAs(t, "another's sync", err, "refused")
	s := thief.sync(0, thief.used(x)) // another's purchase for one's own
	for _, d := range s.Decisions {
		if d.Outcome != "REJECTED" {
			t.Errorf("another's purchase: %+v", d)
		}
	}
	_, err = b.wallets[0].Ack(t.Context(), victim.ref, wire.Ack{BundleID: strings.Repeat("ab", 16)})
	refusedAs(t, "an acknowledgement made up", err, "token-unknown")
	_, err = b.wallets[0].Bundle(t.Context(), victim.ref, jwkOf(t, thief.wrap))
	refusedAs(t, "slots beside the account", err, "refused", "token-state")
	if r, err := thief.uploaded(0, x); err != nil || r.Outcome != "REJECTED" { // under the thief's number
		t.Errorf("another's purchase, by a gate: %+v, %v", r, err)
	}
	mine := thief.sign
	thief.sign = victim.sign // a copied key, enrolled for a wallet of its own
	if d, err := thief.enrol(thief.wallet); err == nil {
		_, err = b.wallets[0].Sync(t.Context(), wire.Sync{Device: d.ID, Signed: thief.say(func(s *payload.Sync) {
			s.Device, s.Ref = token.DeviceID(d.ID), token.Ref(victim.ref)
		})})
		refusedAs(t, "a copied key under another device", err, "refused")
	}
	thief.sign = mine
	victim.holds("who was robbed", toppedUp-5000, 5000, "ACTIVE")
	if s := victim.sync(0, victim.used(x)); s.Result != "CLEAN" || len(s.Decisions) != 1 || s.Decisions[0].Outcome == "REJECTED" {
		t.Errorf("who was robbed, afterwards: %+v", s)
	}
}

// madeUpPurchases: a phone makes purchases up that no reader saw. With good MACs they are
// held from its own money until a gate tells of them, and nobody is paid; with others they are nothing.
func madeUpPurchases(t *testing.T, b *liars) {
	l := b.phone(t)
	l.sync(0, nil)
	before := need(b.operator.Recon(t.Context(), time.Now().In(shanghai).Format("2006-01-02")))(t).Accounts["OPERATOR_PAYABLE"]
	for name, change := range map[string]func(*payload.Tap){
		"over the cap":     func(x *payload.Tap) { x.Amount = 1001 },
		"all there is":     func(x *payload.Tap) { x.Amount = 0xFFFFFFFF },
		"more than signed": func(x *payload.Tap) { x.Amount = 0x80000000 },
		"never issued":     func(x *payload.Tap) { x.UD.Ctr, x.Seq = 60000, 60000 },
		"a greater cap":    func(x *payload.Tap) { x.UD.Cap, x.Amount = 60000, 5000 },
		"next year":        func(x *payload.Tap) { x.At = cryptogram.DateTimeOf(time.Now().AddDate(1, 0, 0).In(shanghai)) },
		"last year":        func(x *payload.Tap) { x.At = cryptogram.DateTimeOf(time.Now().AddDate(-1, 0, 0).In(shanghai)) },
		"no date":          func(x *payload.Tap) { x.At = [7]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF} },
		"another type":     func(x *payload.Tap) { x.Type = 2 },
	} {
		x := l.signedAnyway(0, change)
		s, err := l.send(len(name)%2, l.say(l.used(x)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, d := range s.Decisions {
			if d.Outcome != "REJECTED" {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if s.Bundle != nil {
			t.Errorf("%s: it was given %d slots", name, s.Bundle.Slots)
		}
	}
	l.holds("what no phone can have done", toppedUp-5000, 5000, "ACTIVE")
	for i, fen := range []token.Amount{1000, 0, 1} {
		s := l.sync(i%2, l.used(l.tap(i, func(x *payload.Tap) { x.Amount, x.Terminal = fen, [6]byte{0x31} })))
		if len(s.Decisions) != 1 || s.Decisions[0].Outcome != "POSTED" || s.Authority > 5000 {
			t.Errorf("a purchase of %d that no gate saw: %+v", fen, s)
		}
	}
	after := need(b.operator.Recon(t.Context(), time.Now().In(shanghai).Format("2006-01-02")))(t).Accounts["OPERATOR_PAYABLE"]
	balance := need(b.issuer.Balances(t.Context(), l.wallet))(t)
	if after != before || balance.Available+balance.Reserve != toppedUp || balance.Reserve != balance.Authority+3000 {
		t.Errorf("purchases that never were: gates are owed %d more, the wallet has %+v", after-before, balance)
	}
}

// signedAnyway is tap, also of what no purchase can be.
func (l *liar) signedAnyway(n int, change func(*payload.Tap)) payload.Tap {
	x := l.tap(n, nil)
	y := x
	change(&y)
	p := cryptogram.Purchase{Rand: y.Rand, Seq: y.Seq, Amount: uint32(y.Amount), Type: cryptogram.Type(y.Type), Terminal: y.Terminal, TermSeq: y.TermSeq, At: y.At}
	if p.Validate() != nil {
		return y // with the MACs of something else
	}
	return l.tap(n, change)
}

// liarsClocks: a clock that jumps by years between syncs brings nothing and costs nothing.
func liarsClocks(t *testing.T, b *liars) {
	l := b.phone(t)
	l.sync(0, nil)
	now := time.Now().Unix()
	const year = 365 * 24 * 3600
	for i, clock := range []int64{1, now + 10*year, now - 10*year, 1 << 40, now, now + 3600, 1, now} {
		s := l.sync(i%2, func(s *payload.Sync) { s.Clock = clock })
		if s.Result != "CLEAN" || s.Bundle != nil || s.State != "ACTIVE" {
			t.Errorf("a clock at %d: %+v", clock, s)
		}
	}
	l.holds("clocks", toppedUp-5000, 5000, "ACTIVE")
	x := l.tap(0, nil)
	if r, err := l.uploaded(0, x); err != nil || r.Outcome != "POSTED" {
		t.Errorf("an honest purchase after all that: %+v, %v", r, err)
	}
	l.holds("an honest purchase after all that", toppedUp-5000+800, 4000, "ACTIVE")
	if s := l.sync(1, l.used(x)); s.Result != "CLEAN" || s.Bundle == nil || s.Bundle.Slots != 1 {
		t.Errorf("an honest sync after all that: %+v", s)
	}
}

// liarsNumbers: numbers that are none, or too great.
func liarsNumbers(t *testing.T, b *liars) {
	l := b.phone(t)
	l.sync(0, nil)
	body := string(need(json.Marshal(l.truth()))(t))
	for name, edit := range map[string][2]string{
		"negative counter":  {`"ctr":`, `"ctr":-`},
		"great counter":     {`"ctr":`, `"ctr":7777777`},
		"negative count":    {`"count":0`, `"count":-1`},
		"great count":       {`"count":0`, `"count":99999999999999999999999`},
		"negative money":    {`"remaining":0`, `"remaining":-1`},
		"more than money":   {`"remaining":0`, `"remaining":4294967296000000000000`},
		"a part of money":   {`"remaining":0`, `"remaining":0.5`},
		"negative epoch":    {`"pin_epoch":1`, `"pin_epoch":-1`},
		"great epoch":       {`"pin_epoch":1`, `"pin_epoch":4294967297`},
		"no time":           {`"clock":`, `"clock":0e1,"x":`},
		"negative time":     {`"clock":`, `"clock":-`},
		"great time":        {`"clock":`, `"clock":9999999`},
		"another status":    {`UNUSED_ACTIVE`, `NEW`},
		"used, and no more": {`UNUSED_ACTIVE`, `USED`},
		"a member more":     {`"count":0`, `"count":0,"limit":100000`},
		"a member twice":    {`"count":0`, `"count":0,"reports":[]`},
	} {
		lie := strings.Replace(body, edit[0], edit[1], 1)
		if lie == body {
			t.Fatalf("%s: nothing was changed of %s", name, body)
		}
		s, err := l.send(len(name)%2, l.signed(lie))
		if err == nil && s.Bundle == nil && name == "a member twice" {
			continue
		}
		refusedAs(t, name, err, "malformed")
	}
	_, err := b.issuer.AccountEvent(t.Context(), l.wallet, wire.AccountEvent{ID: "great", Type: "TOP_UP", Amount: 0xFFFFFFFF})
	refusedAs(t, "the greatest top-up", err, "malformed")
	l.holds("numbers", toppedUp-5000, 5000, "ACTIVE")
}

// liarsPINs: guesses at a PIN, one of another wallet, a change whose answer was lost, and a
// copy that goes on under the old one.
func liarsPINs(t *testing.T, b *liars) {
	l, other := b.phone(t), b.phone(t)
	l.sync(0, nil)
	for i, pin := range []string{l.sealPIN(other.wallet, "482915"), l.sealPIN(l.wallet, "482916")} {
		_, err := b.wallets[i].VerifyPIN(t.Context(), l.wallet, wire.PINVerify{PIN: pin})
		refusedAs(t, "a wrong PIN", err, "refused", "intake")
	}
	ctx := client.WithAttempt(t.Context(), "change-1-"+l.wallet)
	q := wire.PINChange{Old: l.sealPIN(l.wallet, "482915"), PIN: l.sealPIN(l.wallet, "739164")}
	first := need(b.wallets[0].ChangePIN(ctx, l.wallet, q))(t)
	again := need(b.wallets[1].ChangePIN(ctx, l.wallet, q))(t)
	if first.Epoch != 2 || again != first {
		t.Errorf("a change whose answer was lost: %+v, then %+v", first, again)
	}
	_, err := l.send(1, l.say(nil)) // the copy knows nothing of it
	refusedAs(t, "a copy of before", err, "refused")
	l.epoch = 2
	if s, err := l.send(0, l.say(nil)); err != nil || s.Bundle != nil {
		t.Errorf("slots under two PINs: %+v, %v", s, err)
	}
	x := l.tap(0, nil) // ridden before the change, told of after it
	if r, err := l.uploaded(1, x); err != nil || r.Outcome != "POSTED" {
		t.Errorf("a purchase of before: %+v, %v", r, err)
	}
	left := need(l.by.issuer.Balances(t.Context(), l.wallet))(t)
	if left.Available+left.Reserve != toppedUp-200 {
		t.Errorf("after all that: %+v", left)
	}
	other.holds("another wallet", toppedUp, 0, "ACTIVE")
}
