package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/vault/archive"
)

// Errors of imports.
var (
	ErrNotEmpty = fault.New(fault.Malformed, "an import needs an empty database")
	ErrSchemas  = fault.New(fault.Malformed, "the export is of another schema: import it with the release that made it, then migrate")
	ErrManifest = fault.New(fault.Malformed, "the export does not hold what its manifest says")
)

// Manifest says what an export holds. It is the last record of it, and the
// digest covers every one before.
type Manifest struct {
	Schema int64            `json:"schema"`
	Rows   map[string]int64 `json:"rows"`   // by table
	Digest string           `json:"digest"` // SHA-256 of all rows, hex
}

// Total is how many rows there are in all.
func (m Manifest) Total() (n int64) {
	for _, rows := range m.Rows {
		n += rows
	}
	return n
}

// record is a line of an export: a row, or the manifest.
type record struct {
	Table    string    `json:"t,omitempty"`
	Row      row       `json:"r,omitempty"`
	Manifest *Manifest `json:"m,omitempty"`
}

// Verify reads a whole export, writes nothing, and returns its manifest if that
// is what the export holds.
func Verify(ctx context.Context, r *archive.Reader, tell func(done int64)) (Manifest, error) {
	m := Manifest{Rows: map[string]int64{}}
	sum, done := sha256.New(), int64(0)
	for {
		line, err := r.Next()
		if err != nil {
			return Manifest{}, errors.Join(ctx.Err(), whole(err))
		}
		rec, err := parse(line)
		if err != nil {
			return Manifest{}, err
		}
		if rec.Manifest != nil {
			return m.compare(*rec.Manifest, sum, r)
		}
		sum.Write(line)
		m.Rows[rec.Table]++
		done++
		tell(done)
	}
}

// whole turns the end of a file into an error: there is no manifest before it.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrManifest
	}
	return err
}

// compare holds what was read against the manifest of the file, which must end
// with it.
func (m Manifest) compare(said Manifest, sum hash.Hash, r *archive.Reader) (Manifest, error) {
	for table, n := range said.Rows {
		if m.Rows[table] != n {
			return Manifest{}, fmt.Errorf("%w: table %s", ErrManifest, table)
		}
	}
	if m.Total() != said.Total() || said.Digest != hex.EncodeToString(sum.Sum(nil)) {
		return Manifest{}, ErrManifest
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.Join(ErrManifest, err)
	}
	return said, nil
}

func parse(line []byte) (rec record, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&rec); err != nil || rec.Manifest == nil && rec.Table == "" {
		return record{}, ErrManifest
	}
	return rec, rec.Row.restore()
}
