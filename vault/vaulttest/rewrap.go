package vaulttest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

func rewrap(t testing.TB, f *Fixture) (done int64) {
	t.Helper()
	if err := f.Rewrapper().Run(t.Context(), func(n int64) { done = n }); err != nil {
		t.Fatal(err)
	}
	if left, err := f.Rewrapper().Left(t.Context()); err != nil || left != 0 {
		t.Fatalf("%d rows left, %v", left, err)
	}
	return done
}

func rewrapped(t *testing.T, f *Fixture) {
	var refs []token.Ref
	for n := range 5 {
		refs = append(refs, issue(t, f, n).Ref)
	}
	replace(t, f, 0, 9, access.Attempt{})
	g := f.Again(t, rotated)
	if left, err := g.Rewrapper().Left(t.Context()); err != nil || left != 7 { // 5 cards, a former one, a range
		t.Fatalf("%d rows left, %v", left, err)
	}
	if done := rewrap(t, g); done != 7 {
		t.Fatalf("%d rows done", done)
	}
	for _, ref := range Second() {
		old := keyref.Ref{Usage: ref.Usage, Version: 1}
		if n, err := g.InUse(t.Context(), old); err != nil || n != 0 {
			t.Fatalf("%d rows under %v, %v", n, old, err)
		}
		if n, err := g.InUse(t.Context(), ref); err != nil || n == 0 {
			t.Fatalf("%d rows under %v, %v", n, ref, err)
		}
	}
	h := g.Again(t) // as a process that starts now
	for n, ref := range refs[1:] {
		behind(t, h, ref, n+1, "2912")
	}
	behind(t, h, refs[0], 9, "3112")
	_, err := h.Writer().Issue(t.Context(), h.Order(t, 0), "bank", access.Attempt{})
	kind(t, err, fault.CardReplaced)
	if a, b := issue(t, h, 1), issue(t, h, 1); a.PAR != b.PAR || count(t, h, "cards") != 5 {
		t.Fatal("a card was not found by its new index")
	}
	if done := rewrap(t, f); done != 0 { // an older configuration turns nothing back
		t.Fatalf("%d rows turned back", done)
	}
}

// rewrapWhileServing: processes of both configurations issue, replace and open
// while the job runs, and every card stays one card.
func rewrapWhileServing(t *testing.T, f *Fixture) {
	const cards = 60
	refs := make([]token.Ref, cards)
	for n := range cards {
		refs[n] = issue(t, f, n).Ref
	}
	g := f.Again(t, rotated)
	both := []*Fixture{f, g}
	racing(3, func(i int) {
		if i == 0 { // the older configuration may write a row behind it: nothing is claimed of what is left
			if err := g.Rewrapper().Run(t.Context(), func(int64) {}); err != nil {
				t.Error(err)
			}
			return
		}
		for n := range cards {
			if o := both[i-1].Order(t, n); n%2 == 0 {
				o.CardExpiry = "3001"
				if _, err := both[i-1].Writer().Issue(t.Context(), o, "bank", access.Attempt{}); err != nil {
					t.Error(err)
				}
			} else if _, _, err := both[i-1].Opener().PAN(t.Context(), refs[n]); err != nil {
				t.Error(err)
			}
		}
	})
	rewrap(t, g) // what the older configuration wrote meanwhile
	if n := count(t, f, "cards"); n != cards {
		t.Fatalf("%d cards", n)
	}
	for n, ref := range refs {
		behind(t, g, ref, n, []token.Expiry{"3001", "2912"}[n%2])
	}
}

func rewrapKilled(t *testing.T, f *Fixture) {
	const cards = 250
	for n := range cards {
		issue(t, f, n)
	}
	g := f.Again(t, rotated)
	ctx, cancel := context.WithCancel(t.Context())
	err := g.Rewrapper().Run(ctx, func(done int64) {
		if done > 100 {
			cancel()
		}
	})
	left, lerr := g.Rewrapper().Left(t.Context())
	if err == nil || lerr != nil || left == 0 || left >= cards {
		t.Fatalf("%d rows left, %v, %v", left, err, lerr)
	}
	if done := rewrap(t, g.Again(t)); done != left {
		t.Fatalf("%d of %d rows", done, left)
	}
}

