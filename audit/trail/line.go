package trail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/digits"
)

// maxLine bounds a line; every field is cut to maxField, so none comes near.
const (
	maxLine  = 16 << 10
	maxField = 512
)

// line is one record as it is written. Its bytes are hashed as they stand.
type line struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Caller   string    `json:"caller"`
	Role     string    `json:"role"`
	Action   string    `json:"action"`
	Object   string    `json:"object"`
	Outcome  string    `json:"outcome"`
	Reason   string    `json:"reason,omitempty"`
	Request  string    `json:"request,omitempty"`
	Previous string    `json:"previous"` // SHA-256 of the line before, hex; zeros for the first
}

func newLine(seq uint64, at time.Time, e audit.Entry, previous [32]byte) line {
	return line{
		Seq: seq, Time: at.UTC(), Caller: cut(e.Caller.ID), Role: cut(string(e.Caller.Role)),
		Action: cut(string(e.Action)), Object: cut(e.Object), Outcome: cut(string(e.Outcome)),
		Reason: cut(e.Reason), Request: cut(e.Request), Previous: hex.EncodeToString(previous[:]),
	}
}

// cut keeps a field from filling the disk, replaces what is no text, and
// withholds what could be a card number: callers put them in the wrong place, a
// path or a request id, and they must not stay here.
func cut(s string) string {
	s = digits.Withhold(s)
	return strings.ToValidUTF8(s[:min(len(s), maxField)], "?")
}

// printTo writes the line with its end. Encoding strings, a number and a time of
// this century cannot fail.
func (l line) printTo(b *bytes.Buffer) {
	if err := json.NewEncoder(b).Encode(&l); err != nil {
		panic(err)
	}
}

// print gives the line without its end.
func (l line) print() []byte {
	var b bytes.Buffer
	l.printTo(&b)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var errForm = errors.New("not a record of this trail")

// parse reads exactly what print writes: another spelling of the same record
// is not one.
func parse(b []byte) (line, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return line{}, errForm
	}
	if l.Time.Year() < 1 || l.Time.Year() > 9999 || !bytes.Equal(l.print(), b) {
		return line{}, errForm
	}
	return l, nil
}
