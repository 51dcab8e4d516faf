package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/vault/archive"
)

// Porter takes a whole database out and in again. It opens every card number:
// it is for disaster recovery, on a machine where nothing else runs.
type Porter struct{ v *Vault }

// Porter returns the right to export and import.
func (v *Vault) Porter() *Porter { return &Porter{v} }

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
