package store

import (
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"gorm.io/gorm"
)

// Each runs a query and has scan read each of its rows. It is for the queries
// that every request makes: gorm takes longer to write such a text and to fill a
// row in than the database to find it.
//
// An argument that is a []string, an []int64 or a [][]byte stands for a list: "ref IN ?".
func Each(db *gorm.DB, query string, scan func(*sql.Rows) error, args ...any) (err error) {
	st := db.Statement
	text, values := spread(query, args, db.Name() == "postgres")
	rows, err := st.ConnPool.QueryContext(st.Context, text, values...)
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

// spread writes a placeholder for each value of args; numbered says that it
// is $1, $2 and so on.
func spread(query string, args []any, numbered bool) (text string, values []any) {
	var b strings.Builder
	b.Grow(len(query) + 64)
	mark := func(v any) {
		values = append(values, v)
		if numbered {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(len(values)))
		} else {
			b.WriteByte('?')
		}
	}
	for _, arg := range args {
		before, after, _ := strings.Cut(query, "?")
		b.WriteString(before)
		query = after
		switch list := arg.(type) {
		case []string:
			enlist(&b, list, mark)
		case []int64:
			enlist(&b, list, mark)
		case [][]byte:
			enlist(&b, list, mark)
		default:
			mark(arg)
		}
	}
	b.WriteString(query)
	return b.String(), values
}

// enlist writes a list in brackets; nothing is in an empty one.
func enlist[T any](b *strings.Builder, list []T, mark func(any)) {
	b.WriteByte('(')
	if len(list) == 0 {
		b.WriteString("NULL")
	}
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		mark(v)
	}
	b.WriteByte(')')
}
