// Package transcript writes down what happened in a ceremony so that no byte of it can change unseen, and judges such a record with public keys alone.
//
// A transcript is a file of lines. A line is the SHA-256 of a record, in
// capitals, a space and the record as JSON in its only form; a record names the
// hash of the one before it. Signatures are records too: each is over the hash
// that its record follows, and so over everything before.
package transcript

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// Type is what a record tells of.
type Type string

// Types.
const (
	Opened   Type = "opened"   // the first: the script, the people, the place
	Began    Type = "began"    // a step is about to be done
	Done     Type = "done"     // and has been
	Refused  Type = "refused"  // something typed or found was refused; the step goes on
	Failed   Type = "failed"   // the step could not be done; the ceremony stands still
	Aborted  Type = "aborted"  // somebody stopped the ceremony
	Resumed  Type = "resumed"  // it goes on
	Approved Type = "approved" // an officer's signature over the plan
	Signed   Type = "signed"   // a signature over everything before
	Closed   Type = "closed"   // the last
)

// Record is one entry.
type Record struct {
	Number int               `json:"n"`
	Time   string            `json:"time"` // RFC 3339, UTC, milliseconds
	Type   Type              `json:"type"`
	Step   int               `json:"step,omitempty"`
	Who    string            `json:"who,omitempty"`
	Says   string            `json:"says"`
	Data   map[string]string `json:"data,omitempty"`
	Prev   string            `json:"prev"`
}

// Errors.
var (
	ErrBroken     = fault.New(fault.Refused, "the transcript is not whole")
	ErrUnfinished = fault.New(fault.Refused, "the transcript ends before the ceremony did")
	ErrExists     = fault.New(fault.Refused, "a transcript is never overwritten")
)

// Bounds of what is read.
const (
	maxLine = 256 << 10
	maxFile = 64 << 20
	hashLen = 2 * sha256.Size
)

const timeForm = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(timeForm) }

// first is what the first record names as the one before it.
var first = strings.Repeat("0", hashLen)

// line prints a record and returns its hash.
func (r Record) line() (text []byte, hash string, err error) {
	body, err := r.body()
	if err != nil {
		return nil, "", err
	}
	hash = fmt.Sprintf("%X", sha256.Sum256(body))
	return fmt.Appendf(nil, "%s %s\n", hash, body), hash, nil
}

func (r Record) body() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// broken names the place at which a transcript stops being one.
func broken(n int, format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrBroken, n, fmt.Sprintf(format, args...))
}

// chain reads the lines of a whole file. The last line may lack its end; torn
// is then its length, and it is no record.
func chain(text []byte) (all []Record, hashes []string, torn int, err error) {
	if len(text) > maxFile {
		return nil, nil, 0, fmt.Errorf("%w: it has more than %d bytes", ErrBroken, maxFile)
	}
	prev, last := first, ""
	for n := 1; len(text) > 0; n++ {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			return all, hashes, len(line), nil
		}
		r, hash, err := parseLine(n, line)
		if err != nil {
			return all, hashes, 0, err
		}
		switch {
		case r.Number != n:
			return all, hashes, 0, broken(n, "this is record %d: a record is missing or in the wrong place", r.Number)
		case r.Prev != prev:
			return all, hashes, 0, broken(n, "it does not follow the record before it: one of the two was changed or taken out")
		case r.Time < last:
			return all, hashes, 0, broken(n, "it is older than the record before it")
		}
		prev, last, text = hash, r.Time, rest
		all, hashes = append(all, r), append(hashes, hash)
	}
	return all, hashes, 0, nil
}

func parseLine(n int, line []byte) (r Record, hash string, err error) {
	if len(line) < hashLen+2 || len(line) > maxLine || line[hashLen] != ' ' {
		return r, "", broken(n, "it is not a hash and a record")
	}
	hash, body := string(line[:hashLen]), line[hashLen+1:]
	if fmt.Sprintf("%X", sha256.Sum256(body)) != hash {
		return r, "", broken(n, "its bytes do not have its hash: hash or record was changed")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, "", broken(n, "it is not a record")
	}
	if again, err := r.body(); err != nil || !bytes.Equal(again, body) {
		return r, "", broken(n, "it is not written in the only form of a record")
	}
	if _, err := time.Parse(timeForm, r.Time); err != nil {
		return r, "", broken(n, "its time is none")
	}
	return r, hash, nil
}
