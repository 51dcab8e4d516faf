package store

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// postgresEngine is a PostgreSQL database, or one that speaks like it. Its
// connections keep statements prepared by their texts, so gorm need not.
type postgresEngine struct {
	cfg         Config
	conn        *pgx.ConnConfig
	papers      *papers
	lines       *lines
	write, read *gorm.DB
	writers     []*writer
	pools       []*sql.DB
}

func openPostgres(ctx context.Context, cfg Config) (engine, error) {
	files := &papers{dsn: cfg.DSN}
	conn, err := files.open()
	if err != nil {
		return nil, unread(err)
	}
	e := &postgresEngine{cfg: cfg, conn: conn, papers: files, lines: newLines(conn, files.renew)}
	e.lines.look(ctx)
	write, read := e.pool(cfg.ReadOnly, cfg.Writers), e.pool(true, cfg.Readers)
	e.pools = []*sql.DB{write, read}
	e.write, err = handle(postgresDialect{&postgres.Dialector{Config: &postgres.Config{Conn: write}}}, cfg, false)
	if err == nil {
		e.read, err = handle(postgresDialect{&postgres.Dialector{Config: &postgres.Config{Conn: read}}}, cfg, false)
	}
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	for range cfg.Writers {
		e.writers = append(e.writers, &writer{link: &postgresLink{pool: write, db: e.write}, fixed: true})
	}
	return e, nil
}

// pool makes connections of which the reading ones refuse to write, and the
// others run transactions as if one came after the other, as with SQLite they do.
func (e *postgresEngine) pool(reading bool, size int) *sql.DB {
	c := e.conn.Copy()
	if reading {
		c.RuntimeParams["default_transaction_read_only"] = "on"
	} else {
		c.RuntimeParams["default_transaction_isolation"] = "serializable"
		if _, set := c.RuntimeParams[idleLimit]; !set {
			c.RuntimeParams[idleLimit] = "60000" // ms; opening an export takes some seconds of it
		}
	}
	return limit(stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(e.papers.renew), stdlib.OptionAfterConnect(flags), stdlib.OptionResetSession(e.lines.current)), size)
}

// idleLimit is how long the server waits for the next statement of a transaction.
// Without it, one whose process lost its power or its network holds its rows until
// the server's TCP gives up, for hours, and everybody who writes waits for them.
const idleLimit = "idle_in_transaction_session_timeout"

func (e *postgresEngine) reader() *gorm.DB { return e.read }

func (e *postgresEngine) migrating() (goose.Dialect, *sql.DB) {
	bounded := *e
	bounded.conn = e.conn.Copy()
	// Whoever waits for a table makes all others wait who come after it.
	bounded.conn.RuntimeParams["lock_timeout"] = "2s"
	return goose.DialectPostgres, bounded.pool(e.cfg.ReadOnly, 1)
}

func (e *postgresEngine) findTable() string {
	return "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?"
}

func (e *postgresEngine) clock() string {
	return "SELECT CAST(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000 AS BIGINT)"
}

// present is always so: the server looks after its files. Which of several servers
// is the first one is looked at meanwhile.
func (e *postgresEngine) present() error {
	e.lines.again()
	return nil
}

func (e *postgresEngine) close() error {
	e.lines.close()
	var errs []error
	for _, p := range e.pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// transact runs fn in the group of the writer that has least to do. While the
// server breaks groups off because of others, fn is run again after a pause that
// is longer each time and drawn at random: once more with others, then alone. Where
// one run takes longer than there is to stand back, as on a machine that is asked too
// much, time alone would not let it run again: it has some runs in any case.
func (e *postgresEngine) transact(ctx context.Context, fn func(tx *gorm.DB) error) error {
	deadline := time.Now().Add(e.cfg.BusyTimeout)
	for try := 0; ; try++ {
		err := e.idlest().try(ctx, fn, try > 1)
		if errors.Is(err, errSpoiled) {
			err = errContended
		}
		if !errors.Is(err, errContended) || try+1 >= leastRuns && time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, rand.N(time.Millisecond<<min(try, 6))); err != nil {
			return err
		}
	}
}

// leastRuns is how often a transaction is run before it fails because of others. Of
// those that meet one is kept each time.
const leastRuns = 8

func (e *postgresEngine) idlest() *writer {
	best, least := e.writers[0], e.writers[0].load()
	for _, w := range e.writers[1:] {
		if n := w.load(); n < least {
			best, least = w, n
		}
	}
	return best
}

// pause waits, or fails when the caller has gone.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return waited(ctx)
	}
}

// postgresDialect is gorm's PostgreSQL dialect with our errors.
type postgresDialect struct{ *postgres.Dialector }

// Translate maps every error that gorm reports.
func (postgresDialect) Translate(err error) error { return mapError(err) }

// flags lets a Go bool be written to an INTEGER column as 0 or 1, as SQLite
// takes it. An INTEGER of CockroachDB has eight bytes.
func flags(_ context.Context, c *pgx.Conn) error {
	c.TypeMap().RegisterType(&pgtype.Type{Name: "int4", OID: pgtype.Int4OID, Codec: flagCodec{pgtype.Int4Codec{}}})
	c.TypeMap().RegisterType(&pgtype.Type{Name: "int8", OID: pgtype.Int8OID, Codec: flagCodec{pgtype.Int8Codec{}}})
	return nil
}

type flagCodec struct{ pgtype.Codec }

// PlanEncode implements pgtype.Codec.
func (c flagCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(bool); ok {
		return flagPlan{m, oid, format}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type flagPlan struct {
	m      *pgtype.Map
	oid    uint32
	format int16
}

// Encode implements pgtype.EncodePlan.
func (p flagPlan) Encode(value any, buf []byte) ([]byte, error) {
	n := int64(0)
	if value == true {
		n = 1
	}
	return p.m.Encode(p.oid, p.format, n, buf)
}
