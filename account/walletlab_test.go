package account_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet/credential"
)

var (
	phone    = access.Caller{ID: "app", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}
	bank     = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.ForRole(access.Issuer), Requestor: "12345678901"}
	operator = access.Caller{ID: "ops", Role: access.Operator, Scopes: access.ForRole(access.Operator)}
	tierA    = account.Terms{Limit: 10000, Ceiling: 20000, KeyVersion: keyVersion, Layout: layout(10, 1000)}
)

type ctx = context.Context

const device = token.DeviceID("dvAAAAAAAAAAAAAAAAAAAAAAAAAA")

func layout(n int, fen token.Amount) []account.SlotKind {
	all := make([]account.SlotKind, n)
	for i := range all {
		all[i] = account.SlotKind{Class: credential.Medium, Cap: fen}
	}
	return all
}

// walletLab is a lab with wallets.
type walletLab struct {
	*lab
	book   *tapdb.DB
	pins   pins
	lists  lists
	events *outbox.Outbox
	cards  int
	syncs  int
	points map[[6]byte]detect.Point
	broken *brokenTokens
	estate estate
	fallen fallen
	owners map[[6]byte]string
	said   bytes.Buffer // the log
}

// fallen are devices that are trusted less.
type fallen []token.DeviceID

func (f *fallen) Distrust(_ ctx, w token.WalletID, id token.DeviceID) error {
	if w == "" {
		return errFlaky
	}
	*f = append(*f, id)
	return nil
}

// stranger is a device that no wallet has.
const stranger = token.DeviceID("dvZZZZZZZZZZZZZZZZZZZZZZZZZZ")

func (f *fallen) Enrolled(_ ctx, _ token.WalletID, id token.DeviceID) (bool, error) {
	return id != stranger, nil
}

// estate is all terminals: online, each upload is there at once.
type estate struct {
	online bool
	now    func() time.Time
}

func (e *estate) Uploaded(ctx) (time.Time, error) {
	if !e.online {
		return time.Time{}, nil
	}
	return e.now(), nil
}

// brokenTokens is a vault that cannot suspend while down is set.
type brokenTokens struct {
	account.Tokens
	down bool
}

func (b *brokenTokens) Change(ctx ctx, c token.Change, caller string, a access.Attempt) (token.Token, error) {
	if b.down {
		return token.Token{}, errFlaky
	}
	return b.Tokens.Change(ctx, c, caller, a)
}

// pins are tries online; lists says which versions are new enough.
type pins struct {
	success time.Time
	wrong   int
}

func (p *pins) Since(ctx, token.WalletID) (time.Time, int, error) { return p.success, p.wrong, nil }

type lists struct{ current uint64 }

func (l *lists) Fresh(_ ctx, version uint64, _ time.Time) (bool, error) {
	return version >= l.current, nil
}

func newWalletLab(t *testing.T) *walletLab {
	t.Helper()
	return walletLabOn(t, storetest.New(t), hsmtest.New(t, hsmtest.Options{}))
}

