package detokenize_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet/credential"
)

const bankID = "12345678901" // the requestor of vaulttest's orders

var (
	shanghai = time.FixedZone("CST", 8*3600)
	bank     = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.Actions, Requestor: bankID}
	rival    = access.Caller{ID: "rival", Role: access.Issuer, Scopes: access.Actions, Requestor: "99999999999"}
	gate     = access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.Actions}
)

// notes is a recorder in memory that can be made to fail.
type notes struct {
	mu      sync.Mutex
	entries []audit.Entry
	fail    func(audit.Entry) error
}

func (n *notes) Record(_ context.Context, e audit.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		if err := n.fail(e); err != nil {
			return err
		}
	}
	n.entries = append(n.entries, e)
	return nil
}

func (n *notes) last() audit.Entry {
	if len(n.entries) == 0 {
		return audit.Entry{}
	}
	return n.entries[len(n.entries)-1]
}

// opener is a real vault that counts how often it was opened, and fails when
// told to.
type opener struct {
	detokenize.Opener
	mu     sync.Mutex
	opened int
	fail   error
}

func (o *opener) opens() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opened
}

// wait returns when n cards were opened.
func (o *opener) wait(n int) {
	for o.opens() < n {
		runtime.Gosched()
	}
}

func (o *opener) Sealed(ctx context.Context, ref token.Ref) (token.Standing, token.Sealed, error) {
	t, card, err := o.Opener.Sealed(ctx, ref)
	return t, o.watched(card), err
}

func (o *opener) SealedByNumber(ctx context.Context, n token.Number, at time.Time) (token.Standing, token.Sealed, error) {
	t, card, err := o.Opener.SealedByNumber(ctx, n, at)
	return t, o.watched(card), err
}

func (o *opener) watched(card token.Sealed) token.Sealed {
	return func(ctx context.Context) (token.PAN, token.Expiry, error) {
		o.mu.Lock()
		o.opened++
		o.mu.Unlock()
		if o.fail != nil {
			return token.PAN{}, "", o.fail
		}
		return card(ctx)
	}
}

// lab is the service on a real vault, a real account and a real HSM token, and
// one token whose counters were handed out.
type lab struct {
	*detokenize.Service
	t        *testing.T
	vault    *vaulttest.Fixture
	opener   *opener
	accounts *account.Service
	hsm      *hsm.Token
	notes    *notes
	cfg      detokenize.Config
	tok      token.Token
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, hsm: hsmtest.New(t, hsmtest.Options{}), notes: new(notes)}
	db := storetest.New(t)
	l.vault = vaulttest.On(t, db, l.hsm)
	l.opener = &opener{Opener: l.vault.Opener()}
	g := audit.Gate{Recorder: l.notes}
	var err error
	l.accounts, err = account.New(account.Config{Tokens: l.vault.Writer(), Keys: l.hsm, Journal: tapdb.New(db, l.vault.Clock.Now),
		Gate: g, Realm: hsmtest.Realm, KeyVersions: []byte{1}, Zone: shanghai, Now: l.vault.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	l.cfg = detokenize.Config{Opener: l.opener, Evidence: l.accounts, Gate: g, Zone: shanghai, Now: l.vault.Clock.Now}
	l.with(func(*detokenize.Config) {})
	l.tok = l.issue(1)
	l.vault.Clock.Add(time.Hour)
	return l
}

// with makes the service anew, configured otherwise.
func (l *lab) with(change func(*detokenize.Config)) {
	l.t.Helper()
	change(&l.cfg)
	var err error
	if l.Service, err = detokenize.New(l.cfg); err != nil {
		l.t.Fatal(err)
	}
}

// issue makes a token for the nth card and hands out counters.
func (l *lab) issue(n int, controls ...token.Controls) token.Token {
	l.t.Helper()
	o := l.vault.Order(l.t, n)
	for _, c := range controls {
		o.Controls = c
	}
	tok, err := l.vault.Writer().Issue(l.t.Context(), o, "bank", access.Attempt{})
	if err == nil {
		_, err = l.vault.Writer().TakeCounters(l.t.Context(), tok.Ref, 10)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return tok
}

// tap is what a handset and a terminal make of slot i of tok, minutes after
// its window began.
func (l *lab) tap(tok token.Token, i, minutes int) account.Tap {
	l.t.Helper()
	ctr := tok.CtrFirst + uint16(i)
	ud, err := credential.NewUD(tok.NotAfter, ctr, 1000, credential.Medium, 1)
	if err != nil {
		l.t.Fatal(err)
	}
	t := account.Tap{
		Terminal: [6]byte{0, 0, 0, 0, 0, 7}, Issuer: [8]byte{0x31, 4}, Number: tok.Number, UD: ud,
		Rand: [4]byte{1, 2, 3, byte(i)}, Seq: ctr, Amount: 200, Type: cryptogram.PurchaseCAPP, TermSeq: uint32(i),
		At: cryptogram.DateTimeOf(tok.NotBefore.Add(time.Duration(minutes) * time.Minute).In(shanghai)), KeyVer: 1,
	}
	ctx := l.t.Context()
	if t.MAC1, t.MAC2, err = cryptogram.PurchaseMACs(ctx, l.hsm, slotKey(l.t, keyref.SlotPurchaseMaster, t), t.Purchase()); err != nil {
		l.t.Fatal(err)
	}
	if t.TAC, err = cryptogram.TAC(ctx, l.hsm, slotKey(l.t, keyref.SlotTACMaster, t), cryptogram.TACFold, t.Purchase()); err != nil {
		l.t.Fatal(err)
	}
	return t
}

func slotKey(t testing.TB, u keyref.Usage, tap account.Tap) keyref.Path {
	t.Helper()
	asn := tap.Number.ASN()
	p, err := keyref.Ref{Realm: hsmtest.Realm, Usage: u, Version: 1}.Path(tap.Issuer, keyref.Factor(asn[2:]), tap.UD.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// upload has a tap accepted and returns its id.
func (l *lab) upload(tap account.Tap) string {
	l.t.Helper()
	r, err := l.accounts.Upload(l.t.Context(), gate, "gate", []account.Tap{tap})
	if err != nil || !r[0].Good() {
		l.t.Fatalf("%+v, %v", r, err)
	}
	return r[0].TapID
}

// move moves a token from whatever state it is in.
func (l *lab) move(ref token.Ref, v token.Verb) {
	l.t.Helper()
	w := l.vault.Writer()
	tok, err := w.Token(l.t.Context(), ref)
	if err == nil {
		_, err = w.Move(l.t.Context(), ref, tok.State, v, l.vault.Clock.Now())
	}
	if err != nil {
		l.t.Fatal(err)
	}
}
