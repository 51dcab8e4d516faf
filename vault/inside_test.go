package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

func config(db *store.DB, s Sealer) Config {
	return Config{DB: db, HSM: s, BINController: "TV01", Ranges: []Range{{Name: "transit", Prefix: "910001", Length: 16, Luhn: true}},
		Now: func() time.Time { return noon }, LeaseBlock: 4}
}

func token1(t *testing.T) *hsm.Token {
	t.Helper()
	return hsmtest.New(t, hsmtest.Options{Refs: Keys{}.Refs()})
}

func open(t *testing.T, cfg Config) *Vault {
	t.Helper()
	v, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func order(t *testing.T, digits string) token.Order {
	t.Helper()
	pan, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := token.DrawRef(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Order{Ref: ref, Requestor: "12345678901", PAN: pan, CardExpiry: "2912", Location: "03", Expiry: "2603",
		NotBefore: noon, NotAfter: noon.Add(time.Hour)}
}

func issue(t *testing.T, v *Vault, digits string) token.Token {
	t.Helper()
	tok, err := v.Writer().Issue(t.Context(), order(t, digits), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestSerialTaken: a serial that is in the database after all, because a commit
// that seemed to fail had not, is passed over.
func TestSerialTaken(t *testing.T) {
	v := open(t, config(storetest.New(t), token1(t)))
	n := v.ranges.all()[0]
	issue(t, v, "622848000000001")
	s, err := v.take(t.Context(), n)
	if err != nil || s.serial != 1 {
		t.Fatalf("%d, %v", s.serial, err)
	}
	n.leases.giveBack(s)
	second := issue(t, v, "622848000000001") // serial 1
	n.leases.giveBack(s)                     // as if its commit had been reported as failed
	third := issue(t, v, "622848000000001")
	if second.Number.Digits() == third.Number.Digits() {
		t.Fatal("one number for two tokens")
	}
	if serial, _ := n.serial(third.Number); serial != 2 {
		t.Fatalf("serial %d", serial)
	}
}

// TestSealedToItsRow: what was sealed for one row opens in no other, and not
// under another version.
func TestSealedToItsRow(t *testing.T) {
	db := storetest.New(t)
	v := open(t, config(db, token1(t)))
	a, b := issue(t, v, "622848000000001"), issue(t, v, "622848000000002")
	for name, change := range map[string]string{
		"another row's":   "UPDATE cards SET sealed = (SELECT sealed FROM cards WHERE last4 = '" + b.PANLast4 + "') WHERE last4 = '" + a.PANLast4 + "'",
		"a bit turned":    "UPDATE cards SET sealed = zeroblob(length(sealed)) WHERE last4 = '" + a.PANLast4 + "'",
		"another version": "UPDATE cards SET seal_version = 2 WHERE last4 = '" + a.PANLast4 + "'",
	} {
		undo := errors.New("undo")
		err := db.Tx(t.Context(), func(tx *gorm.DB) error {
			if err := tx.Exec(change).Error; err != nil {
				return err
			}
			var row cardRow
			if err := tx.Where("last4 = ?", a.PANLast4).Take(&row).Error; err != nil {
				return err
			}
			if pan, _, err := v.unseal(t.Context(), row); err == nil || !pan.IsZero() {
				t.Errorf("%s: opened", name)
			}
			return undo
		})
		if !errors.Is(err, undo) {
			t.Fatal(err)
		}
	}
	if _, _, err := v.Opener().PAN(t.Context(), a.Ref); err != nil {
		t.Fatal(err)
	}
}

// TestFileShowsNoNumber: neither card numbers nor token numbers are in any
// file of the database, in digits or in BCD.
func TestFileShowsNoNumber(t *testing.T) {
	path := storetest.Path(t)
	db := storetest.Open(t, store.Config{DSN: path})
	v := open(t, config(db, token1(t)))
	var secret [][]byte
	for _, d := range []string{"622848000000001", "622848111111111", "622848999999999"} {
		tok := issue(t, v, d)
		asn := tok.Number.ASN()
		secret = append(secret, []byte(d), []byte(tok.Number.Digits()), asn[2:])
	}
	for _, f := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secret {
			if bytes.Contains(b, s) {
				t.Errorf("%s holds a number", f)
			}
		}
		if f == path+"-wal" && !bytes.Contains(b, []byte("12345678901")) {
			t.Error("the file was not looked at where rows are")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	h := token1(t)
	db := storetest.New(t)
	open(t, config(db, h))
	for name, change := range map[string]func(*Config){
		"no database":           func(c *Config) { c.DB = nil },
		"no HSM":                func(c *Config) { c.HSM = nil },
		"no BIN controller":     func(c *Config) { c.BINController = "" },
		"a lower-case one":      func(c *Config) { c.BINController = "tv01" },
		"quarantine of 30 days": func(c *Config) { c.Quarantine = 30 * 24 * time.Hour },
		"a range that changed":  func(c *Config) { c.Ranges[0].Prefix = "910002" },
		"another length":        func(c *Config) { c.Ranges[0].Length = 17 },
		"a range twice": func(c *Config) {
			c.Ranges = append(c.Ranges, Range{Name: "x", Prefix: "930002", Length: 16, Luhn: true}, Range{Name: "x", Prefix: "930002", Length: 16, Luhn: true})
		},
		"a range over a stored one that is not configured any more": func(c *Config) { c.Ranges = []Range{{Name: "new", Prefix: "91000", Length: 16, Luhn: true}} },
		"no key of that version": func(c *Config) {
			c.Keys.RangeKEK = 2
			c.Ranges = append(c.Ranges, Range{Name: "x", Prefix: "930002", Length: 16, Luhn: true})
		},
	} {
		cfg := config(db, h)
		change(&cfg)
		if v, err := Open(t.Context(), cfg); err == nil || v != nil {
			t.Errorf("%s: opened", name)
		}
	}
	var n int64
	if err := db.Read(t.Context()).Model(&rangeRow{}).Count(&n).Error; err != nil || n != 1 {
		t.Errorf("%d ranges after refusals, %v", n, err)
	}
	retired := config(db, h)
	retired.Ranges = []Range{{Name: "next", Prefix: "930002", Length: 16, Luhn: true}}
	v := open(t, retired)
	if len(v.Ranges()) != 2 || v.Ranges()[0].Name != "next" || v.ranges.all()[1].issues {
		t.Errorf("ranges %v", v.Ranges())
	}
}

// flaky is a real HSM of which one call fails, before or after its effect.
type flaky struct {
	Sealer
	call  string
	after bool
}

var errBroken = errors.New("broken on purpose")

func (f flaky) Random(ctx context.Context, b []byte) error {
	if f.call == "Random" && !f.after {
		return errBroken
	}
	err := f.Sealer.Random(ctx, b)
	if f.call == "Random" {
		return errBroken
	}
	return err
}

func (f flaky) Seal(ctx context.Context, ref keyref.Ref, p, aad []byte) ([]byte, error) {
	if f.call == "Seal" && !f.after {
		return nil, errBroken
	}
	out, err := f.Sealer.Seal(ctx, ref, p, aad)
	if f.call == "Seal" {
		return nil, errBroken
	}
	return out, err
}

func (f flaky) Unseal(ctx context.Context, ref keyref.Ref, p, aad []byte) ([]byte, error) {
	if f.call == "Unseal" {
		return nil, errBroken
	}
	return f.Sealer.Unseal(ctx, ref, p, aad)
}

// TestOpenWithBrokenHSM: a range is made whole or not at all, and is the same
// one whenever it is opened.
func TestOpenWithBrokenHSM(t *testing.T) {
	h := token1(t)
	db := storetest.New(t)
	for _, f := range []flaky{{h, "Random", false}, {h, "Random", true}, {h, "Seal", false}, {h, "Seal", true}, {h, "Unseal", false}} {
		if _, err := Open(t.Context(), config(db, f)); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", f.call, err)
		}
		var n int64
		want := int64(0)
		if f.call == "Unseal" {
			want = 1 // the range is made; it could not be opened
		}
		if err := db.Read(t.Context()).Model(&rangeRow{}).Count(&n).Error; err != nil || n != want {
			t.Errorf("%s failed and left %d ranges, %v", f.call, n, err)
		}
	}
	a, errA := open(t, config(db, h)).ranges.all()[0].number(7)
	b, errB := open(t, config(db, h)).ranges.all()[0].number(7)
	if errA != nil || errB != nil || a.Digits() != b.Digits() {
		t.Errorf("two openings, two numbers: %v, %v", errA, errB)
	}
}

// TestSealedRangeKeyIsBound: a range's sealed key opens with that range only.
func TestSealedRangeKeyIsBound(t *testing.T) {
	h := token1(t)
	db := storetest.New(t)
	cfg := config(db, h)
	cfg.Ranges = append(cfg.Ranges, Range{Name: "bank", Prefix: "930002", Length: 16, Luhn: true})
	open(t, cfg)
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		return tx.Exec("UPDATE token_ranges SET sealed_key = (SELECT sealed_key FROM token_ranges WHERE id = 'bank')").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Fatal("a key sealed for one range opened another")
	}
}

// TestOrderOfTables: an import can store every table after those that its rows
// refer to, also tables of others.
func TestOrderOfTables(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, newDB func(testing.TB) *store.DB) {
		db := newDB(t)
		for _, s := range []string{"CREATE TABLE aa (id TEXT PRIMARY KEY)", "CREATE TABLE zz (id TEXT PRIMARY KEY, up TEXT REFERENCES zz (id))",
			"CREATE TABLE ab (id TEXT PRIMARY KEY, z TEXT REFERENCES zz (id), a TEXT REFERENCES aa (id))"} {
			storetest.Exec(t, db, s)
		}
		all, err := tables(db.Read(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, table := range all {
			others, err := refersTo(db.Read(t.Context()), table)
			if err != nil || seen[table] {
				t.Fatalf("%s: twice, or %v", table, err)
			}
			for _, o := range others {
				if o != table && !seen[o] {
					t.Errorf("%s comes before %s", table, o)
				}
			}
			seen[table] = true
		}
		if !seen["ab"] || !seen["zz"] || !seen["wallet_balances"] || seen["retired_keys"] {
			t.Errorf("%v", all)
		}
	})
}

// TestReadTogetherButUnreadable: of rows that are read by one query, one that cannot be read fails who asked for it, and
// nobody else.
func TestReadTogetherButUnreadable(t *testing.T) {
	db := storetest.New(t)
	v := open(t, config(db, token1(t)))
	good, bad := issue(t, v, "622848000000001"), issue(t, v, "622848000000002")
	refs := []token.Ref{bad.Ref, good.Ref, bad.Ref}
	check := func(name string, fails func(i int) error, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		for i, ref := range refs {
			err := fails(i)
			if want := ref == bad.Ref; fault.IsUnreadable(err) != want || (err != nil) != want {
				t.Errorf("%s, %d: %v", name, i, err)
			}
			if err != nil && (!strings.Contains(err.Error(), string(bad.Ref)) || strings.Contains(err.Error(), "70000")) {
				t.Errorf("%s: it says %v", name, err)
			}
		}
	}
	storetest.Exec(t, db, "UPDATE tokens SET ctr_next = 70000 WHERE ref = ?", string(bad.Ref))
	tokens, err := v.readTokens(t.Context(), refs)
	check("tokens", func(i int) error { return tokens[i].Err }, err)
	var places []place
	for _, ref := range refs {
		p, _ := v.find(map[token.Ref]token.Number{good.Ref: good.Number, bad.Ref: bad.Number}[ref])
		places = append(places, p)
	}
	numbers, err := v.readNumbers(t.Context(), places)
	check("numbers", func(i int) error { return numbers[i].Err }, err)
	storetest.Exec(t, db, "UPDATE cards SET seal_version = 70000 WHERE last4 = ?", bad.PANLast4)
	cards, err := v.readCards(t.Context(), refs)
	check("cards", func(i int) error { return cards[i].Err }, err)
	sealed, err := v.readSealed(t.Context(), refs)
	check("sealed cards", func(i int) error { return sealed[i].Err }, err)
	var looked [][]cardPrint
	for _, d := range []string{"622848000000002", "622848000000001", "622848000000003", "622848000000002"} {
		prints, err := v.prints(t.Context(), order(t, d).PAN)
		if err != nil {
			t.Fatal(err)
		}
		looked = append(looked, prints)
	}
	for _, n := range []string{"cards", "former_cards"} {
		sights, err := v.readSights(t.Context(), looked)
		if err != nil {
			t.Fatalf("sights in %s: %v", n, err)
		}
		for i, s := range sights {
			if bad := i%3 == 0; fault.IsUnreadable(s.Err) != bad || (s.Err != nil) != bad || i == 2 && (s.Value.card != nil || s.Value.former != nil) {
				t.Errorf("sights in %s, %d: %+v, %v", n, i, s.Value, s.Err)
			}
			if i == 1 && s.Value.card == nil {
				t.Errorf("sights in %s: a card that can be read is not found", n)
			}
		}
		storetest.Exec(t, db, "INSERT OR IGNORE INTO former_cards (id, card_id, pan_index, index_version, sealed, seal_version, replaced_at) SELECT 'f' || id, id, pan_index, 1, sealed, 70000, 0 FROM cards WHERE last4 = ?", bad.PANLast4)
		storetest.Exec(t, db, "UPDATE cards SET seal_version = 1, pan_index = zeroblob(32) WHERE last4 = ?", bad.PANLast4)
	}
}