func walletLabOn(t *testing.T, db *store.DB, keys *hsm.Token) *walletLab {
	t.Helper()
	l := &walletLab{lab: &lab{t: t, db: db, hsm: keys, log: &record{}}, cards: 500, points: make(map[[6]byte]detect.Point), owners: make(map[[6]byte]string)}
	l.vault = vaulttest.On(t, l.db, l.hsm)
	var err error
	if l.events, err = outbox.New(outbox.Config{DB: l.db, Now: l.vault.Clock.Now}); err != nil {
		t.Fatal(err)
	}
	where := func(terminal [6]byte) (detect.Point, bool) { p, ok := l.points[terminal]; return p, ok }
	l.book = tapdb.New(l.db, l.vault.Clock.Now).With(l.events, account.Rules{Skew: 2 * time.Minute, Zone: shanghai, Where: where})
	l.flaky, l.estate.now = &flaky{Journal: l.book}, l.vault.Clock.Now
	l.broken = &brokenTokens{Tokens: l.vault.Writer()}
	l.Service, err = account.New(account.Config{
		Tokens: l.broken, Keys: l.hsm, Journal: l.flaky, Gate: audit.Gate{Recorder: l.log}, Book: l.book, PINs: &l.pins, Lists: &l.lists, Estate: &l.estate, Devices: &l.fallen, Owners: l.owners, Log: slog.New(slog.NewTextHandler(&l.said, nil)),
		Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: l.vault.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// open opens a wallet with money in it.
func (l *walletLab) open(fen token.Amount, o account.Opening) token.WalletID {
	l.t.Helper()
	if o.Requestor == "" {
		o.Requestor = "12345678901"
	}
	w, err := l.Open(l.t.Context(), phone, o)
	if err != nil {
		l.t.Fatal(err)
	}
	if fen > 0 {
		l.happen(w.ID, account.TopUp, fen)
	}
	return w.ID
}

// happen posts an account event under a new id.
func (l *walletLab) happen(w token.WalletID, k account.HappeningKind, fen token.Amount) account.Balances {
	l.t.Helper()
	l.syncs++
	b, err := l.Happen(l.t.Context(), bank, w, account.Happening{ID: fmt.Sprint("e", l.syncs), Kind: k, Amount: fen})
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// bind makes a token, good from now for a day, and gives it to a wallet.
func (l *walletLab) bind(w token.WalletID) token.Token {
	l.t.Helper()
	l.cards++
	o := l.vault.Order(l.t, l.cards)
	tok, err := l.vault.Writer().Issue(l.t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.Bind(l.t.Context(), phone, w, tok.Ref, device); err != nil {
		l.t.Fatal(err)
	}
	return tok
}

// sync sends a sync with a new id.
func (l *walletLab) sync(w token.WalletID, ref token.Ref, terms account.Terms, reports ...account.Report) account.Settlement {
	l.t.Helper()
	l.syncs++
	s, err := l.Sync(l.t.Context(), phone, l.request(w, ref, terms, reports...))
	if err != nil {
		l.t.Fatal(err)
	}
	l.invariants()
	return s
}

func (l *walletLab) request(w token.WalletID, ref token.Ref, terms account.Terms, reports ...account.Report) account.SyncRequest {
	return account.SyncRequest{Wallet: w, Ref: ref, ID: fmt.Sprint("s", l.syncs), Digest: [32]byte{byte(l.syncs)},
		Clock: l.vault.Clock.Now(), Reports: reports, Terms: terms}
}

// ride is a tap with a granted slot, at the present time.
func (l *walletLab) ride(tok token.Token, ud credential.UD, change ...func(*account.Tap)) account.Tap {
	l.t.Helper()
	x := account.Tap{
		Terminal: [6]byte{0, 0, 0, 0, 0, 7}, Issuer: [8]byte{0x31, 4}, Number: tok.Number, UD: ud, Rand: [4]byte{0xC0, byte(ud.Ctr)},
		Seq: ud.Ctr, Amount: 200, Type: cryptogram.PurchaseCAPP, TermSeq: uint32(ud.Ctr), At: cryptogram.DateTimeOf(l.vault.Clock.Now().In(shanghai)), KeyVer: keyVersion,
	}
	for _, c := range change {
		c(&x)
	}
	return l.signed(x)
}

// wrong spoils the TAC, as a wrong PIN does.
func wrong(x account.Tap) account.Tap { x.TAC[3] ^= 1; return x }

// words says that all slots are unused but those that taps used.
func words(slots []credential.UD, taps ...account.Tap) (out []account.Report) {
	used := make(map[uint16]*account.Tap)
	for i := range taps {
		used[taps[i].Seq] = &taps[i]
	}
	for _, ud := range slots {
		r := account.Report{Ctr: ud.Ctr, Status: account.ReportLive}
		if tap := used[ud.Ctr]; tap != nil {
			r.Status, r.Tap = account.ReportUsed, tap
		}
		out = append(out, r)
	}
	return out
}

func (l *walletLab) wallet(id token.WalletID) account.Wallet {
	l.t.Helper()
	w, err := l.book.Wallet(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return w
}

func (l *walletLab) funds(id token.WalletID) account.Funds {
	l.t.Helper()
	f, err := l.book.Funds(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

func (l *walletLab) tokenState(ref token.Ref) token.Token {
	l.t.Helper()
	tok, err := l.vault.Reader().Token(l.t.Context(), ref)
	if err != nil {
		l.t.Fatal(err)
	}
	return tok
}

// pass lets time pass, and does what it brings.
func (l *walletLab) pass(d time.Duration) {
	l.t.Helper()
	l.vault.Clock.Add(d)
	if _, err := l.Sweep(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.invariants()
}

// told lists the events of a wallet.
func (l *walletLab) told(id token.WalletID) (types []string) {
	l.t.Helper()
	all, err := l.events.List(l.t.Context(), event.Filter{Wallet: id}, 0, 100)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range all {
		types = append(types, string(e.Type))
	}
	return types
}

// invariants checks what must always hold of money, over the whole database.
func (l *walletLab) invariants() {
	l.t.Helper()
	if err := l.broke(); err != nil {
		l.t.Error(err)
	}
}

func (l *walletLab) broke() error {
	sums, err := ledgerdb.Sums(l.db.Read(l.t.Context()), "")
	if err != nil {
		return err
	}
	var ids []token.WalletID
	if err := l.db.Read(l.t.Context()).Raw("SELECT id FROM wallets").Scan(&ids).Error; err != nil {
		return err
	}
	var all []account.Funds
	for _, id := range ids {
		f, err := l.book.Funds(l.t.Context(), id)
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	var total ledger.Balances
	for _, f := range all {
		if err := account.Invariants(f); err != nil {
			return fmt.Errorf("wallet %s: %w", f.Wallet.ID, err)
		}
		total.Available += f.Balances.Available
		total.Reserve += f.Balances.Reserve
		total.Due += f.Balances.Due
	}
	shared := sums[ledger.OperatorPayable] + sums[ledger.FraudLoss] + sums[ledger.Suspense] + sums[ledger.ExternalCash]
	if total.Cash()+shared != 0 || sums[ledger.Available] != total.Available || sums[ledger.Reserve] != total.Reserve || -sums[ledger.Due] != total.Due {
		return fmt.Errorf("accounts %+v do not agree with transfers %v", total, sums)
	}
	now := l.vault.Clock.Now()
	r, err := l.book.Recon(l.t.Context(), now, now)
	if err == nil && len(r.Mismatches) > 0 {
		err = fmt.Errorf("reconciled: %+v", r.Mismatches)
	}
	return err
}
