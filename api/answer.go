package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/denylist"
)

// answer writes what a handler returned: bytes as they are, all else as JSON.
func (s *server) answer(c *gin.Context, op operation, v any) {
	h := c.Writer.Header()
	if b, ok := v.([]byte); ok && op.raw != "" {
		h["Content-Type"] = []string{op.raw}
		_, _ = c.Writer.Write(b)
		return
	}
	if d, ok := v.(denylist.Document); ok {
		sendDocument(c, op, d)
		return
	}
	status := http.StatusOK
	if w, ok := v.(withStatus); ok {
		status, v = w.status, w.body
	}
	buf := s.pool.get()
	defer s.pool.put(buf)
	if err := json.NewEncoder(buf).Encode(v); err != nil {
		s.fail(c, fmt.Errorf("encoding the answer: %w", err))
		return
	}
	h["Content-Type"] = jsonType
	h["Date"] = s.dates.at(s.Now())
	if n := buf.Len(); n > buffered { // else it is set without us
		h["Content-Length"] = []string{strconv.Itoa(n)}
	}
	c.Writer.WriteHeader(status)
	_, _ = c.Writer.Write(buf.Bytes())
}

// dates is the Date of answers, which is written once in a second.
type dates struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	header []string
}

func (d *dates) at(now time.Time) []string {
	last := d.last.Load()
	if last == nil || last.second != now.Unix() {
		last = &date{now.Unix(), []string{now.UTC().Format(http.TimeFormat)}}
		d.last.Store(last)
	}
	return last.header
}

// buffered is how much of an answer package net/http holds back; what is longer
// and has no length goes out in chunks.
const buffered = 2048

// sendDocument sends what the caller does not hold yet.
func sendDocument(c *gin.Context, op operation, d denylist.Document) {
	h := c.Writer.Header()
	h["Etag"] = []string{d.Tag}
	if d.Bytes == nil {
		c.Writer.WriteHeader(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return
	}
	h["Content-Type"] = []string{op.raw}
	_, _ = c.Writer.Write(d.Bytes)
}

// withStatus is an answer whose status is not 200.
type withStatus struct {
	status int
	body   any
}
