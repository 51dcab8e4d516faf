package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// sources are the migrations this program knows. Tests open a database with
// fewer, to stand for an older release.
type sources struct{ files fs.FS }

func embedded() sources {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // a constant path
	}
	return sources{sub}
}

// Migrate brings the schema to the newest version this program knows. Each
// step is one transaction; a step that fails leaves the ones before it.
// Processes that migrate one database at the same moment get into each other's
// way: the database lets one of them make a step, and the others see it made
// when they look again.
func (d *DB) Migrate(ctx context.Context) error {
	const tries = 20
	for try := 1; ; try++ {
		err := d.up(ctx)
		if err == nil {
			return nil
		}
		if have, know, e := d.Versions(ctx); e == nil && have == know {
			return nil
		}
		if !meetsOthers(err) || try == tries {
			return fmt.Errorf("migrating: %w", err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("migrating: %w", err)
		}
	}
}

func (d *DB) up(ctx context.Context) (err error) {
	dialect, pool := d.engine.migrating()
	defer func() { err = errors.Join(err, pool.Close()) }()
	p, err := d.provider(dialect, pool)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return mapError(err)
}

func (d *DB) provider(dialect goose.Dialect, pool *sql.DB) (*goose.Provider, error) {
	return goose.NewProvider(dialect, pool, d.sources.files, goose.WithDisableGlobalRegistry(true))
}

// Versions returns the version of the database's schema, 0 for an empty one,
// and the newest this program knows.
func (d *DB) Versions(ctx context.Context) (have, know int64, err error) {
	dialect, pool := d.engine.migrating() // which is not connected to: the sources are ours
	defer func() { err = errors.Join(err, pool.Close()) }()
	p, err := d.provider(dialect, pool)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the schema version: %w", err)
	}
	for _, s := range p.ListSources() {
		know = max(know, s.Version)
	}
	have, err = d.version(ctx)
	return have, know, err
}

// version asks the version table itself: goose's own question creates the
// table, and looking must not write.
func (d *DB) version(ctx context.Context) (int64, error) {
	var n int64
	if err := d.Read(ctx).Raw(d.engine.findTable(), goose.DefaultTablename).Scan(&n).Error; err != nil || n == 0 {
		return 0, err
	}
	var v sql.NullInt64
	q := "SELECT max(version_id) FROM " + goose.DefaultTablename
	if err := d.Read(ctx).Raw(q).Scan(&v).Error; err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return 0, err
	}
	return v.Int64, nil
}

func (d *DB) checkSchema(ctx context.Context) error {
	have, know, err := d.Versions(ctx)
	if err != nil {
		return err
	}
	if have > know {
		return fmt.Errorf("%w: it is at %d, this program knows %d", ErrSchema, have, know)
	}
	return nil
}
