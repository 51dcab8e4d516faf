package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/archive"
)

// Errors of imports.
var (
	ErrNotEmpty = fault.New(fault.Malformed, "an import needs an empty database")
	ErrSchemas  = fault.New(fault.Malformed, "the export is of another schema: import it with the release that made it, then migrate")
	ErrManifest = fault.New(fault.Malformed, "the export does not hold what its manifest says")
)

// Manifest says what an export holds. It is the last record of it, and the
// digest covers every one before.
type Manifest struct {
	Schema int64            `json:"schema"`
	Rows   map[string]int64 `json:"rows"`   // by table
	Digest string           `json:"digest"` // SHA-256 of all rows, hex
}

// Total is how many rows there are in all.
func (m Manifest) Total() (n int64) {
	for _, rows := range m.Rows {
		n += rows
	}
	return n
}

// Porter takes a whole database out and in again. It opens every card number:
// it is for disaster recovery, on a machine where nothing else runs.
type Porter struct{ v *Vault }

// Porter returns the right to export and import.
func (v *Vault) Porter() *Porter { return &Porter{v} }

// record is a line of an export: a row, or the manifest.
type record struct {
	Table    string    `json:"t,omitempty"`
	Row      row       `json:"r,omitempty"`
	Manifest *Manifest `json:"m,omitempty"`
}

// row is a row by columns. Bytes are distinguished from text.
type row map[string]any

// stays are tables that belong to one database and are not exported.
var stays = []string{"goose_db_version", "schema_floor", "retired_keys", "sqlite_sequence"}

// tables lists what is exported, in an order in which it can be imported: no
// table comes before one that it refers to.
func tables(db *gorm.DB) (out []string, err error) {
	all, err := db.Migrator().GetTables()
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	slices.Sort(all)
	var place func(table string) error
	place = func(table string) error {
		if slices.Contains(stays, table) || slices.Contains(out, table) {
			return nil
		}
		others, err := refersTo(db, table)
		for i := 0; err == nil && i < len(others); i++ {
			if others[i] != table {
				err = place(others[i])
			}
		}
		out = append(out, table)
		return err
	}
	for _, table := range all {
		if err := place(table); err != nil {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
	}
	return out, nil
}

// refersTo lists the tables that rows of a table refer to.
func refersTo(db *gorm.DB, table string) (others []string, err error) {
	query := `SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)`
	if db.Name() == "postgres" {
		query = "SELECT DISTINCT t.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.confrelid JOIN pg_class s ON s.oid = c.conrelid " +
			"WHERE c.contype = 'f' AND s.relname = ? AND s.relnamespace = current_schema()::regnamespace"
	}
	return others, db.Raw(query, table).Scan(&others).Error
}

// Count counts the rows that an export would hold now.
func (p *Porter) Count(ctx context.Context) (n int64, err error) {
	db := p.v.cfg.DB.Read(ctx)
	all, err := tables(db)
	for i := 0; err == nil && i < len(all); i++ {
		var rows int64
		err = db.Table(all[i]).Count(&rows).Error
		n += rows
	}
	return n, err
}

// Export writes every row as it is at one moment, with card numbers and range
// keys opened: w seals them. It calls tell after each row. The caller closes w.
func (p *Porter) Export(ctx context.Context, w *archive.Writer, tell func(done int64)) (Manifest, error) {
	have, _, err := p.v.cfg.DB.Versions(ctx)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Schema: have, Rows: map[string]int64{}}
	sum, done := sha256.New(), int64(0)
	err = p.v.cfg.DB.Snapshot(ctx, func(tx *gorm.DB) error {
		all, err := tables(tx)
		if err != nil {
			return err
		}
		for _, table := range all {
			m.Rows[table] = 0
			err := eachRow(tx, table, func(r row) error {
				m.Rows[table]++
				done++
				tell(done)
				return p.exportRow(ctx, w, sum, table, r)
			})
			if err != nil {
				return fmt.Errorf("exporting %s: %w", table, err)
			}
		}
		return nil
	})
	if err != nil {
		return Manifest{}, err
	}
	m.Digest = hex.EncodeToString(sum.Sum(nil))
	line, err := json.Marshal(record{Manifest: &m})
	if err != nil {
		return Manifest{}, err
	}
	return m, w.Write(line)
}

// eachRow reads a table row by row.
func eachRow(tx *gorm.DB, table string, do func(row) error) error {
	rows, err := tx.Table(table).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, at := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return err
		}
		r := row{}
		for i, c := range columns {
			r[c] = values[i]
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p *Porter) exportRow(ctx context.Context, w *archive.Writer, sum hash.Hash, table string, r row) error {
	if err := p.open(ctx, table, r); err != nil {
		return err
	}
	for c, v := range r {
		if b, ok := v.([]byte); ok {
			r[c] = map[string]string{"hex": hex.EncodeToString(b)}
		}
	}
	line, err := json.Marshal(record{Table: table, Row: r})
	if err != nil {
		return err
	}
	defer clear(line)
	sum.Write(line)
	return w.Write(line)
}

// Columns that are made anew under the keys of whoever imports.
var (
	cardColumns  = []string{"pan_index", "index_version", "expiry_tag", "sealed", "seal_version"}
	rangeColumns = []string{"sealed_key", "kek_version"}
)

