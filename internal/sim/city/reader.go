package city

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/terminal/deny"
)

// Reader is a terminal of the city.
type Reader struct {
	*sim.Reader
	Class deny.Class
	id    [6]byte
	line  *line
}

// line is a terminal's line to the service, which can be cut.
type line struct {
	next http.RoundTripper
	cut  atomic.Bool
}

// RoundTrip implements [http.RoundTripper].
func (l *line) RoundTrip(q *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errors.New("city: the line is cut")
	}
	return l.next.RoundTrip(q)
}

// Cut cuts the terminal's line to the service, or mends it.
func (r *Reader) Cut(cut bool) { r.line.cut.Store(cut) }

// ReaderSpec says what a terminal is.
type ReaderSpec struct {
	Class deny.Class
	Now   func() time.Time // its clock; nil: the city's
	Rogue bool             // its module holds other masters than the scheme's
}

// Reader returns a new terminal of a class.
func (c *City) Reader(ctx context.Context, class deny.Class) (*Reader, error) {
	return c.ReaderWith(ctx, ReaderSpec{Class: class})
}

// ReaderWith returns a new terminal.
func (c *City) ReaderWith(ctx context.Context, spec ReaderSpec) (*Reader, error) {
	c.readers++
	r := &Reader{Class: spec.Class, id: [6]byte{0x31}}
	binary.BigEndian.PutUint32(r.id[2:], uint32(c.readers))
	keys, err := c.Rig.PSAM()
	if spec.Rogue {
		keys, err = rig.Rogue()
	}
	if err != nil {
		return nil, err
	}
	dir, err := c.folder("reader")
	if err != nil {
		return nil, err
	}
	if spec.Now == nil {
		spec.Now = c.Clock.Now
	}
	caller, err := c.Rig.ClientOver("terminal", func(next http.RoundTripper) http.RoundTripper {
		r.line = &line{next: next}
		return r.line
	})
	if err != nil {
		return nil, err
	}
	r.Reader, err = sim.NewReader(ctx, sim.ReaderConfig{Client: caller, Keys: keys, Realm: rig.Realm, Terminal: r.id,
		Dir: dir, Zone: Zone, Now: spec.Now, Class: spec.Class})
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, r.Close)
	return r, nil
}

// ID is the terminal's number as the API has it.
func (r *Reader) ID() string { return fmt.Sprintf("%X", r.id) }

// Denied is how many entries the terminal's deny list has.
func (r *Reader) Denied() int { return r.List().Len() }
