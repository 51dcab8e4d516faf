package lab_test

import (
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// issueAside issues a token from another range, as a process does that was started
// with one more, over the same database and HSM.
func issueAside(t *testing.T, l *lab.Lab, r vault.Range, now func() time.Time) token.Token {
	t.Helper()
	db, err := assembly.OpenStore(t.Context(), l.Config, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	v, err := vault.Open(t.Context(), vault.Config{DB: db, HSM: l.HSM, Ranges: []vault.Range{r}, BINController: "TAPV", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := token.DrawRef(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pan, err := token.ParsePAN(testPAN)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := v.Writer().Issue(t.Context(), token.Order{Ref: ref, Requestor: "50110000001", PAN: pan, CardExpiry: testExpiry,
		Expiry: token.ExpiryCovering(now()), Location: token.LocationDevice, NotBefore: now(), NotAfter: now().Add(12 * time.Hour)},
		"issuer", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestRangeOfAnotherNode: one node is started anew with another token range, and
// this one runs on as it was. What the first issues, this one reads, provisions,
// takes taps of, suspends and tells readers of.
func TestRangeOfAnotherNode(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now})
	tok := issueAside(t, l, vault.Range{Name: "bank-17", Prefix: "6298", Length: 16, Luhn: true}, w.now)
	ref := string(tok.Ref)
	if got, err := l.Client(t, "issuer").Token(t.Context(), ref); err != nil || got.Number != tok.Number.Digits() {
		t.Fatalf("reading it: %v", err)
	}
	p, err := l.Client(t, "terminal").Parameters(t.Context())
	if err != nil || !slices.ContainsFunc(p.Ranges, func(r wire.Range) bool { return r.Prefix == "6298" }) {
		t.Errorf("terminals are told of %+v, %v", p.Ranges, err)
	}
	phone, reader := newPhone(t, l, ref, w.now), newReader(t, l, w.now)
	if got := upload(t, l, tapOnce(t, reader, phone)); got.Outcome != "POSTED" {
		t.Errorf("its tap is %+v", got)
	}
	if _, err := l.Client(t, "issuer").SuspendAs(t.Context(), ref, "HOLDER", "lost"); err != nil {
		t.Fatal(err)
	}
	if err := reader.Refresh(t.Context()); err != nil || reader.List().Len() != 1 {
		t.Errorf("%d are denied, %v", reader.List().Len(), err)
	}
}
