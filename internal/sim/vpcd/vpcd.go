// Package vpcd puts a card into the virtual reader of vsmartcard, where every
// PC/SC program on the machine finds it.
//
// The reader's driver listens, the card calls. Both sides send frames: two
// bytes of length, then the contents. A frame of one byte is about power; any
// other is a command APDU, which the card answers.
package vpcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tapvault/tapvault/terminal/apdu"
)

// Port is where the driver listens unless its configuration says otherwise.
const Port = "35963"

// Card is what lies in the reader: [*bundle.Card] is one.
type Card interface {
	apdu.Transmitter
	// Reset is what losing the field does.
	Reset()
}

// ATR is what the card answers to a reset: a contactless card, as PC/SC has
// it, with TAPVAULT as its historical bytes.
var ATR = []byte{0x3B, 0x88, 0x80, 0x01, 'T', 'A', 'P', 'V', 'A', 'U', 'L', 'T', 0x16}

// control is a frame of one byte.
type control byte

const (
	powerOff control = 0x00
	powerOn  control = 0x01
	reset    control = 0x02
	askATR   control = 0x04
)

// Config says which card goes into which reader.
type Config struct {
	Addr string // of the driver, host:port
	Card Card
	// Retry is how long to wait before calling again; 0: 1 s.
	Retry time.Duration
	// Inserted is told of each time that the card is in the reader, and Lost of
	// why it is not. Either may be nil.
	Inserted func()
	Lost     func(error)
}

// Serve keeps the card in the reader until ctx ends, calling again whenever
// the reader is gone. It returns nil when ctx ended.
func Serve(ctx context.Context, c Config) error {
	if c.Card == nil || c.Addr == "" {
		return errors.New("vpcd: a card and an address are needed")
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	for {
		err := c.once(ctx)
		c.Card.Reset()
		if ctx.Err() != nil {
			return nil
		}
		if c.Lost != nil {
			c.Lost(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Retry):
		}
	}
}

// once calls the driver and serves the connection until it ends.
func (c Config) once(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("calling the virtual reader: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() { stop(); _ = conn.Close() }()
	if c.Inserted != nil {
		c.Inserted()
	}
	in := bufio.NewReader(conn)
	for {
		frame, err := readFrame(in)
		if err != nil {
			return fmt.Errorf("hearing the virtual reader: %w", err)
		}
		answer, err := c.answer(ctx, frame)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if err := writeFrame(conn, answer); err != nil {
			return fmt.Errorf("answering the virtual reader: %w", err)
		}
	}
}

// answer is what goes back for a frame; nil is nothing. Power is what a field
// is: a tap ends with it, a slot does not.
func (c Config) answer(ctx context.Context, frame []byte) ([]byte, error) {
	if len(frame) != 1 {
		return c.Card.Transmit(ctx, frame)
	}
	switch control(frame[0]) {
	case powerOff, powerOn, reset:
		c.Card.Reset()
	case askATR:
		return ATR, nil
	}
	return nil, nil
}

// readFrame reads one frame; two bytes of length bound it.
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, int(size[0])<<8|int(size[1]))
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// writeFrame is the inverse of readFrame.
func writeFrame(w io.Writer, b []byte) error {
	if len(b) > 0xFFFF {
		return errors.New("vpcd: a frame holds at most 65535 bytes")
	}
	_, err := w.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
	return err
}
