package store

import (
	"database/sql"
	"errors"

	"gorm.io/gorm"
)

// Each runs a query and has scan read each of its rows. It is for the queries
// that every request makes: gorm takes longer to fill a row in than the database
// to find it.
func Each(db *gorm.DB, query string, scan func(*sql.Rows) error, args ...any) (err error) {
	rows, err := db.Raw(query, args...).Rows()
	if err != nil {
		return mapError(err)
	}
	defer func() { err = mapError(errors.Join(err, rows.Err(), rows.Close())) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return nil
}
