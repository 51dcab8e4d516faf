package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// Writable says whether the server would take writes of this user, or whether this
// user may write the file and what SQLite keeps beside it. It makes none.
func (d *DB) Writable(ctx context.Context) error {
	e, ok := d.engine.(*postgresEngine)
	if !ok {
		return fileWritable(d.engine.(*sqliteEngine).cfg.DSN)
	}
	ask := func(db *gorm.DB, question string) (yes bool, err error) {
		return yes, db.WithContext(ctx).Raw(question).Scan(&yes).Error
	}
	standby, err := ask(e.read, "SELECT pg_is_in_recovery()")
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	refuses := standby
	if !standby {
		if refuses, err = ask(e.write, "SELECT current_setting('transaction_read_only') = 'on'"); err != nil {
			return fmt.Errorf("asking the server: %w", err)
		}
	}
	if refuses {
		return fmt.Errorf("%w%s", ErrReadOnly, postgresWords["25006"])
	}
	may, err := ask(e.read, "SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE)")
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	if !may {
		return fmt.Errorf("%w: this user may make no tables there", ErrReadOnly)
	}
	return nil
}