// open puts what is sealed by the HSM into r as it is.
func (p *Porter) open(ctx context.Context, table string, r row) error {
	switch table {
	case "cards", "former_cards":
		pan, expiry, err := p.v.unsealFrom(ctx, r.text("id"), uint8(r.number("seal_version")), r.blob("sealed"))
		if err != nil {
			return err
		}
		r.drop(cardColumns)
		r["pan"], r["pan_expiry"] = pan.Reveal(), string(expiry)
	case "token_ranges":
		kek := keyref.Ref{Usage: keyref.RangeKEK, Version: uint8(r.number("kek_version"))}
		key, err := p.v.cfg.HSM.Unseal(ctx, kek, r.blob("sealed_key"), rangeAAD(r.tokenRange()))
		if err != nil {
			return err
		}
		r.drop(rangeColumns)
		r["key"] = key
	case "range_leases":
		r["holder"] = "" // whoever held it will not come back to it
	}
	return nil
}

// close is the inverse of open, under the configured versions of keys.
func (p *Porter) close(ctx context.Context, table string, r row) (err error) {
	switch table {
	case "cards", "former_cards":
		return p.closeCard(ctx, table, r)
	case "token_ranges":
		kek := keyref.Ref{Usage: keyref.RangeKEK, Version: p.v.cfg.Keys.RangeKEK}
		key := r.blob("key")
		defer clear(key)
		if len(key) != 32 {
			return ErrManifest
		}
		r.drop([]string{"key"})
		r["kek_version"] = kek.Version
		r["sealed_key"], err = p.v.cfg.HSM.Seal(ctx, kek, key, rangeAAD(r.tokenRange()))
	}
	return err
}

func (p *Porter) closeCard(ctx context.Context, table string, r row) error {
	pan, err := token.ParsePAN(r.text("pan"))
	if err != nil {
		return err
	}
	expiry, err := token.ParseExpiry(r.text("pan_expiry"))
	if err != nil {
		return err
	}
	print, err := p.v.cardPrint(ctx, p.v.cfg.Keys.Index, pan)
	if err != nil {
		return err
	}
	r.drop([]string{"pan", "pan_expiry"})
	r["pan_index"], r["index_version"], r["seal_version"] = print.index(), print.version, p.v.cfg.Keys.Seal
	if table == "cards" {
		r["expiry_tag"] = print.tag(expiry)
	}
	r["sealed"], err = p.v.sealFor(ctx, r.text("id"), p.v.cfg.Keys.Seal, pan, expiry)
	return err
}

// Verify reads a whole export, writes nothing, and returns its manifest if that
// is what the export holds.
func Verify(ctx context.Context, r *archive.Reader, tell func(done int64)) (Manifest, error) {
	m := Manifest{Rows: map[string]int64{}}
	sum, done := sha256.New(), int64(0)
	for {
		line, err := r.Next()
		if err != nil {
			return Manifest{}, errors.Join(ctx.Err(), whole(err))
		}
		rec, err := parse(line)
		if err != nil {
			return Manifest{}, err
		}
		if rec.Manifest != nil {
			return m.compare(*rec.Manifest, sum, r)
		}
		sum.Write(line)
		m.Rows[rec.Table]++
		done++
		tell(done)
	}
}

// whole turns the end of a file into an error: there is no manifest before it.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrManifest
	}
	return err
}

// compare holds what was read against the manifest of the file, which must end
// with it.
func (m Manifest) compare(said Manifest, sum hash.Hash, r *archive.Reader) (Manifest, error) {
	for table, n := range said.Rows {
		if m.Rows[table] != n {
			return Manifest{}, fmt.Errorf("%w: table %s", ErrManifest, table)
		}
	}
	if m.Total() != said.Total() || said.Digest != hex.EncodeToString(sum.Sum(nil)) {
		return Manifest{}, ErrManifest
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.Join(ErrManifest, err)
	}
	return said, nil
}

func parse(line []byte) (rec record, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&rec); err != nil || rec.Manifest == nil && rec.Table == "" {
		return record{}, ErrManifest
	}
	return rec, rec.Row.restore()
}

// restore turns JSON's values into a database's.
func (r row) restore() error {
	for c, v := range r {
		switch v := v.(type) {
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return ErrManifest
			}
			r[c] = n
		case map[string]any:
			s, _ := v["hex"].(string)
			b, err := hex.DecodeString(s)
			if err != nil || len(v) != 1 {
				return ErrManifest
			}
			r[c] = b
		case string, nil:
		default:
			return ErrManifest
		}
	}
	return nil
}

func (r row) text(c string) string { s, _ := r[c].(string); return s }

func (r row) number(c string) int64 {
	switch n := r[c].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}

func (r row) blob(c string) []byte { b, _ := r[c].([]byte); return b }

func (r row) drop(columns []string) {
	for _, c := range columns {
		delete(r, c)
	}
}

// tokenRange is the range of a row of token_ranges.
func (r row) tokenRange() Range {
	return Range{Name: r.text("id"), Prefix: r.text("prefix"), Length: int(r.number("length")), Luhn: r.number("luhn") == 1}
}
