// Package apdu reads and prints the short command and response APDUs of
// ISO/IEC 7816-4 that readers, cards and PSAMs exchange.
package apdu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxData is the longest data field of a short APDU.
const MaxData = 255

// ErrMalformed reports bytes that are no short APDU.
var ErrMalformed = errors.New("apdu: malformed")

// Transmitter carries one command APDU to a card and brings back its response.
type Transmitter interface {
	// Transmit returns the response with its status word. An error means that
	// no response came (the card left the field); whether the card acted on the
	// command is then unknown. It is not safe for concurrent use: a card talks
	// to one reader at a time.
	Transmit(ctx context.Context, command []byte) ([]byte, error)
}

// Command is a short command APDU.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte // at most 255 bytes
	// Ne is the longest answer wanted, 1 to 256; 0 asks for no data. A command
	// without data and with Ne 0 is the bare header (case 1).
	Ne int
}

// ParseCommand reads a command of case 1 to 4. Extended lengths are refused:
// nothing in this application needs them.
func ParseCommand(b []byte) (Command, error) {
	if len(b) < 4 {
		return Command{}, fmt.Errorf("%w: a command has at least 4 bytes", ErrMalformed)
	}
	c := Command{CLA: b[0], INS: b[1], P1: b[2], P2: b[3]}
	body := b[4:]
	if len(body) == 0 {
		return c, nil
	}
	if len(body) == 1 {
		c.Ne = ne(body[0])
		return c, nil
	}
	lc := int(body[0])
	rest := body[1:]
	if lc == 0 || len(rest) < lc || len(rest) > lc+1 {
		return Command{}, fmt.Errorf("%w: length field and length differ", ErrMalformed)
	}
	c.Data = append([]byte(nil), rest[:lc]...)
	if len(rest) == lc+1 {
		c.Ne = ne(rest[lc])
	}
	return c, nil
}

// ne reads a length field in which 0 stands for 256.
func ne(le byte) int {
	if le == 0 {
		return 256
	}
	return int(le)
}

// Bytes prints c; it is the inverse of [ParseCommand]. A data field over
// [MaxData] or an Ne over 256 has no short form: such a command prints as nil.
func (c Command) Bytes() []byte {
	if len(c.Data) > MaxData || c.Ne < 0 || c.Ne > 256 {
		return nil
	}
	b := []byte{c.CLA, c.INS, c.P1, c.P2}
	if len(c.Data) > 0 {
		b = append(append(b, byte(len(c.Data))), c.Data...)
	}
	if c.Ne > 0 {
		b = append(b, byte(c.Ne)) // 256 prints as 00
	}
	return b
}

// Is reports whether c's header has these four bytes.
func (c Command) Is(cla, ins, p1, p2 byte) bool {
	return c.CLA == cla && c.INS == ins && c.P1 == p1 && c.P2 == p2
}

// Response is a response APDU.
type Response struct {
	Data []byte // at most 256 bytes
	SW   Status
}

// ParseResponse reads a response: data, then two bytes of status.
func ParseResponse(b []byte) (Response, error) {
	if len(b) < 2 || len(b) > 258 {
		return Response{}, fmt.Errorf("%w: a response has 2 to 258 bytes", ErrMalformed)
	}
	n := len(b) - 2
	r := Response{SW: Status(binary.BigEndian.Uint16(b[n:]))}
	if n > 0 {
		r.Data = append([]byte(nil), b[:n]...)
	}
	return r, nil
}

// Bytes prints r; it is the inverse of [ParseResponse].
func (r Response) Bytes() []byte {
	return binary.BigEndian.AppendUint16(append([]byte(nil), r.Data...), uint16(r.SW))
}

// Exchange sends c over t and returns the data of a 9000 answer of exactly n
// bytes. Any other status is a [StatusError].
func Exchange(ctx context.Context, t Transmitter, c Command, n int) ([]byte, error) {
	r, err := Send(ctx, t, c)
	if err != nil {
		return nil, err
	}
	if len(r.Data) != n {
		return nil, fmt.Errorf("%w: answer of %d bytes where %d belong", ErrMalformed, len(r.Data), n)
	}
	return r.Data, nil
}

// Send is Exchange for answers of any length.
func Send(ctx context.Context, t Transmitter, c Command) (Response, error) {
	raw, err := t.Transmit(ctx, c.Bytes())
	if err != nil {
		return Response{}, fmt.Errorf("sending %02X%02X: %w", c.CLA, c.INS, err)
	}
	r, err := ParseResponse(raw)
	if err != nil {
		return Response{}, err
	}
	if r.SW != OK {
		return Response{}, StatusError{INS: c.INS, SW: r.SW}
	}
	return r, nil
}
