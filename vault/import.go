package vault

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/vault/archive"
)

// Import puts an export that [Verify] has passed into a migrated and empty
// database, all of it in one transaction: it is there whole or not at all. Card
// numbers and range keys are sealed under the HSM's keys of the given versions.
//
// again opens the export from its start: the database may ask for the
// transaction to be run once more.
func Import(ctx context.Context, cfg Config, m Manifest, again func() (*archive.Reader, error), tell func(done int64)) error {
	return ImportLost(ctx, cfg, m, 0, again, tell)
}

// ImportLost is Import of an export after which the service went on: up to lost
// tokens were issued since, of which the export knows nothing. No number and no
// counter that may have been given out since is given out again.
func ImportLost(ctx context.Context, cfg Config, m Manifest, lost int64, again func() (*archive.Reader, error), tell func(done int64)) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if have, _, err := cfg.DB.Versions(ctx); err != nil || have != m.Schema {
		return fmt.Errorf("importing: %w", firstOf(err, ErrSchemas))
	}
	p := &Porter{&Vault{cfg: cfg}}
	err = cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		r, err := again()
		if err != nil {
			return err
		}
		if err := p.importAll(ctx, tx, m, r, tell); err != nil || lost == 0 {
			return err
		}
		return p.leaveOut(tx, lost)
	})
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	return nil
}

func firstOf(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (p *Porter) importAll(ctx context.Context, tx *gorm.DB, m Manifest, r *archive.Reader, tell func(done int64)) error {
	all, err := tables(tx)
	if err != nil {
		return err
	}
	if err := p.empty(tx, all); err != nil {
		return err
	}
	for done := int64(0); ; done++ {
		line, err := r.Next()
		if err != nil {
			return whole(err)
		}
		rec, err := parse(line)
		if err != nil {
			return err
		}
		if rec.Manifest != nil {
			return p.arrived(tx, m)
		}
		if !slices.Contains(all, rec.Table) || !rec.Row.columnsFit() {
			return ErrManifest
		}
		if err := p.close(ctx, rec.Table, rec.Row); err != nil {
			return fmt.Errorf("sealing a row of %s: %w", rec.Table, err)
		}
		if err := tx.Table(rec.Table).Create(map[string]any(rec.Row)).Error; err != nil {
			return fmt.Errorf("storing a row of %s: %w", rec.Table, err)
		}
		tell(done + 1)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
	}
}

// seeded are rows that a migration makes, which the export's take the place of.
var seeded = []string{"event_head"}

// empty refuses a database in which there is anything.
func (p *Porter) empty(tx *gorm.DB, all []string) error {
	for _, table := range all {
		if slices.Contains(seeded, table) {
			if err := tx.Exec("DELETE FROM " + table).Error; err != nil {
				return err
			}
			continue
		}
		var n int64
		if err := tx.Table(table).Count(&n).Error; err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: there are rows in %s", ErrNotEmpty, table)
		}
	}
	return nil
}

// arrived counts what is in the database against the manifest.
func (p *Porter) arrived(tx *gorm.DB, m Manifest) error {
	for table, want := range m.Rows {
		var n int64
		if err := tx.Table(table).Count(&n).Error; err != nil {
			return err
		}
		if n != want {
			return fmt.Errorf("%w: %d rows of %d arrived in %s", ErrManifest, n, want, table)
		}
	}
	return nil
}

var columnName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// columnsFit keeps anything but names of columns out of statements.
func (r row) columnsFit() bool {
	for c := range r {
		if !columnName.MatchString(c) {
			return false
		}
	}
	return len(r) > 0
}
