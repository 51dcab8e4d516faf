package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tapvault/tapvault/api/wire"
)

// Waits of a stream.
const (
	streamSilence = 45 * time.Second // three signs of life that did not come
	streamPause   = time.Second      // before a stream is opened again, doubled up to
	streamRest    = 30 * time.Second
)

// errEnded reports a stream that ended as streams do: it is opened again.
var errEnded = errors.New("client: the stream ended")

// Stream calls take for each event behind cursor, in order, as it happens, with
// the cursor that stands behind it; "" is the beginning. It comes back by itself
// when the connection or the access token ends, and returns when ctx ends, take
// fails, or the service refuses.
func (c *Client) Stream(ctx context.Context, cursor string, take func(e wire.Event, cursor string) error) error {
	pause := streamPause
	for {
		before := cursor
		err := c.streamOnce(ctx, cursor, func(e wire.Event, at string) error {
			if err := take(e, at); err != nil {
				return &takeError{err}
			}
			cursor = at
			return nil
		})
		var stop *takeError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case !again(err):
			return err
		}
		if cursor != before || errors.Is(err, errEnded) {
			pause = streamPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, streamRest)
	}
}

// takeError is what a receiver of events failed with.
type takeError struct{ err error }

func (e *takeError) Error() string { return e.err.Error() }

// again reports whether a stream that ended with err may be opened again. An access token
// that is not taken is renewed; whoever may not log in has no other.
func again(err error) bool {
	var p *Error
	return !errors.As(err, &p) || p.Status == http.StatusTooManyRequests || p.Status >= http.StatusInternalServerError ||
		p.Status == http.StatusUnauthorized && !errors.Is(err, errLogin)
}

// streamOnce reads one stream to its end. It never returns nil.
func (c *Client) streamOnce(ctx context.Context, cursor string, take func(wire.Event, string) error) error {
	token, err := c.AccessToken(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.BaseURL+"/v1/events/stream", nil)
	if err != nil {
		return fmt.Errorf("building request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	if cursor != "" {
		r.Header.Set("Last-Event-ID", cursor)
	}
	h := *c.cfg.HTTP
	h.Timeout = 0 // a stream has no end to wait for; silence is noticed instead
	silence := time.AfterFunc(streamSilence, cancel)
	defer silence.Stop()
	resp, err := h.Do(r)
	if err != nil {
		return fmt.Errorf("calling the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if resp.StatusCode == http.StatusUnauthorized {
			c.forget(token)
		}
		return problem(resp.StatusCode, b)
	}
	return readStream(resp.Body, func(m message) error {
		silence.Reset(streamSilence)
		switch m.event {
		case "": // a sign of life
			return nil
		case "end":
			return errEnded
		}
		var e wire.Event
		if err := json.Unmarshal(m.data, &e); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		return take(e, m.id)
	})
}

// message is one server-sent event; a comment is one without a name.
type message struct {
	id, event string
	data      []byte
}

// maxMessage bounds one server-sent event.
const maxMessage = 64 << 10

// readStream reads server-sent events until the stream or take fails. It never
// returns nil.
func readStream(r io.Reader, take func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxMessage)
	var m message
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if err := take(m); err != nil {
				return err
			}
			m = message{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			m.id = string(value)
		case "event":
			m.event = string(value)
		case "data":
			if len(m.data)+len(value) > maxMessage {
				return fmt.Errorf("reading the stream: %w", bufio.ErrTooLong)
			}
			m.data = append(m.data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	return errEnded
}
