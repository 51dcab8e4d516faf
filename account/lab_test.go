package account_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet/credential"
)

var (
	shanghai = time.FixedZone("CST", 8*3600)
	gate     = access.Caller{ID: "gate-7", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
)

const keyVersion = 1

// record keeps audit entries, or fails.
type record struct {
	sync.Mutex
	entries []audit.Entry
	err     error
	failing func(reason string) bool // nil: err decides
}

func (r *record) Record(_ context.Context, e audit.Entry) error {
	r.Lock()
	defer r.Unlock()
	r.entries = append(r.entries, e)
	if r.failing != nil && r.failing(e.Reason) {
		return errFlaky
	}
	return r.err
}

// reasons are those of refusals since the last call.
func (r *record) reasons() (out []string) {
	r.Lock()
	defer r.Unlock()
	for _, e := range r.entries {
		if e.Outcome == audit.Refused {
			out = append(out, e.Reason)
		}
	}
	r.entries = nil
	return out
}

// lab is the service on a vault, a database and an HSM of its own, and one
// token whose counters were handed out.
type lab struct {
	*account.Service
	t     *testing.T
	vault *vaulttest.Fixture
	db    *store.DB
	hsm   *hsm.Token
	log   *record
	flaky *flaky
	tok   token.Token
}

// slots is how many counters the lab's token has.
const slots = 10

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, db: storetest.New(t), hsm: hsmtest.New(t, hsmtest.Options{}), log: &record{}}
	l.vault = vaulttest.On(t, l.db, l.hsm)
	l.flaky = &flaky{Journal: tapdb.New(l.db, l.vault.Clock.Now)}
	var err error
	l.Service, err = account.New(account.Config{
		Tokens: l.vault.Writer(), Keys: l.hsm, Journal: l.flaky, Gate: audit.Gate{Recorder: l.log},
		Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai,
		Places: map[string]account.Place{"gate-7": {Merchant: "metro", MCC: "4111", Country: "156"}}, Now: l.vault.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.tok = l.issue(1)
	return l
}

// issue makes a token for the nth card, delivers it and hands out counters.
func (l *lab) issue(n int) token.Token {
	l.t.Helper()
	return l.deliver(l.vault.Order(l.t, n))
}

// deliver makes the token of an order, delivers it and hands out counters.
func (l *lab) deliver(o token.Order) token.Token {
	l.t.Helper()
	ctx, w := l.t.Context(), l.vault.Writer()
	tok, err := w.Issue(ctx, o, "bank", access.Attempt{})
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err = w.TakeCounters(ctx, tok.Ref, slots); err != nil {
		l.t.Fatal(err)
	}
	if tok, err = w.Move(ctx, tok.Ref, tok.State, token.Deliver, l.vault.Clock.Now()); err != nil {
		l.t.Fatal(err)
	}
	return tok
}

// tap is what a handset and a terminal make of slot i of the lab's token,
// minutes after the token's day began. It carries good MACs.
func (l *lab) tap(i int, minutes int, change ...func(*account.Tap)) account.Tap {
	return l.tapOf(l.tok, i, minutes, change...)
}

func (l *lab) tapOf(tok token.Token, i int, minutes int, change ...func(*account.Tap)) account.Tap {
	l.t.Helper()
	ctr := tok.CtrFirst + uint16(i)
	ud, err := credential.NewUD(tok.NotAfter, ctr, 1000, credential.Medium, keyVersion)
	if err != nil {
		l.t.Fatal(err)
	}
	t := account.Tap{
		Terminal: [6]byte{0, 0, 0, 0, 0, 7}, Issuer: [8]byte{0x31, 4}, Number: tok.Number, UD: ud,
		Rand: [4]byte{0xC0, 0xFF, 0xEE, byte(i)}, Seq: ctr, Amount: 200, Type: cryptogram.PurchaseCAPP, TermSeq: uint32(0x10000 + i),
		At: cryptogram.DateTimeOf(tok.NotBefore.Add(time.Duration(minutes) * time.Minute).In(shanghai)), KeyVer: keyVersion,
	}
	for _, c := range change {
		c(&t)
	}
	return l.signed(t)
}

// signed gives t the MACs that the handset would make.
func (l *lab) signed(t account.Tap) account.Tap {
	l.t.Helper()
	var err error
	if t.MAC1, t.MAC2, err = cryptogram.PurchaseMACs(l.t.Context(), l.hsm, slotKey(keyref.SlotPurchaseMaster, t), t.Purchase()); err != nil {
		l.t.Fatal(err)
	}
	if t.TAC, err = cryptogram.TAC(l.t.Context(), l.hsm, slotKey(keyref.SlotTACMaster, t), cryptogram.TACFold, t.Purchase()); err != nil {
		l.t.Fatal(err)
	}
	return t
}

func slotKey(u keyref.Usage, t account.Tap) keyref.Path {
	asn := t.Number.ASN()
	p, err := keyref.Ref{Realm: hsmtest.Realm, Usage: u, Version: keyVersion}.Path(t.Issuer, keyref.Factor(asn[2:]), t.UD.Bytes())
	if err != nil {
		panic(err)
	}
	return p
}

// one uploads one tap.
func (l *lab) one(t account.Tap) account.Result {
	l.t.Helper()
	return l.upload(t)[0]
}

func (l *lab) upload(taps ...account.Tap) []account.Result {
	l.t.Helper()
	r, err := l.Upload(l.t.Context(), gate, "gate-7", taps)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(r) != len(taps) {
		l.t.Fatalf("%d results for %d taps", len(r), len(taps))
	}
	return r
}

// want checks a result and, if it stands for a record, that it has an id.
func (l *lab) want(name string, r account.Result, outcome account.Outcome, reason account.Reason) {
	l.t.Helper()
	if r.Outcome != outcome || r.Reason != reason || (r.TapID == "") != (outcome == account.Rejected || outcome == account.Deferred) {
		l.t.Errorf("%s: %+v, want %s %s", name, r, outcome, reason)
	}
}

// state is the state of the lab's token.
func (l *lab) state() token.State {
	l.t.Helper()
	tok, err := l.vault.Reader().Token(l.t.Context(), l.tok.Ref)
	if err != nil {
		l.t.Fatal(err)
	}
	return tok.State
}

// posted counts posted rows of the database.
func (l *lab) posted() (n int64) {
	l.t.Helper()
	if err := l.db.Read(l.t.Context()).Raw("SELECT COUNT(*) FROM taps WHERE outcome = 'POSTED'").Scan(&n).Error; err != nil {
		l.t.Fatal(err)
	}
	return n
}

// flaky is a journal that fails when told to: before it has kept anything, or
// after.
type flaky struct {
	account.Journal
	before, after bool
}

var errFlaky = errors.New("database gone")

func (f *flaky) Record(ctx context.Context, e []account.Evidence, r []account.Refusal) ([]account.Result, error) {
	if f.before {
		return nil, errFlaky
	}
	out, err := f.Journal.Record(ctx, e, r)
	if f.after {
		return nil, errFlaky
	}
	return out, err
}
