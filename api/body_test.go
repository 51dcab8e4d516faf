package api

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
)

// TestBufferThatGrows: a body that outgrows its buffer leaves nothing in the
// memory that was too small for it.
func TestBufferThatGrows(t *testing.T) {
	body := strings.Repeat(cardDigits+" ", 600)
	var left [][]byte
	into := bytes.NewBuffer(make([]byte, 0, 64))
	for at := range body { // whatever memory it is in on the way
		now := into.Bytes()
		if now = now[:cap(now)]; len(left) == 0 || &left[len(left)-1][0] != &now[0] {
			left = append(left, now)
		}
		into.Truncate(at)
		if err := fill(into, strings.NewReader(body[at:at+1]), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if into.String() != body || len(left) < 5 {
		t.Fatalf("%d bytes arrived, by %d buffers", into.Len(), len(left))
	}
	for _, b := range left {
		if &b[0] != &into.Bytes()[0] && len(bytes.Trim(b, "\x00")) > 0 {
			t.Errorf("a buffer of %d bytes holds %.20q", len(b), b)
		}
	}
	whole := bytes.NewBuffer(make([]byte, 0, 64))
	if err := fill(whole, iotest.DataErrReader(strings.NewReader(body)), int64(len(body))); err != nil || whole.String() != body {
		t.Errorf("%v, %d bytes", err, whole.Len())
	}
	var none bytes.Buffer
	if err := fill(&none, strings.NewReader(body), int64(len(body))); err != nil || none.String() != body {
		t.Errorf("into no buffer: %v, %d bytes", err, none.Len())
	}
	if err := fill(bytes.NewBuffer(make([]byte, 0, 64)), strings.NewReader(body), int64(len(body))-1); err != errTooLarge { //nolint:errorlint // itself
		t.Error(err)
	}
}
