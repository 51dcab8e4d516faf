package vaulttest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/denylist/denydb"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/archive"
)

var passphrase = []byte("a passphrase of the test")

// export writes a whole vault to memory.
func export(t testing.TB, f *Fixture) ([]byte, vault.Manifest) {
	t.Helper()
	var file bytes.Buffer
	w, err := archive.Create(&file, passphrase, Start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Porter().Export(t.Context(), w, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), m
}

// opener opens an export from its start, each time it is called.
func opener(file []byte) func() (*archive.Reader, error) {
	return func() (*archive.Reader, error) { return archive.Open(bytes.NewReader(file), passphrase) }
}

func verify(t testing.TB, file []byte) (vault.Manifest, error) {
	t.Helper()
	r, err := opener(file)()
	if err != nil {
		t.Fatal(err)
	}
	return vault.Verify(t.Context(), r, func(int64) {})
}

// Saved exports the vault as it is, and returns how that is put into another database: by
// an import that says how many tokens were issued since.
func Saved(t testing.TB, f *Fixture) (putBack func(to *store.DB, lost int64)) {
	t.Helper()
	file, m := export(t, f)
	return func(to *store.DB, lost int64) {
		t.Helper()
		cfg := f.cfg
		cfg.DB = to
		if err := vault.ImportLost(t.Context(), cfg, m, lost, opener(file), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	}
}

// Port holds an export from one database and its import into another one, which
// may be of another dialect, to the contract: with other keys in another HSM,
// every token, number and card is what it was.
func Port(t *testing.T, from, to *store.DB) {
	f := On(t, from, hsmtest.New(t, hsmtest.Options{Refs: append(Keys(), Second()...)}))
	var all []token.Token
	for n := range 12 {
		all = append(all, issue(t, f, n))
	}
	replace(t, f, 0, 20, access.Attempt{Key: "k", Digest: [32]byte{1}})
	if _, err := f.Writer().TakeCounters(t.Context(), all[3].Ref, 77); err != nil {
		t.Fatal(err)
	}
	file, made := export(t, f)
	if bytes.Contains(file, []byte(Card(t, 1).Reveal())) {
		t.Fatal("a card number can be read in the file")
	}
	m, err := verify(t, file)
	if err != nil || m.Digest != made.Digest || m.Rows["tokens"] != 12 || m.Rows["cards"] != 12 || m.Rows["former_cards"] != 1 {
		t.Fatalf("%+v, %v; made %+v", m, err, made)
	}
	if n, err := f.Porter().Count(t.Context()); err != nil || n != m.Total() {
		t.Fatalf("%d rows, %v; exported %d", n, err, m.Total())
	}

	cfg := f.cfg
	cfg.DB, cfg.HSM = to, hsmtest.New(t, hsmtest.Options{Refs: Keys()})
	if err := vault.Import(t.Context(), cfg, m, opener(file), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	g := On(t, to, cfg.HSM)
	for n, tok := range all {
		now, err := g.Reader().Token(t.Context(), tok.Ref)
		if err != nil || now.Number.Digits() != tok.Number.Digits() || now.PAR != tok.PAR || !now.NotAfter.Equal(tok.NotAfter) {
			t.Fatalf("token %d: %+v, %v", n, now, err)
		}
		if by, err := g.Reader().ByNumber(t.Context(), tok.Number, Start); err != nil || by.Ref != tok.Ref {
			t.Fatalf("by its number: %v, %v", by.Ref, err)
		}
		if n > 0 {
			behind(t, g, tok.Ref, n, "2912")
		}
	}
	behind(t, g, all[0].Ref, 20, "3112")
	if tok, err := g.Reader().Token(t.Context(), all[3].Ref); err != nil || tok.CtrNext != 78 {
		t.Fatalf("counter %d, %v", tok.CtrNext, err)
	}
	_, err = g.Writer().Issue(t.Context(), g.Order(t, 0), "bank", access.Attempt{})
	kind(t, err, fault.CardReplaced)
	if tok := issue(t, g, 1); tok.PAR != all[1].PAR {
		t.Fatal("a card was not found in the imported vault")
	}
	err = vault.Import(t.Context(), cfg, m, opener(file), func(int64) {})
	if !errors.Is(err, vault.ErrNotEmpty) {
		t.Fatalf("into a database that is in use: %v", err)
	}
}

// PortRefused holds imports that fail to leaving nothing behind.
func PortRefused(t *testing.T, from, to *store.DB) {
	f := On(t, from, hsmtest.New(t, hsmtest.Options{Refs: Keys()}))
	for n := range 5 {
		issue(t, f, n)
	}
	file, m := export(t, f)
	flaky := &Flaky{Sealer: f.HSM}
	cfg := f.cfg
	cfg.DB, cfg.HSM = to, flaky
	more := m
	more.Rows = map[string]int64{"tokens": 6}
	other := m
	other.Schema++
	nothing := func() {
		t.Helper()
		for _, table := range []string{"cards", "tokens", "numbers", "token_ranges"} {
			var n int64
			if err := to.Read(t.Context()).Table(table).Count(&n).Error; err != nil || n != 0 {
				t.Fatalf("%d rows in %s, %v", n, table, err)
			}
		}
	}
	if err := vault.Import(t.Context(), cfg, more, opener(file), func(int64) {}); !errors.Is(err, vault.ErrManifest) {
		t.Fatal(err)
	}
	nothing()
	if err := vault.Import(t.Context(), cfg, other, opener(file), func(int64) {}); !errors.Is(err, vault.ErrSchemas) {
		t.Fatal(err)
	}
	for _, call := range []string{"Seal", "HMAC"} {
		flaky.Break(call, false)
		if err := vault.Import(t.Context(), cfg, m, opener(file), func(int64) {}); !errors.Is(err, ErrBroken) {
			t.Fatal(err)
		}
		nothing()
	}
	flaky.Break("", false)
	if err := vault.Import(t.Context(), cfg, m, opener(file[:len(file)-20]), func(int64) {}); err == nil {
		t.Fatal("half a file was imported")
	}
	nothing()
	if err := vault.Import(t.Context(), cfg, m, opener(file), func(int64) {}); err != nil {
		t.Fatal(err)
	}
}

// PortLost holds an import of an export after which the service went on: what
// was given out since, and is on phones and cards-on-file, is not given out again.
func PortLost(t *testing.T, from, to *store.DB) {
	f := On(t, from, hsmtest.New(t, hsmtest.Options{Refs: Keys()}))
	old, idle, bound := issue(t, f, 0), issue(t, f, 1), issue(t, f, 3)
	storetest.Exec(t, from, "INSERT INTO wallets VALUES ('wl1', '', 'wallet', 'ACTIVE', '', 1, 1, 0, 0, 0, 0, 1, 1, 1)")
	storetest.Exec(t, from, "INSERT INTO wallet_tokens (ref, wallet, device, not_after, bound_at) VALUES (?, 'wl1', 'dv1', 1, 1)", string(bound.Ref))
	kept := f.Order(t, 2)
	kept.NotAfter = kept.NotBefore.Add(300 * 24 * time.Hour) // a card on file
	if _, err := f.Writer().Issue(t.Context(), kept, "bank", access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Writer().TakeCounters(t.Context(), old.Ref, 10); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, from, "INSERT INTO deny_versions (version, at, switches) VALUES (5, 1, ?)", make([]byte, 8))
	storetest.Exec(t, from, "INSERT INTO approvals (id, verb, method, path, digest, summary, reason, requester, needed, state, revision, created_at, expires_at, ended_at) "+
		"SELECT 'ap' || state, 'v', 'm', 'p', ?, '', '', 'bank', 1, state, 4, 1, 2000000000000, 0 FROM (SELECT 'PENDING' AS state UNION SELECT 'APPROVED' UNION SELECT 'USED') s",
		make([]byte, 32))
	file, m := export(t, f)

	const lost = 40
	given := map[string]bool{}
	for n := range lost {
		given[issue(t, f, n).Number.Digits()] = true
	}
	since, err := f.Writer().TakeCounters(t.Context(), old.Ref, 64)
	if err != nil {
		t.Fatal(err)
	}
	first, err := f.Writer().TakeCounters(t.Context(), bound.Ref, 10)
	if err != nil {
		t.Fatal(err)
	}

	cfg := f.cfg
	cfg.DB, cfg.HSM = to, hsmtest.New(t, hsmtest.Options{Refs: Keys()})
	if err := vault.ImportLost(t.Context(), cfg, m, lost, opener(file), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	g := On(t, to, cfg.HSM)
	if c := capacityOf(t, g, Transit.Name); c.Fresh >= c.Size-lost {
		t.Errorf("%d are fresh of %d: those that were left out are told as well", c.Fresh, c.Size)
	}
	// Any number may have been given to a card on file since, or its token's
	// window have become longer.
	var soon int64
	rest := f.Clock.Now().Add((300 + 45) * 24 * time.Hour).UnixMilli()
	if err := to.Read(t.Context()).Raw("SELECT count(*) FROM numbers WHERE free_after < ?", rest).Scan(&soon).Error; err != nil || soon > 0 {
		t.Errorf("%d numbers come back before a card on file that was issued since can have ended, %v", soon, err)
	}
	for n := range lost {
		if tok := issue(t, g, n); given[tok.Number.Digits()] {
			t.Fatalf("token %d bears a number that was given out after the export", n)
		}
	}
	if first, err := g.Writer().TakeCounters(t.Context(), old.Ref, 1); err != nil || first < since+64 {
		t.Errorf("counter %d, %v: up to %d were given out", first, err, since+63)
	}
	now, err := g.Reader().Token(t.Context(), idle.Ref)
	if err != nil || now.CtrFirst != now.CtrNext || now.CtrNext <= 64 || now.Number.Digits() != idle.Number.Digits() {
		t.Errorf("a token without counters: %d to %d, %v", now.CtrFirst, now.CtrNext, err)
	}
	lostSlots(t, g, bound.Ref, first, 10)
	if _, err := change(t, g, token.Change{Ref: idle.Ref, Verb: token.Suspend, By: token.ByRisk}); err != nil {
		t.Fatal(err)
	}
	if denied, err := g.Reader().Denied(t.Context(), g.Clock.Now()); err != nil || len(denied) != 1 || denied[0].Ref != bound.Ref {
		t.Errorf("denied are %+v, %v", denied, err)
	}
	lostApprovals(t, to, f.Clock.Now())
	var version, position int64
	if err := to.Read(t.Context()).Raw("SELECT MAX(version) FROM deny_versions").Scan(&version).Error; err != nil || version <= 1000 {
		t.Errorf("version %d of the deny list, %v", version, err)
	}
	if err := to.Read(t.Context()).Raw("SELECT position FROM event_head").Scan(&position).Error; err != nil || position <= 1000 {
		t.Errorf("events go on at %d, %v", position, err)
	}
}

// lostApprovals holds approvals that were not used before the export to being asked for
// again: they may have been used since.
func lostApprovals(t *testing.T, to *store.DB, now time.Time) {
	t.Helper()
	var n int64
	err := to.Read(t.Context()).Raw("SELECT count(*) FROM approvals WHERE id IN ('apPENDING', 'apAPPROVED') AND state = 'CANCELLED' AND ended_at = ? AND revision = 5 "+
		"OR id = 'apUSED' AND state = 'USED' AND revision = 4", now.UnixMilli()).Scan(&n).Error
	if err != nil || n != 3 {
		t.Errorf("%d of 3 approvals are over, %v", n, err)
	}
}

// PortLostEarly is [PortLost] of an export that was made before there was a version of the
// deny list: readers may hold those that were published since.
func PortLostEarly(t *testing.T, from, to *store.DB) {
	f := On(t, from, hsmtest.New(t, hsmtest.Options{Refs: Keys()}))
	file, m := export(t, f)
	cfg := f.cfg
	cfg.DB = to
	if err := vault.ImportLost(t.Context(), cfg, m, 1, opener(file), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if v, err := denydb.New(to).Head(t.Context()); err != nil || v.Number <= 1000 || v.Switches != (deny.Switches{}) {
		t.Errorf("the deny list goes on behind %+v, %v", v, err)
	}
}

// lostSlots: the phone of a token that was bound and had none may have had its first slots
// since. They were handed out, and readers hear when the token is held back.
func lostSlots(t testing.TB, f *Fixture, ref token.Ref, first uint16, n int) {
	t.Helper()
	now, err := f.Reader().Token(t.Context(), ref)
	if err != nil || now.CtrFirst > first || int(now.CtrNext) < int(first)+n {
		t.Errorf("a token of a wallet: %d to %d, %v; %d were handed out from %d on", now.CtrFirst, now.CtrNext, err, n, first)
	}
	if _, err := change(t, f, token.Change{Ref: ref, Verb: token.Suspend, By: token.ByRisk}); err != nil {
		t.Fatal(err)
	}
}
