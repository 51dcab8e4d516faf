package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
)

// mapError gives an error of the driver one of this package's kinds. Errors of
// others pass through, so a transaction returns what its function returned.
func mapError(err error) error {
	var e sqlite3.Error
	var p *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return sqliteError(e)
	case errors.As(err, &p):
		return others(postgresError(p, errors.As(err, new(*pgconn.ConnectError))), err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case gone(err):
		if why := reasons(err); len(why) > 0 {
			err = why
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case strings.HasPrefix(err.Error(), unscanned):
		return unreadable(err)
	}
	return err
}

// unscanned begins the text of the only error that database/sql has for a column that is
// not what its reader takes.
const unscanned = "sql: Scan error on column index "

// unreadable is the error of a row that was found and cannot be read. The text of who read it
// shows the value, unless it is this program's own.
func unreadable(err error) error {
	column, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), unscanned), ": ")
	_, column, _ = strings.Cut(column, ", name ")
	why := errors.Unwrap(err)
	if why == nil || fault.KindOf(why) == fault.Internal {
		why = errors.New("what is stored cannot be read")
	}
	return fault.Unreadable(fmt.Errorf("column %s: %w", column, why))
}

// Scanned gives the error of reading one row its kind, for who goes on with the next: of a
// row that cannot be read it is [fault.Unreadable].
func Scanned(err error) error { return mapError(err) }

// gone reports that the pool is closed, or that the connection could not be
// made or was lost. Two of these errors are not exported by who makes them.
func gone(err error) bool {
	for _, e := range []error{sql.ErrConnDone, sql.ErrTxDone, driver.ErrBadConn, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	var refused *pgconn.ConnectError
	var lost *net.OpError
	return errors.As(err, &refused) || errors.As(err, &lost) || err.Error() == "sql: database is closed" || err.Error() == "conn closed"
}

// unreached are the reasons why there is no connection: one for each server, once.
// The driver tells of every address, over several lines and in its own words.
type unreached []error

func (u unreached) Error() string {
	var text []string
	for _, why := range u {
		text = append(text, why.Error())
	}
	return strings.Join(text, "; ")
}

func (u unreached) Unwrap() []error { return u }

// reasons are why each of the servers that were tried could not be reached; none,
// when it is no error of connecting.
func reasons(err error) (why unreached) {
	var refused *pgconn.ConnectError
	if !errors.As(err, &refused) {
		return nil
	}
	each := []error{refused.Unwrap()}
	if all, ok := each[0].(interface{ Unwrap() []error }); ok {
		each = all.Unwrap()
	}
	for _, e := range each {
		r := reason(e)
		if !slices.ContainsFunc(why, func(was error) bool { return was.Error() == r.Error() }) {
			why = append(why, r)
		}
	}
	return why
}

// reason is why one server could not be reached. The driver's text begins with its
// address.
func reason(err error) error {
	at, _, _ := strings.Cut(err.Error(), " (")
	var lost *net.OpError
	var p *pgconn.PgError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return errors.New(at + ": " + ofCertificate(cert))
	case errors.As(err, &p):
		return fmt.Errorf("%s: postgres %s", at, p.Code)
	case errors.Is(err, pgconn.ErrStandbyConnection):
		return errors.New(at + ": a standby")
	case errors.Is(err, errOutlived):
		return fmt.Errorf("%s: %w", at, errOutlived)
	case errors.As(err, &lost):
		return lost
	}
	return err
}

// ofCertificate says what is wrong with the certificate that a server shows.
func ofCertificate(err error) string {
	var name x509.HostnameError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "its certificate was not made by the CA that sslrootcert names"
	case errors.As(err, &name):
		return "its certificate is not for " + name.Host
	}
	return err.Error()
}

// unread says what is wrong with a URL that the driver does not take. Its own error
// may hold a password.
func unread(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return fmt.Errorf("%w: a file that the URL of the database names: %w", ErrUnavailable, file)
	}
	var parsed *pgconn.ParseConfigError
	if errors.As(err, &parsed) && strings.HasSuffix(err.Error(), "(unable to add CA to cert pool)") {
		return fmt.Errorf("%w: the file that sslrootcert names holds no certificate", ErrUnavailable)
	}
	return fmt.Errorf("%w: the URL of the database is not one", ErrUnavailable)
}

// others adds to an error that one of several servers gave what the others said.
func others(mapped, err error) error {
	if why := reasons(err); len(why) > 1 {
		return fmt.Errorf("%w: %w", mapped, why)
	}
	return mapped
}

