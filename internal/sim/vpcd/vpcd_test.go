package vpcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// parrot answers every command with itself and 9000.
type parrot struct{ resets atomic.Int32 }

func (p *parrot) Transmit(_ context.Context, command []byte) ([]byte, error) {
	return append(append([]byte(nil), command...), 0x90, 0x00), nil
}

func (p *parrot) Reset() { p.resets.Add(1) }

// driver is the other side: it listens, and gives up a card's connection.
func driver(t *testing.T) (addr string, card func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), func() net.Conn {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func exchange(t *testing.T, c net.Conn, frame, want []byte) {
	t.Helper()
	if err := writeFrame(c, frame); err != nil {
		t.Fatal(err)
	}
	if want == nil {
		return
	}
	got, err := readFrame(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%X was answered %X, %v", frame, got, err)
	}
}

func TestServe(t *testing.T) {
	addr, accept := driver(t)
	card, inserted, lost := &parrot{}, make(chan bool, 9), make(chan error, 9)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Serve(ctx, Config{Addr: addr, Card: card, Retry: time.Millisecond,
			Inserted: func() { inserted <- true }, Lost: func(err error) { lost <- err }})
	}()
	c := accept()
	<-inserted
	exchange(t, c, []byte{1}, nil)
	exchange(t, c, []byte{4}, ATR)
	exchange(t, c, []byte{2}, nil)
	exchange(t, c, []byte{0x77}, nil) // no control that we know
	exchange(t, c, []byte{0, 0xA4, 4, 0}, []byte{0, 0xA4, 4, 0, 0x90, 0})
	long := bytes.Repeat([]byte{0x5A}, 0xFFFD)
	exchange(t, c, long, append(long, 0x90, 0))
	if n := card.resets.Load(); n != 2 {
		t.Errorf("%d resets, want those of power and of reset", n)
	}
	_ = c.Close() // the daemon is started anew
	if err := <-lost; !errors.Is(err, io.EOF) {
		t.Errorf("the loss was told as %v", err)
	}
	exchange(t, accept(), []byte{4}, ATR)
	stop()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestServeWaitsForItsReader(t *testing.T) {
	addr, _ := driver(t)
	ctx, stop := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	tries := 0
	err = Serve(ctx, Config{Addr: nobody, Card: &parrot{}, Retry: time.Millisecond, Lost: func(error) {
		if tries++; tries == 3 {
			stop()
		}
	}})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	for _, c := range []Config{{Addr: addr}, {Card: &parrot{}}} {
		if err := Serve(t.Context(), c); err == nil {
			t.Error("half a configuration is taken")
		}
	}
}

func TestATR(t *testing.T) {
	sum := byte(0)
	for _, b := range ATR[1:] {
		sum ^= b
	}
	if sum != 0 || int(ATR[1]&0x0F) != len(ATR)-5 {
		t.Errorf("%X: check byte or count of historical bytes", ATR)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 1, 4})
	f.Add([]byte{0, 5, 0x80, 0x5C, 0, 2, 4, 9, 9})
	f.Add([]byte{0xFF, 0xFF, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		frame, err := readFrame(r)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) && (len(in) > 0 || !errors.Is(err, io.EOF)) {
				t.Fatalf("%X: %v", in, err)
			}
			return
		}
		var out bytes.Buffer
		if err := writeFrame(&out, frame); err != nil || !bytes.HasPrefix(in, out.Bytes()) || out.Len() != len(in)-r.Len() {
			t.Fatalf("%X prints as %X, %v", in, out.Bytes(), err)
		}
	})
}
