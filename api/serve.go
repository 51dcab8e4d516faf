package api

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/trace"
	"github.com/tapvault/tapvault/quorum"
)

// around is what happens to every request: an id, fixed headers, a bound on its
// own, and an answer even when a handler panics.
func (s *server) around(c *gin.Context) {
	began := s.Now()
	id, err := s.requestID()
	ctx, span := s.traced(audit.WithRequestID(c.Request.Context(), id), c)
	c.Request = c.Request.WithContext(ctx)
	if t := c.Request.TLS; t != nil && len(t.PeerCertificates) > 0 {
		c.Request = c.Request.WithContext(identity.WithCertificate(c.Request.Context(), t.PeerCertificates[0]))
	}
	h := c.Writer.Header()
	h["X-Request-Id"] = []string{id}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = policy
	h["Strict-Transport-Security"] = https
	h["Referrer-Policy"] = noReferrer
	defer func() {
		s.Observe(routeName(c), observed(c), s.Now().Sub(began))
		ended(span, observed(c))
	}()
	defer s.recover(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	if headerSize(c.Request) > maxHeader {
		s.fail(c, errTooLarge)
		return
	}
	c.Next()
}

// maxHeader bounds a request's address and header. The server reads more before
// it hangs up, so that most who send too much are told in an answer of ours.
const maxHeader = 16 << 10

func headerSize(r *http.Request) int {
	n := len(r.URL.Path) + len(r.URL.RawQuery)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// Header values that never change, so that no request allocates them.
var (
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	policy     = []string{"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
	https      = []string{"max-age=31536000"}
	noReferrer = []string{"no-referrer"}
	jsonType   = []string{"application/json"}
)

// routeName is the template of the matched route: never what a caller wrote.
func routeName(c *gin.Context) string {
	if p := c.FullPath(); p != "" {
		return p
	}
	return "none"
}

// requestID draws an id. Letters mostly: a row of digits could be taken for a
// card number by whoever searches the logs for one.
func (s *server) requestID() (string, error) {
	var b [15]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return "unknown", fmt.Errorf("drawing a request id: %w", err)
	}
	return base32.StdEncoding.EncodeToString(b[:]), nil
}

// recover answers a panic with the fixed problem. It logs where it came from
// and of what type it was: its value may hold what a request held.
func (s *server) recover(c *gin.Context) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // recovered values are compared as they are
		panic(v)
	}
	ctx, p := c.Request.Context(), fault.Carry(v)
	s.Log.ErrorContext(ctx, "panic", "request", audit.RequestID(ctx), "route", c.FullPath(),
		"type", fmt.Sprintf("%T", p.Value), "at", p.At)
	if c.Writer.Written() {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	s.fail(c, fmt.Errorf("recovered from a panic"))
}

// serve runs one operation: caller, body, key, a place among those in flight,
// handler, answer.
func (s *server) serve(op operation) gin.HandlerFunc {
	return func(c *gin.Context) {
		q := request{param: c.Param, tag: c.Request.Header.Get("If-None-Match")}
		err := s.admit(c, op, &q)
		var body *bytes.Buffer
		if err == nil && op.limit > 0 {
			body = s.pool.get()
			defer s.pool.put(body)
			err = readBody(c.Request, op, body)
			q.body = body.Bytes()
		}
		if err == nil && op.attempt != ignored {
			err = q.readAttempt(c.Request, op, s.AttemptKey)
		}
		// Only now: strangers who send slowly must not hold the places of others.
		// A busy process is not a dead one, and streams have bounds of their own.
		if err == nil && op.path != healthPath && op.stream == nil {
			select {
			case s.busy <- struct{}{}:
				defer func() { <-s.busy }()
			default:
				err = errOverloaded
			}
		}
		var known any
		if err == nil && op.guard.verb != "" {
			known, err = s.approved(c.Request.Context(), op, &q)
		}
		if err != nil {
			s.fail(c, err)
			return
		}
		if known != nil {
			s.answer(c, op, known)
			return
		}
		if op.stream != nil {
			if err := op.stream(c, &q); err != nil {
				s.fail(c, err)
			}
			return
		}
		answer, err := op.do(c.Request.Context(), &q)
		if err != nil {
			s.fail(c, err)
			return
		}
		s.answer(c, op, answer)
	}
}

// approved lets a request through that needs no approval or has one; known is the
// answer to one that was done already.
func (s *server) approved(ctx context.Context, op operation, q *request) (known any, err error) {
	if op.again != nil {
		if known, err = op.again(ctx, q); known != nil || err != nil {
			return known, err
		}
	}
	act := quorum.Act{Verb: op.guard.verb, Method: op.method, Path: op.path, Body: q.body, Right: op.guard.right}
	if op.guard.fits != nil {
		act.Fits = func(ctx context.Context) error { return op.guard.fits(ctx, q) }
	}
	return nil, s.Approvals.Use(ctx, q.caller, act)
}

// admit identifies the caller and refuses what no operation takes.
func (s *server) admit(c *gin.Context, op operation, q *request) error {
	var err error
	if q.query, err = readQuery(c.Request.URL.RawQuery, op.query); err != nil {
		return err
	}
	if op.open {
		return nil
	}
	h := c.Request.Header["Authorization"]
	if len(h) != 1 {
		return errNoCaller
	}
	scheme, bearer, ok := cutScheme(h[0])
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return errNoCaller
	}
	if q.caller, err = s.Identity.Check(c.Request.Context(), bearer); err != nil {
		return err
	}
	if s.Trace != nil {
		trace.Of(c.Request.Context()).Set(trace.Role, string(q.caller.Role))
	}
	if s.Limit == nil {
		return nil
	}
	wait, err := s.Limit(c.Request.Context(), q.caller.ID)
	if err == nil && wait != 0 {
		err = fault.After(errFast, wait)
	}
	return err
}

// cutScheme splits an Authorization header.
func cutScheme(h string) (scheme, value string, ok bool) { return strings.Cut(h, " ") }