func sqliteError(e sqlite3.Error) error {
	switch e.ExtendedCode {
	case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey:
		return gorm.ErrDuplicatedKey
	case sqlite3.ErrConstraintForeignKey:
		return gorm.ErrForeignKeyViolated
	case sqlite3.ErrConstraintCheck:
		return gorm.ErrCheckConstraintViolated
	}
	kind := sqliteKind(e)
	if kind == nil {
		return fmt.Errorf("sqlite error %d", int(e.ExtendedCode))
	}
	return fmt.Errorf("%w%s (sqlite %d)", kind, sqliteWords[e.Code], int(e.ExtendedCode))
}

// sqliteWords say what the kind of an error does not.
var sqliteWords = map[sqlite3.ErrNo]string{
	sqlite3.ErrNotADB:   ": the file is no database",
	sqlite3.ErrCorrupt:  damaged,
	sqlite3.ErrCantOpen: ": the file cannot be opened",
	sqlite3.ErrBusy:     ": another program has the file locked",
}

// sqliteKind looks at the operating system's reason where SQLite's own code
// does not tell a full or read-only disk from a broken one. It returns nil for
// mistakes of this program, which no operator can mend.
func sqliteKind(e sqlite3.Error) error {
	if kind := systemKind(e.SystemErrno); kind != nil {
		return kind
	}
	switch e.Code {
	case sqlite3.ErrError, sqlite3.ErrConstraint, sqlite3.ErrMismatch, sqlite3.ErrMisuse, sqlite3.ErrRange, sqlite3.ErrTooBig:
		return nil
	case sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return ErrReadOnly
	case sqlite3.ErrFull:
		return ErrFull
	}
	return ErrUnavailable
}

// systemKind tells what an error of the operating system means for the
// database, or nil.
func systemKind(e syscall.Errno) error {
	switch e {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return ErrFull
	case syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return ErrReadOnly
	}
	return nil
}

// errContended reports a transaction that the server broke off because of
// others: run again, it may succeed.
var errContended = fmt.Errorf("%w: others write the same rows", ErrUnavailable)

// errLocked reports that others had the table for longer than was waited.
var errLocked = fmt.Errorf("%w: others use the table", ErrUnavailable)

// meetsOthers reports that a step of a migration failed in a way that another
// process which takes the same step can be the cause of.
func meetsOthers(err error) bool {
	return errors.Is(err, errContended) || errors.Is(err, errLocked) || errors.Is(err, gorm.ErrDuplicatedKey) || errors.Is(err, errExists)
}

// errExists reports a table or an index that was to be created and exists.
var errExists = errors.New("postgres error 42P07")

// postgresError goes by the SQLSTATE, of which the first two characters are the
// class. connecting says that no connection came up.
func postgresError(e *pgconn.PgError, connecting bool) error {
	if standby(e) {
		if connecting { // of several servers, and none is the first now
			return fmt.Errorf("%w: no server takes writes (postgres %s)", ErrUnavailable, e.Code)
		}
		return fmt.Errorf("%w%s (postgres %s)", ErrReadOnly, postgresWords["25006"], e.Code)
	}
	switch e.Code {
	case "23505":
		return gorm.ErrDuplicatedKey
	case "23503":
		return gorm.ErrForeignKeyViolated
	case "23514":
		return gorm.ErrCheckConstraintViolated
	case "40001", "40P01":
		return fmt.Errorf("%w (postgres %s)", errContended, e.Code)
	case "55P03":
		return errLocked
	case "42P07":
		return errExists
	}
	kind := postgresKind(e.Code)
	if kind == nil {
		return fmt.Errorf("postgres error %s", e.Code)
	}
	return fmt.Errorf("%w%s (postgres %s)", kind, postgresWords[e.Code], e.Code)
}

// standby reports whether a server runs no serializable transactions because it
// follows another. The code alone stands for anything that a server does not do.
func standby(e *pgconn.PgError) bool {
	return e.Code == "0A000" && strings.HasPrefix(e.Routine, "GetSerializableTransactionSnapshot")
}

// postgresWords say what the kind of an error does not.
var postgresWords = map[string]string{
	"25006": ": the server takes no writes; it may be a standby",
	"28P01": ": the server refuses the password, or there is none",
	"28000": ": the server lets this user in neither from here nor so (pg_hba.conf)",
	"3D000": ": the server has no such database",
	"42501": ": this user has no right to do that",
	"53300": ": the server takes no more connections (max_connections)",
	"57P03": ": the server is starting or stopping",
}

// postgresKind returns nil for mistakes of this program, which no operator can
// mend.
func postgresKind(code string) error {
	switch code {
	case "25006", "42501": // a read-only server or session; no right to write
		return ErrReadOnly
	case "53100":
		return ErrFull
	case "57014", "3D000", "25P03", "25P04": // cancelled, no such database, timeouts
		return ErrUnavailable
	}
	switch code[:min(2, len(code))] {
	case "08", "28", "53", "57", "58", "XX", "F0": // connection, login, resources, operator, system, damage
		return ErrUnavailable
	}
	return nil
}
