package edge_test

import (
	"context"
	"crypto/des"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/edge"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/pin"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

var (
	caller   = access.Caller{ID: "w1", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}
	operator = access.Caller{ID: "op", Role: access.Operator, Scopes: access.ForRole(access.Operator)}
	walletA  = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")
	walletB  = token.WalletID("wlBBBBBBBBBBBBBBBBBBBBBBBBBB")
	issuer   = [8]byte{0x10, 1}
)

// cheap stretches at once, so that tests take seconds. It changes nothing of
// what they show: a dear stretch multiplies every guess by its cost.
func cheap(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret {
	return mask.Secret(sha256.Sum256(p.AppendTo(salt[:])))
}

// accounts is an account service that grants full bundles, as far as this
// package can see one.
type accounts struct {
	mu      sync.Mutex
	tokens  *vault.Writer
	pins    *walletdb.PINs
	now     func() time.Time
	wallets map[token.WalletID]account.WalletState
	bound   map[token.Ref]token.WalletID
	device  map[token.Ref]token.DeviceID
	windows map[token.WalletID][]time.Time // wrong PINs at terminals
	syncs   map[string]account.Settlement
	live    map[token.Ref]map[uint16]bool
	heard   []account.Report
	terms   account.Terms // of the last sync
}

func (a *accounts) Open(_ context.Context, _ access.Caller, w token.WalletID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wallets[w] == "" {
		return wallet.ErrRefused
	}
	return nil
}

func (a *accounts) WrongWindows(_ context.Context, w token.WalletID, since time.Time) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.windows[w] {
		if at.After(since) {
			n++
		}
	}
	return n, nil
}

func (a *accounts) PINTried(ctx context.Context, w token.WalletID) error {
	since, n, err := a.pins.Since(ctx, w)
	if err != nil {
		return err
	}
	offline, _ := a.WrongWindows(ctx, w, since)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch n += offline; {
	case n >= 5:
		a.wallets[w] = account.WalletSuspended
	case n >= 3:
		a.wallets[w] = account.WalletRestricted
	}
	return nil
}

func (a *accounts) Tokens(_ context.Context, w token.WalletID) (refs []token.Ref, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ref, of := range a.bound {
		if of == w {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

func (a *accounts) Holder(_ context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bound[ref] == "" {
		return "", "", wallet.ErrRefused
	}
	return a.bound[ref], a.device[ref], nil
}

func (a *accounts) Sync(ctx context.Context, _ access.Caller, q account.SyncRequest) (account.Settlement, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.syncs[q.ID]; ok {
		return s, nil
	}
	out := account.Settlement{Result: account.SyncClean, State: a.wallets[q.Wallet]}
	if a.live[q.Ref] == nil {
		a.live[q.Ref] = map[uint16]bool{}
	}
	a.heard, a.terms = append(a.heard, q.Reports...), q.Terms
	for _, r := range q.Reports {
		if r.Status == account.ReportUsed {
			delete(a.live[q.Ref], r.Ctr)
			out.Decisions = append(out.Decisions, account.Result{Outcome: account.Posted})
		}
	}
	n := len(q.Terms.Layout) - len(a.live[q.Ref])
	if out.State == account.WalletActive && n > 0 {
		t, err := a.tokens.Token(ctx, q.Ref)
		if err != nil {
			return out, err
		}
		first, err := a.tokens.TakeCounters(ctx, q.Ref, n)
		if err != nil {
			return out, err
		}
		id := sha256.Sum256([]byte(q.ID))
		g := &account.Grant{BundleID: hex.EncodeToString(id[:16]), Ref: q.Ref}
		for i := range n {
			k := q.Terms.Layout[i]
			u, err := credential.NewUD(t.NotAfter, first+uint16(i), k.Cap, k.Class, q.Terms.KeyVersion)
			if err != nil {
				return out, err
			}
			g.Slots = append(g.Slots, u)
			a.live[q.Ref][u.Ctr] = true
			out.Balances.Remaining += k.Cap
		}
		out.Grant = g
	}
	a.syncs[q.ID] = out
	return out, nil
}

// trail keeps what the gate records.
type trail struct {
	mu      sync.Mutex
	entries []audit.Entry
}

func (r *trail) Record(_ context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

// last is why something was refused last.
func (r *trail) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(r.entries) {
		if e.Outcome == audit.Refused {
			return e.Reason
		}
	}
	return ""
}

// rig is everything but the account over a real vault, HSM and database.
type rig struct {
	*edge.Service
	pins     *pin.Service
	devices  *enrol.Service
	bundles  *wallet.Service
	accounts *accounts
	tokens   *vault.Writer
	vault    *vaulttest.Fixture
	hsm      *hsm.Token
	db       *store.DB
	trail    *trail
	intake   *intake.Service
	cfg      edge.Config
	wcfg     wallet.Config
	pcfg     pin.Config
	issued   int
}

func opener(t testing.TB, h *hsm.Token, u keyref.Usage) *intake.Service {
	t.Helper()
	ref := keyref.Ref{Usage: u, Version: 1}
	pub, err := h.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	s, err := intake.New(intake.Key{Public: pub, Agree: func(ctx context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
		return h.ECDH(ctx, ref, peer, use)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{hsm: hsmtest.New(t, hsmtest.Options{}), trail: &trail{}, db: storetest.New(t)}
	r.vault = vaulttest.On(t, r.db, r.hsm)
	r.tokens = r.vault.Writer()
	now, gate := r.vault.Clock.Now, audit.Gate{Recorder: r.trail}
	pins := walletdb.NewPINs(r.db)
	r.accounts = &accounts{tokens: r.tokens, pins: pins, now: now,
		wallets: map[token.WalletID]account.WalletState{walletA: account.WalletActive, walletB: account.WalletActive},
		bound:   map[token.Ref]token.WalletID{}, device: map[token.Ref]token.DeviceID{}, windows: map[token.WalletID][]time.Time{},
		syncs: map[string]account.Settlement{}, live: map[token.Ref]map[uint16]bool{}}
	r.intake = opener(t, r.hsm, keyref.Intake)
	r.pcfg = pin.Config{Store: pins, Tries: pins, Accounts: r.accounts, Tokens: r.tokens, Keys: r.hsm, Opener: r.intake,
		Gate: gate, Stretch: cheap, Now: now}
	var err error
	if r.pins, err = pin.New(r.pcfg); err != nil {
		t.Fatal(err)
	}
	if r.devices, err = enrol.New(enrol.Config{Store: walletdb.NewDevices(r.db), Wallets: r.accounts, Gate: gate, Now: now}); err != nil {
		t.Fatal(err)
	}
	bdb := walletdb.New(r.db)
	r.wcfg = wallet.Config{Tokens: r.tokens, Keys: r.hsm, Store: bdb, Granted: bdb, Gate: gate, Realm: hsmtest.Realm, KeyVersion: 1,
		Slots: 3, Cap: 1000, Issuer: issuer, Now: now,
		Bound: func(ctx context.Context, ref token.Ref) (bool, error) {
			_, _, err := r.accounts.Holder(ctx, ref)
			return err == nil, nil
		}}
	if r.bundles, err = wallet.New(r.wcfg); err != nil {
		t.Fatal(err)
	}
	r.cfg = edge.Config{Accounts: r.accounts, Devices: r.devices, PINs: r.pins, Bundles: r.bundles, Tokens: r.tokens,
		Opener: opener(t, r.hsm, keyref.SyncIntake), Gate: gate, KeyVersion: 1, Now: now}
	r.Service = r.with(t, r.cfg)
	return r
}

func (r *rig) with(t testing.TB, c edge.Config) *edge.Service {
	t.Helper()
	s, err := edge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// attested is a device of tier A as of today.
func (r *rig) attested() enrol.Attestation {
	return enrol.Attestation{Verdict: enrol.Trusted, Level: enrol.TEE, At: r.vault.Clock.Now(), Patch: "2026-01", Boot: enrol.Verified,
		Locked: true, Leaf: hex64('A'), HardwareMAC: true, UseCount: enrol.AnyCount, SignP95: 60 * time.Millisecond}
}

func hex64(c byte) string { return string(slices.Repeat([]byte{c}, 64)) }

// phone is a handset of a wallet, enrolled, and its token.
type phone struct {
	*bundle.Handset
	rig    *rig
	id     token.DeviceID
	wallet token.WalletID
	token  token.Token
}

// blank is a handset that nobody knows yet.
func (r *rig) blank(t testing.TB, w token.WalletID) *phone {
	t.Helper()
	h := r.handset(t, w, nil)
	return &phone{Handset: h, rig: r, wallet: w}
}

func (p *phone) enrol(t testing.TB, a enrol.Attestation) enrol.Device {
	t.Helper()
	wrap, sign, err := p.Keys()
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.rig.devices.Enrol(t.Context(), caller, enrol.Request{Wallet: p.wallet, WrapKey: wrap, SignKey: sign, Attestation: a})
	if err != nil {
		t.Fatal(err)
	}
	p.Enrolled(d.ID)
	p.id = d.ID
	return d
}

// bind gives the phone a new token.
func (p *phone) bind(t testing.TB) token.Token {
	t.Helper()
	p.rig.issued++
	tok, err := p.rig.tokens.Issue(t.Context(), p.rig.vault.Order(t, p.rig.issued), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	p.rig.accounts.mu.Lock()
	defer p.rig.accounts.mu.Unlock()
	p.rig.accounts.bound[tok.Ref], p.rig.accounts.device[tok.Ref] = p.wallet, p.id
	p.token = tok
	return tok
}

const goodPIN, otherPIN = "482915", "907346"

func (p *phone) sealed(t testing.TB, digits string) string {
	t.Helper()
	s, err := p.SealPIN(digits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// setPIN sets the wallet's PIN.
func (p *phone) setPIN(t testing.TB, digits string) {
	t.Helper()
	epoch, err := p.rig.pins.Set(t.Context(), caller, p.wallet, pin.Choice{PIN: p.sealed(t, digits)})
	if err != nil {
		t.Fatal(err)
	}
	p.PINChanged(epoch)
}

// phone returns a phone of tier A with a PIN and a token, before its first sync.
func (r *rig) phone(t testing.TB, w token.WalletID) *phone {
	t.Helper()
	p := r.blank(t, w)
	p.enrol(t, r.attested())
	p.setPIN(t, goodPIN)
	p.bind(t)
	return p
}

// ask syncs and returns the answer, without giving it to the phone.
func (p *phone) ask(t testing.TB, s *edge.Service) (edge.Answer, error) {
	t.Helper()
	q, err := p.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	return s.Sync(t.Context(), caller, q.Device, q.Signed)
}

// sync syncs, and the phone does as it is told.
func (p *phone) sync(t testing.TB) edge.Answer {
	t.Helper()
	a, err := p.ask(t, p.rig.Service)
	if err != nil {
		t.Fatalf("%v: %s", err, p.rig.trail.last())
	}
	p.told(t, a)
	return a
}

func (p *phone) told(t testing.TB, a edge.Answer) {
	t.Helper()
	in := bundle.SyncAnswer{ID: a.SyncID, Remaining: a.Balances.Remaining, Scripts: a.Scripts}
	if a.Bundle != nil {
		in.BundleID, in.Bundle, in.Hardware = a.Bundle.ID, a.Bundle.JWE, a.Bundle.Hardware
	}
	if err := p.Apply(p.token.Ref, in); err != nil {
		t.Fatal(err)
	}
}

// paid is a purchase as the reader knows it.
type paid struct {
	ud         credential.UD
	purchase   cryptogram.Purchase
	mac1, mac2 [4]byte
	tac        [4]byte
	shown      credential.Presentation
}

var errPhone = errors.New("the phone refuses")

func (p *phone) send(t testing.TB, command string, tail ...byte) ([]byte, error) {
	t.Helper()
	b, err := hex.DecodeString(command)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Transmit(t.Context(), append(b, tail...))
	if err != nil {
		t.Fatal(err)
	}
	r, err := apdu.ParseResponse(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.SW != apdu.OK {
		return nil, errPhone
	}
	return r.Data, nil
}

// begin is a purchase up to the debit, which it returns with a good MAC1.
func (p *phone) begin(t testing.TB, amount uint32) (got paid, debit []byte, err error) {
	t.Helper()
	p.Reset()
	if _, err := p.send(t, "00A4040008A00000063201010500"); err != nil {
		return got, nil, err
	}
	shown, err := p.send(t, "80CADF0100")
	if err != nil {
		return got, nil, err
	}
	if got.shown, err = credential.ParsePresentation(shown); err != nil {
		t.Fatal(err)
	}
	terminal := [6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	init := append(binary.BigEndian.AppendUint32([]byte{1}, amount), terminal[:]...)
	b, err := p.send(t, "805003020B", append(init, 15)...)
	if err != nil {
		return got, nil, err
	}
	got.ud = got.shown.UD
	got.purchase = cryptogram.Purchase{Rand: [4]byte(b[11:]), Seq: binary.BigEndian.Uint16(b[4:]), Amount: amount,
		Type: cryptogram.PurchaseCAPP, Terminal: terminal, TermSeq: 77 + uint32(got.ud.Ctr), At: cryptogram.DateTimeOf(p.rig.vault.Clock.Now())}
	got.mac1, got.mac2, err = cryptogram.PurchaseMACs(t.Context(), p.rig.hsm, p.path(t, keyref.SlotPurchaseMaster, got.ud), got.purchase)
	if err != nil {
		t.Fatal(err)
	}
	debit = binary.BigEndian.AppendUint32(nil, got.purchase.TermSeq)
	debit = append(append(debit, got.purchase.At[:]...), got.mac1[:]...)
	return got, append(debit, 8), nil
}

// pay is a whole purchase at a reader with the right keys.
func (p *phone) pay(t testing.TB, amount uint32) (got paid, err error) {
	t.Helper()
	got, debit, err := p.begin(t, amount)
	if err != nil {
		return got, err
	}
	out, err := p.send(t, "805401000F", debit...)
	if err != nil {
		return got, err
	}
	got.tac = [4]byte(out)
	if [4]byte(out[4:]) != got.mac2 {
		t.Fatal("MAC2 differs")
	}
	return got, nil
}

// path leads to a key of a slot of the phone's token.
func (p *phone) path(t testing.TB, u keyref.Usage, ud credential.UD) keyref.Path {
	t.Helper()
	asn := p.token.Number.ASN()
	path, err := keyref.Ref{Realm: hsmtest.Realm, Usage: u, Version: 1}.Path(issuer, keyref.Factor(asn[2:]), ud.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tacGood asks the HSM whether the TAC of a purchase is right.
func (p *phone) tacGood(t testing.TB, g paid) bool {
	t.Helper()
	want, err := cryptogram.TAC(t.Context(), p.rig.hsm, p.path(t, keyref.SlotTACMaster, g.ud), cryptogram.TACFold, g.purchase)
	if err != nil {
		t.Fatal(err)
	}
	return want == g.tac
}

func tokenDevice(s string) token.DeviceID { return token.DeviceID(s) }

func attempt(key string) access.Attempt {
	return access.Attempt{Key: key, Digest: sha256.Sum256([]byte(key))}
}

// newWallet opens one more wallet.
func newWallet(r *rig) (token.WalletID, error) {
	w, err := token.DrawWalletID(rand.Reader)
	r.accounts.mu.Lock()
	defer r.accounts.mu.Unlock()
	r.accounts.wallets[w] = account.WalletActive
	return w, err
}

func leafOf(w token.WalletID) string {
	sum := sha256.Sum256([]byte(w))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (r *rig) pin(t testing.TB, c pin.Config) *pin.Service {
	t.Helper()
	s, err := pin.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tacKey is the TAC key of a slot, as the HSM derives it.
func (r *rig) tacKey(t testing.TB, tok token.Token, u credential.UD) [16]byte {
	t.Helper()
	asn := tok.Number.ASN()
	path, err := keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.SlotTACMaster, Version: 1}.Path(issuer, keyref.Factor(asn[2:]))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := r.hsm.SlotKeys(t.Context(), path, []keyref.Factor{u.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

// purchaseKey is the purchase key of a slot, as the HSM derives it.
func (r *rig) purchaseKey(t testing.TB, tok token.Token, u credential.UD) [16]byte {
	t.Helper()
	asn := tok.Number.ASN()
	path, err := keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.SlotPurchaseMaster, Version: 1}.Path(issuer, keyref.Factor(asn[2:]))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := r.hsm.SlotKeys(t.Context(), path, []keyref.Factor{u.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

// diversified is the key that a key makes of a use descriptor.
func diversified(parent [16]byte, u credential.UD) (key [16]byte) {
	c, _ := des.NewTripleDESCipher(append(parent[:], parent[:8]...))
	f := u.Bytes()
	c.Encrypt(key[:8], f[:])
	for i := range f {
		f[i] = ^f[i]
	}
	c.Encrypt(key[8:], f[:])
	return key
}

// handset makes a handset whose journals are where the test says.
func (r *rig) handset(t testing.TB, w token.WalletID, journal func(token.Ref) (bundle.Journal, error)) *bundle.Handset {
	t.Helper()
	cfg := bundle.HandsetConfig{Wallet: w, Stretch: cheap, Now: r.vault.Clock.Now, Journal: journal}
	var err error
	if cfg.SyncKey, err = r.hsm.PublicKey(t.Context(), keyref.Ref{Usage: keyref.SyncIntake, Version: 1}); err != nil {
		t.Fatal(err)
	}
	if cfg.PINKey, err = r.hsm.PublicKey(t.Context(), keyref.Ref{Usage: keyref.Intake, Version: 1}); err != nil {
		t.Fatal(err)
	}
	h, err := bundle.NewHandset(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
