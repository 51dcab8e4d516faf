package trail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/tapvault/tapvault/audit"
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

// cardLike is a word that could be a card number or a token number. Callers put
// them in the wrong place, a path or a request id; they must not stay here.
var cardLike = regexp.MustCompile(`\b[0-9]{13,19}\b`)

// cut keeps a field from filling the disk, replaces what is no text, and
// withholds what could be a card number.
func cut(s string) string {
	if manyDigits(s) {
		s = cardLike.ReplaceAllString(s, "[digits withheld]")
	}
	return strings.ToValidUTF8(s[:min(len(s), maxField)], "?")
}

// manyDigits reports whether s holds as many digits in a row as a card number
// has. Few texts do, and this tells sooner than the expression.
func manyDigits(s string) bool {
	run := 0
	for i := range len(s) {
		if c := s[i]; c < '0' || c > '9' {
			run = 0
		} else if run++; run == 13 {
			return true
		}
	}
	return false
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
