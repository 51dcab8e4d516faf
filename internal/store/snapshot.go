package store

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// Snapshot runs fn on one connection that sees the database as it is at one
// moment, however long fn takes and whoever writes meanwhile. It cannot write.
func (d *DB) Snapshot(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return mapError(d.Read(ctx).Connection(func(tx *gorm.DB) error {
		begin := "BEGIN"
		if tx.Name() == "postgres" {
			begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
		}
		if err := tx.Exec(begin).Error; err != nil {
			return err
		}
		// Whatever happened: the connection goes back to the pool.
		end := tx.WithContext(context.WithoutCancel(ctx))
		return errors.Join(fn(tx), end.Exec("ROLLBACK").Error)
	}))
}
