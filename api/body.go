package api

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/digits"
)

// readBody reads the whole body, bounded before anything looks at it.
func readBody(r *http.Request, op operation, into *bytes.Buffer) error {
	if r.ContentLength > op.limit {
		return errTooLarge
	}
	if err := fill(into, r.Body, op.limit); err != nil {
		return err
	}
	if into.Len() == 0 && op.optional {
		into.WriteString("{}")
		return nil
	}
	return checkType(r.Header, op.form)
}

// fill reads the whole of r into an empty buffer, up to most bytes and one. A
// buffer that grows leaves what it held in memory that nobody wipes any more: here
// it is wiped. What a caller says of the length is not gone by, since it may say much
// and send nothing.
func fill(into *bytes.Buffer, r io.Reader, most int64) error {
	for {
		if into.Available() == 0 {
			larger := bytes.NewBuffer(make([]byte, 0, max(512, 2*into.Cap())))
			_, _ = larger.Write(into.Bytes())
			clear(into.Bytes())
			*into = *larger
		}
		room := into.AvailableBuffer()
		n, err := r.Read(room[:min(int64(cap(room)), most+1-int64(into.Len()))])
		_, _ = into.Write(room[:n])
		switch {
		case int64(into.Len()) > most:
			return errTooLarge
		case err == io.EOF: //nolint:errorlint // readers return it bare
			return nil
		case err != nil:
			return &wire.FieldError{Text: "the body ended before it was whole"}
		}
	}
}

func checkType(h http.Header, form bool) error {
	if len(h["Content-Encoding"]) > 0 || len(h["Content-Type"]) != 1 {
		return errMediaType
	}
	given := h["Content-Type"][0]
	if given == "application/json" && !form {
		return nil
	}
	kind, params, err := mime.ParseMediaType(given)
	want := "application/json"
	if form {
		want = "application/x-www-form-urlencoded"
	}
	charset, has := params["charset"]
	if err != nil || kind != want || has && !strings.EqualFold(charset, "utf-8") {
		return errMediaType
	}
	return nil
}

// readAttempt reads the Idempotency-Key and binds it to this request, so that
// the same key with another request is noticed. secret is [Config.AttemptKey].
func (q *request) readAttempt(r *http.Request, op operation, secret []byte) error {
	h := r.Header["Idempotency-Key"]
	if len(h) == 0 {
		if op.attempt == required {
			return &wire.FieldError{Path: "Idempotency-Key", Text: "this header is required here"}
		}
		return nil
	}
	ok := len(h) == 1 && len(h[0]) >= 1 && len(h[0]) <= wire.MaxKeySize
	for i := 0; ok && i < len(h[0]); i++ {
		ok = h[0][i] > 0x20 && h[0][i] < 0x7F
	}
	switch {
	case !ok:
		return &wire.FieldError{Path: "Idempotency-Key", Text: fmt.Sprintf("must be 1 to %d printable ASCII characters without spaces", wire.MaxKeySize)}
	case repeats(h[0], q.body):
		return &wire.FieldError{Path: "Idempotency-Key", Text: "must not hold a number that the body holds"}
	}
	// Keyed, because it is kept: the body may hold a card number, and whoever has
	// the database would find it by trying the few numbers there are.
	d := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(d, r.Method+"\n"+r.URL.Path+"\n") // neither holds a newline
	_, _ = d.Write(q.body)
	q.attempt = access.Attempt{Key: kept(h[0], secret), Digest: [32]byte(d.Sum(nil))}
	return nil
}

// kept is what is kept of a caller's key: the key itself, unless there may be a
// card number in it. Then it is a keyed digest, behind a character that no key can
// hold.
func kept(key string, secret []byte) string {
	if !digits.InKey(key) {
		return key
	}
	d := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(d, "key\n"+key) // what requests are bound by begins with a method
	return "\x1e" + base64.RawURLEncoding.EncodeToString(d.Sum(nil))
}

// repeats reports whether key holds a number of the body that is as long as a
// card number. The key is stored as it is, so the card number must not be in it.
func repeats(key string, body []byte) bool {
	const shortest = 12
	all := make([]byte, 0, wire.MaxKeySize) // "6222-0212-3456-7894" is one, too
	for i, row := 0, 0; i <= len(key); i++ {
		if i < len(key) && key[i] >= '0' && key[i] <= '9' {
			all = append(all, key[i])
			continue
		}
		if i-row >= shortest && bytes.Contains(body, []byte(key[row:i])) {
			return true
		}
		row = i + 1
	}
	return len(all) >= shortest && bytes.Contains(body, all)
}

// buffers keeps buffers for bodies. They are wiped on return: a body may have
// held a card number.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *bytes.Buffer {
	if b, ok := p.pool.Get().(*bytes.Buffer); ok {
		return b
	}
	return bytes.NewBuffer(make([]byte, 0, 2048))
}

func (p *buffers) put(b *bytes.Buffer) {
	clear(b.Bytes())
	if b.Cap() > wire.MaxBody { // a batch's: let it go
		return
	}
	b.Reset()
	p.pool.Put(b)
}
