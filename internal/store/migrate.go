package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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

// newest is the highest version of the sources.
func (s sources) newest() (v int64) {
	files, err := fs.ReadDir(s.files, ".")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, f := range files {
		if n, err := goose.NumericComponent(f.Name()); err == nil {
			v = max(v, n)
		}
	}
	return v
}

// Migrate brings the schema to the newest version this program knows. Each
// step is one transaction; a step that fails leaves the ones before it. A schema
// that is newer already stays as it is, if it lets this program go on.
// Processes that migrate one database at the same moment get into each other's
// way: the database lets one of them make a step, and the others see it made
// when they look again.
func (d *DB) Migrate(ctx context.Context) error {
	const tries = 20
	for try := 1; ; try++ {
		before, know, err := d.Versions(ctx)
		if err == nil && before >= know {
			return d.checkSchema(ctx)
		}
		if err = d.up(ctx); err == nil {
			return nil
		}
		now, _, e := d.Versions(ctx)
		if e == nil && now >= know {
			return d.checkSchema(ctx)
		}
		// A step that another has made since fails in as many ways as there are
		// statements. One that is wrong fails again, with nothing made before it.
		others := meetsOthers(err) || e == nil && now > before
		if !others || try == tries {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
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
	return stepError(err)
}

// stepError names the step that failed, in the database's words.
func stepError(err error) error {
	var p *goose.PartialError
	if !errors.As(err, &p) {
		return mapError(err)
	}
	return fmt.Errorf("step %s, before which all steps stay made: %w", filepath.Base(p.Failed.Source.Path), mapError(p.Err))
}

func (d *DB) provider(dialect goose.Dialect, pool *sql.DB) (*goose.Provider, error) {
	return goose.NewProvider(dialect, pool, d.sources.files, goose.WithDisableGlobalRegistry(true))
}

// Versions returns the version of the database's schema, 0 for an empty one,
// and the newest this program knows.
func (d *DB) Versions(ctx context.Context) (have, know int64, err error) {
	have, err = d.version(ctx)
	return have, d.sources.newest(), err
}

// version asks the version table itself: goose's own question creates the
// table, and looking must not write.
func (d *DB) version(ctx context.Context) (int64, error) {
	if there, err := d.has(ctx, goose.DefaultTablename); err != nil || !there {
		return 0, err
	}
	var v sql.NullInt64
	q := "SELECT max(version_id) FROM " + goose.DefaultTablename
	if err := d.Read(ctx).Raw(q).Scan(&v).Error; err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return 0, err
	}
	return v.Int64, nil
}

func (d *DB) has(ctx context.Context, table string) (bool, error) {
	var n int64
	err := d.Read(ctx).Raw(d.engine.findTable(), table).Scan(&n).Error
	return n > 0, err
}

// checkSchema refuses a schema in which something is gone that this program
// needs. Newer ones that only have more are none of its business.
func (d *DB) checkSchema(ctx context.Context) error {
	have, know, err := d.Versions(ctx)
	if err != nil || have <= know {
		return err
	}
	if there, err := d.has(ctx, floorTable); err != nil || !there {
		return errors.Join(fmt.Errorf("%w: it is at %d, this program knows %d", ErrSchema, have, know), err)
	}
	return d.checkFloor(ctx)
}

// floorTable holds the oldest knowledge that goes with the schema.
const floorTable = "schema_floor"

func (d *DB) checkFloor(ctx context.Context) error {
	floor, err := d.Floor(ctx)
	if know := d.sources.newest(); err == nil && floor > know {
		err = fmt.Errorf("%w: it is for programs that know %d, this one knows %d", ErrSchema, floor, know)
	}
	return err
}

// Floor is the oldest version that a program may know to go on with a database
// that was migrated.
func (d *DB) Floor(ctx context.Context) (floor int64, err error) {
	err = d.Read(ctx).Raw("SELECT version FROM " + floorTable + " WHERE id = 1").Scan(&floor).Error
	return floor, err
}
