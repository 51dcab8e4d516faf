package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// callers are open TLS connections that send prepared requests, one at a time
// each. They are lean on purpose: they share the cores with the server, and both
// sides of a comparison use them. So the bodies of the two are the same memory, and
// the head, which does not change, is read where it lay a moment ago.
type callers struct {
	conns  []*caller
	head   []byte // of an HTTP/1.1 request, up to the value of Content-Length
	bodies [][]byte
	next   atomic.Uint64
}

type caller struct {
	conn *tls.Conn
	in   *bufio.Reader
	out  []byte // room for a request
}

func dial(ctx context.Context, addr string, cfg *tls.Config, n int, head []byte, bodies [][]byte) (*callers, error) {
	c := &callers{head: head, bodies: bodies}
	for range n {
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connecting: %w", err), c.close())
		}
		t := conn.(*tls.Conn)
		c.conns = append(c.conns, &caller{conn: t, in: bufio.NewReader(t)})
	}
	return c, nil
}

func (c *callers) close() error {
	var errs []error
	for _, x := range c.conns {
		errs = append(errs, x.conn.Close())
	}
	return errors.Join(errs...)
}

// greet makes one call from every connection: a server waits longer for the
// second request of a connection than for its first.
func (c *callers) greet() error {
	for i, x := range c.conns {
		if err := x.call(c.head, c.bodies[i%len(c.bodies)]); err != nil {
			return err
		}
	}
	return nil
}

// run calls from every connection for d, once at least, and returns how many calls were
// answered with 200. Any other answer is an error.
func (c *callers) run(ctx context.Context, d time.Duration) (int, error) {
	end := time.Now().Add(d)
	counts, errs := make([]int, len(c.conns)), make([]error, len(c.conns))
	var wg sync.WaitGroup
	for i, x := range c.conns {
		wg.Go(func() {
			for first := true; (first || time.Now().Before(end)) && ctx.Err() == nil && errs[i] == nil; first = false {
				n := c.next.Add(1)
				if errs[i] = x.call(c.head, c.bodies[n%uint64(len(c.bodies))]); errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(append(errs, ctx.Err())...)
}

var (
	okLine        = []byte("HTTP/1.1 200 ")
	contentLength = []byte("content-length: ")
)

// call sends one request and reads the whole answer.
func (x *caller) call(head, body []byte) error {
	x.out = strconv.AppendInt(append(x.out[:0], head...), int64(len(body)), 10)
	x.out = append(append(x.out, "\r\n\r\n"...), body...)
	if _, err := x.conn.Write(x.out); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	status, err := x.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if !bytes.HasPrefix(status, okLine) {
		return fmt.Errorf("the service answered %q", bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, err := x.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(line[len(contentLength):])); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no length")
	}
	_, err = io.CopyN(io.Discard, x.in, int64(length))
	return err
}
