package bench

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// crowd is how many callers ask at once where storage is measured.
const crowd = 32

// atOnce has the callers do n operations together and says how long that took.
// Each caller is told its own number beside the operation's.
func atOnce(n int, do func(caller, i int) error) (time.Duration, error) {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, crowd)
	begin := time.Now()
	for caller := range crowd {
		wg.Go(func() {
			for errs[caller] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[caller] = do(caller, i)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return took, err // the others are likely to be the same
		}
	}
	return took, nil
}

// kind is a table that an operation of the service writes a row of.
type kind struct {
	table  string
	where  string   // finds the row of one operation; its argument is a token's reference
	unique []string // columns in which no two operations have the same
}

// issued is what issuing a token for a new card writes, in an order that
// foreign keys allow.
var issued = []kind{
	{"attempts", "result = ?", []string{"attempt_key", "result"}},
	{"cards", "id = (SELECT card_id FROM tokens WHERE ref = ?)", []string{"id", "pan_index", "par"}},
	{"numbers", "holder = ?", []string{"serial", "holder"}},
	{"tokens", "ref = ?", []string{"ref", "card_id", "serial"}},
	{"events", "ref = ?", []string{"id", "ref"}},
}

// standing is what those rows refer to: it is written once.
var standing = []kind{{"token_ranges", "id = (SELECT range_id FROM tokens WHERE ref = ?)", nil}}

// row is a row that the service wrote, of which others like it are made.
type row struct {
	kind
	columns []string
	values  []any
}

// sample reads the rows that the service wrote for the token ref.
func sample(ctx context.Context, s *server, dsn, ref string, kinds []kind) (rows []row, err error) {
	db, err := s.open(dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, k := range kinds {
		r, err := read(ctx, db, k, strings.Replace(k.where, "?", s.mark(1), 1), ref)
		if err != nil {
			return nil, fmt.Errorf("reading a row of %s: %w", k.table, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func read(ctx context.Context, db *sql.DB, k kind, where, ref string) (row, error) {
	found, err := db.QueryContext(ctx, "SELECT * FROM "+k.table+" WHERE "+where, ref)
	if err != nil {
		return row{}, err
	}
	defer found.Close()
	r := row{kind: k}
	if r.columns, err = found.Columns(); err != nil {
		return row{}, err
	}
	r.values = make([]any, len(r.columns))
	into := make([]any, len(r.columns))
	for i := range into {
		into[i] = &r.values[i]
	}
	if !found.Next() {
		return row{}, errors.Join(errors.New("there is none"), found.Err())
	}
	return r, errors.Join(found.Scan(into...), found.Close())
}

// like returns the values of the nth row like r: of the same lengths, and with
// others in the unique columns.
func (r row) like(n int) []any {
	values := append([]any(nil), r.values...)
	for i, c := range r.columns {
		for _, u := range r.unique {
			if u == c {
				values[i] = other(values[i], n)
			}
		}
	}
	return values
}

func other(value any, n int) any {
	switch v := value.(type) {
	case int64:
		return int64(n) + 1
	case string:
		digits := fmt.Sprintf("%012d", n)
		return v[:max(0, len(v)-len(digits))] + digits
	case []byte:
		b := append([]byte(nil), v...)
		binary.BigEndian.PutUint64(b, uint64(n)*0x9E3779B97F4A7C15) // spread, as hashes are
		return b
	}
	return value
}

// insert is the statement for so many rows like r at once.
func (r row) insert(s *server, many int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", r.table, strings.Join(r.columns, ", "))
	for i := range many {
		if i > 0 {
			b.WriteString(", ")
		}
		marks := make([]string, len(r.columns))
		for j := range marks {
			marks[j] = s.mark(i*len(marks) + j + 1)
		}
		b.WriteString("(" + strings.Join(marks, ", ") + ")")
	}
	return b.String()
}

// pen writes rows with nothing between it and the driver: its statements are
// prepared on a connection of its own.
type pen struct {
	conn       *sql.Conn
	rows       []row
	one, group []*sql.Stmt
}

func newPen(ctx context.Context, s *server, db *sql.DB, rows []row) (*pen, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	p := &pen{conn: conn, rows: rows}
	for _, r := range rows {
		one, err := conn.PrepareContext(ctx, r.insert(s, 1))
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		group, err := conn.PrepareContext(ctx, r.insert(s, crowd))
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		p.one, p.group = append(p.one, one), append(p.group, group)
	}
	return p, nil
}

// single writes the rows of the nth operation, each in a commit of its own.
func (p *pen) single(ctx context.Context, n int) error {
	for i, r := range p.rows {
		if _, err := p.one[i].ExecContext(ctx, r.like(n)...); err != nil {
			return fmt.Errorf("writing a row of %s: %w", r.table, err)
		}
	}
	return nil
}

// together writes the rows of the nth operation in one commit.
func (p *pen) together(ctx context.Context, n int) error {
	return p.commit(ctx, func() error { return p.single(ctx, n) })
}

// grouped writes the rows of as many operations as there are callers, n being
// the first, in one commit and in one statement for each table.
func (p *pen) grouped(ctx context.Context, n int) error {
	return p.commit(ctx, func() error {
		for i, r := range p.rows {
			var values []any
			for j := range crowd {
				values = append(values, r.like(n+j)...)
			}
			if _, err := p.group[i].ExecContext(ctx, values...); err != nil {
				return fmt.Errorf("writing rows of %s: %w", r.table, err)
			}
		}
		return nil
	})
}

func (p *pen) commit(ctx context.Context, write func() error) error {
	if _, err := p.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err // the connection is closed with the measurement
	}
	_, err := p.conn.ExecContext(ctx, "COMMIT")
	return err
}