// twoIndexes: a process that was not told of a newer version of the index key
// finds the cards that others wrote under it.
func twoIndexes(t *testing.T, f *Fixture) {
	g := f.Again(t, rotated)
	a := issue(t, g, 1)
	if b := issue(t, f, 1); b.PAR != a.PAR {
		t.Fatal("one card has two references")
	}
	b := issue(t, f, 2)
	if c := issue(t, g, 2); c.PAR != b.PAR {
		t.Fatal("one card has two references")
	}
	h := f.Again(t)
	for n, tok := range map[int]token.Token{1: a, 2: b} {
		if c, err := h.Reader().Card(t.Context(), Card(t, n)); err != nil || c.PAR != tok.PAR {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if n := count(t, f, "cards"); n != 2 {
		t.Fatalf("%d cards", n)
	}
}

// lateIndex: a process that was started when no row bore the older version of the index key
// any more finds the cards that another one, still configured for that, wrote since.
func lateIndex(t *testing.T, f *Fixture) {
	g := f.Again(t, rotated)
	a := issue(t, f, 1)
	if c, err := g.Reader().Card(t.Context(), Card(t, 1)); err != nil || c.PAR != a.PAR {
		t.Errorf("%+v, %v", c, err)
	}
}

// lateIndexReplaced: no number of a card is put behind another that a process cannot know
// by its own version of the index key.
func lateIndexReplaced(t *testing.T, f *Fixture) {
	b := issue(t, f, 2)
	rewrap(t, f.Again(t, rotated))
	g := f.Again(t, rotated)
	a := issue(t, f, 1)
	_, err := g.Writer().ReplaceCard(t.Context(), Card(t, 2), Card(t, 1), "3112", "bank", access.Attempt{})
	kind(t, err, fault.CardKnown)
	rewrap(t, g)
	behind(t, g, a.Ref, 1, "2912")
	behind(t, g, b.Ref, 2, "2912")
}

// lateFormer: a number that a card bore before is known, though no card bears that
// version of the index key.
func lateFormer(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	replace(t, f, 1, 2, access.Attempt{})
	g := f.Again(t, rotated)
	replace(t, g, 2, 3, access.Attempt{})
	h := f.Again(t, rotated)
	for _, table := range []string{"cards", "former_cards"} {
		storetest.Exec(t, f.DB, "CREATE TABLE kept_"+table+" AS SELECT * FROM "+table)
	}
	rewrap(t, h)
	i := f.Again(t, rotated) // has met no row of the first version
	storetest.Exec(t, f.DB, "DELETE FROM former_cards")
	storetest.Exec(t, f.DB, "INSERT INTO former_cards SELECT * FROM kept_former_cards")
	if c, err := i.Reader().Card(t.Context(), Card(t, 2)); err != nil || c.PAR != tok.PAR {
		t.Errorf("%+v, %v", c, err)
	}
}

// strayIndex: a few rows under a version of the index key that the HSM does not hold, or that
// is none, are passed over and told of: no other card waits for them.
func strayIndex(t *testing.T, f *Fixture) {
	var log bytes.Buffer
	logged := func(c *vault.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	issue(t, f, 1)
	a, b := issue(t, f, 2), issue(t, f, 3)
	storetest.Exec(t, f.DB, "UPDATE cards SET index_version = 7 WHERE last4 = ?", a.PANLast4)
	storetest.Exec(t, f.DB, "UPDATE cards SET index_version = 300 WHERE last4 = ?", b.PANLast4)
	for i, g := range []*Fixture{f, f.Again(t, logged)} {
		name := []string{"one that ran", "one that starts"}[i]
		for _, n := range []int{1, 8 + i} { // one that is known, and one that is not
			if _, err := g.Writer().Issue(t.Context(), g.Order(t, n), "bank", access.Attempt{}); err != nil {
				t.Errorf("%s, card %d: %v", name, n, err)
			}
		}
		if c, err := g.Reader().Card(t.Context(), Card(t, 2)); err != nil || c.PAR != a.PAR {
			t.Errorf("%s: where its number still leads to it: %+v, %v", name, c, err)
		}
		if _, err := g.Reader().Card(t.Context(), Card(t, 3)); !fault.IsUnreadable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if g.Unreadable() != 2 {
			t.Errorf("%s: %d rows are told of", name, g.Unreadable())
		}
	}
	for _, table := range []string{"WHERE last4 = '" + a.PANLast4, "WHERE last4 = '" + b.PANLast4} {
		var id string
		if err := f.DB.Read(t.Context()).Raw("SELECT id FROM cards " + table + "'").Scan(&id).Error; err != nil || !strings.Contains(log.String(), id) {
			t.Errorf("the log does not name %s: %v", id, err)
		}
	}
	for n := 10; n < 20; n++ { // many rows are no damage: a key is missing
		issue(t, f, n)
	}
	storetest.Exec(t, f.DB, "UPDATE cards SET index_version = 7 WHERE index_version = 1")
	_, err := f.Reader().Card(t.Context(), Card(t, 99))
	kind(t, err, fault.HSMKey)
}

func retiredKeys(t *testing.T, f *Fixture) {
	issue(t, f, 1)
	g := f.Again(t, rotated)
	for _, ref := range append(Second(), vault.Keys{}.Refs()...) {
		want := error(vault.ErrKeyInUse)
		if ref.Usage == keyref.PARKey {
			continue // configured, which the next line is about
		}
		if err := g.Retire(t.Context(), ref); fault.KindOf(err) != fault.KindOf(want) {
			t.Fatalf("retiring %v: %v", ref, err)
		}
	}
	kind(t, g.Retire(t.Context(), keyref.Ref{Usage: keyref.PARKey, Version: 1}), fault.HSMKey)
	rewrap(t, g)
	for _, ref := range Second() {
		if err := g.Retire(t.Context(), keyref.Ref{Usage: ref.Usage, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	// A process with the old configuration still serves what needs no writing
	// of cards, and writes no card under what is gone.
	issue(t, f, 1)
	_, err := f.Writer().Issue(t.Context(), f.Order(t, 2), "bank", access.Attempt{})
	kind(t, err, fault.HSMKey)
	issue(t, g, 2)
}

// rewrapUnreadable: rows that cannot be brought up to date hold up no other, are named, and are
// brought up to date when they are mended.
func rewrapUnreadable(t *testing.T, f *Fixture) {
	const cards = 5
	var made []token.Token
	for n := range cards {
		made = append(made, issue(t, f, n))
	}
	replace(t, f, 4, 9, access.Attempt{})
	exec := func(statement string, args ...any) { storetest.Exec(t, f.DB, statement, args...) }
	for _, table := range []string{"cards", "former_cards"} {
		exec("CREATE TABLE kept_" + table + " AS SELECT * FROM " + table)
	}
	g := f.Again(t, rotated)
	id := func(n int) (id string) {
		if err := f.DB.Read(t.Context()).Raw("SELECT card_id FROM tokens WHERE ref = ?", string(made[n].Ref)).Scan(&id).Error; err != nil {
			t.Fatal(err)
		}
		return id
	}
	exec("UPDATE cards SET sealed = pan_index WHERE id = ?", id(0))
	exec("UPDATE cards SET seal_version = -1 WHERE id = ?", id(1))
	exec("UPDATE former_cards SET seal_version = -1")
	for i := range 2 {
		err := g.Rewrapper().Run(t.Context(), func(int64) {})
		for _, bad := range []string{id(0), id(1), "a row of former_cards"} {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("run %d does not name %s: %v", i, bad, err)
			}
		}
		if left, err := g.Rewrapper().Left(t.Context()); err != nil || left != 3 {
			t.Errorf("run %d left %d rows, %v", i, left, err)
		}
	}
	exec("UPDATE cards SET sealed = (SELECT k.sealed FROM kept_cards k WHERE k.id = cards.id), seal_version = 1 WHERE id IN ?", []string{id(0), id(1)})
	exec("UPDATE former_cards SET seal_version = 1")
	// Another row has the number of one.
	exec("UPDATE cards SET pan_index = ? WHERE id = ?", make([]byte, 32), id(0))
	if done := rewrap(t, g); done != 3 {
		t.Errorf("mended, %d rows were done", done)
	}
	var index []byte
	if err := f.DB.Read(t.Context()).Raw("SELECT pan_index FROM cards WHERE id = ?", id(2)).Row().Scan(&index); err != nil {
		t.Fatal(err)
	}
	exec("DELETE FROM former_cards")
	exec("UPDATE cards SET pan_index = (SELECT k.pan_index FROM kept_cards k WHERE k.id = cards.id), index_version = 1 WHERE id IN ?", []string{id(2), id(3)})
	exec("UPDATE cards SET pan_index = ? WHERE id = ?", index, id(0))
	err := g.Rewrapper().Run(t.Context(), func(int64) {})
	if err == nil || !strings.Contains(err.Error(), id(2)) || !strings.Contains(err.Error(), "the same card number") {
		t.Errorf("%v", err)
	}
	if left, err := g.Rewrapper().Left(t.Context()); err != nil || left != 1 {
		t.Errorf("%d rows left, %v", left, err)
	}
}

// retiredRangeKey: a process with the old configuration serves, makes no range under a key
// that is about to be destroyed, and brings none under it: no process could start again.
func retiredRangeKey(t *testing.T, f *Fixture) {
	issue(t, f, 1)
	second, third := wrapping(2), wrapping(3)
	g := f.Again(t, third)
	if err := g.Retire(t.Context(), keyref.Ref{Usage: keyref.RangeKEK, Version: 2}); err != nil {
		t.Fatal(err)
	}
	kind(t, f.Again(t, second).Rewrapper().Run(t.Context(), func(int64) {}), fault.HSMKey)
	late := f.cfg
	second(&late)
	late.Ranges = append(slices.Clone(late.Ranges), vault.Range{Name: "late", Prefix: "910002", Length: 16, Luhn: true})
	_, err := vault.Open(t.Context(), late)
	kind(t, err, fault.HSMKey)
	n, inUse := g.InUse(t.Context(), keyref.Ref{Usage: keyref.RangeKEK, Version: 2})
	if !errors.Is(err, vault.ErrKeyRetired) || inUse != nil || n != 0 {
		t.Fatalf("%d ranges under a retired key, %v, %v", n, inUse, err)
	}
	issue(t, f.Again(t, second), 2) // a new card: its keys are as they were
	f.Again(t, func(c *vault.Config) { c.Ranges = late.Ranges })
}

// wrapping configures a version of the key of ranges.
func wrapping(version uint8) func(*vault.Config) {
	return func(c *vault.Config) { c.Keys.RangeKEK = version }
}

// without is an HSM from which a key was taken.
type without struct {
	vault.Sealer
	gone *keyref.Ref
}

func (w without) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) (mac [32]byte, err error) {
	if ref == *w.gone {
		return mac, fault.New(fault.HSMKey, "the HSM holds no such key")
	}
	return w.Sealer.HMAC(ctx, ref, msg)
}

// destroyedKey: a process that knew an old version goes on when that is retired
// and destroyed under it.
func destroyedKey(t *testing.T, f *Fixture) {
	first := issue(t, f, 1)
	gone := keyref.Ref{}
	g := f.Again(t, rotated, func(c *vault.Config) { c.HSM = without{c.HSM, &gone} })
	issue(t, g, 1)
	rewrap(t, f.Again(t, rotated))
	gone = keyref.Ref{Usage: keyref.PANIndex, Version: 1}
	if tok := issue(t, g, 1); tok.PAR != first.PAR {
		t.Fatal("another card")
	}
	issue(t, g, 2)
	// One that is configured for the old version cannot do without it.
	h := f.Again(t, func(c *vault.Config) { c.HSM = without{c.HSM, &gone} })
	_, err := h.Reader().Card(t.Context(), Card(t, 1))
	kind(t, err, fault.HSMKey)
}
