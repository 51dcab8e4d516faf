package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/tapvault/tapvault/keyceremony/secret"
)

// longestPIN, in bytes, is more than any token takes.
const longestPIN = 1024

// PINFile returns a source for [Config.PIN] that reads a file each time it is asked,
// into memory of its own that is locked, and wiped afterwards. The file holds the PIN
// as its only line, with no space before or after it: of anything else no guess is made
// what the PIN may be, because a token counts each.
func PINFile(path string) func(use func(pin []byte) error) error {
	var mu sync.Mutex
	var room locked
	return func(use func(pin []byte) error) error {
		mu.Lock()
		defer mu.Unlock()
		b, err := room.bytes()
		if err != nil {
			return fmt.Errorf("reading the PIN file: %w", err)
		}
		defer clear(b)
		n, err := readFile(path, b)
		if err != nil {
			return fmt.Errorf("reading the PIN file: %w", err)
		}
		pin, err := onlyLine(b[:n])
		if err != nil {
			return fmt.Errorf("reading the PIN file: %w", err)
		}
		return use(pin)
	}
}

// onlyLine returns the PIN within what was read of a file.
func onlyLine(text []byte) ([]byte, error) {
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("it is empty")
	case len(text) == longestPIN:
		return nil, fmt.Errorf("it holds %d bytes or more", longestPIN)
	case len(line) == 0:
		return nil, errors.New("its first line is empty")
	case len(bytes.TrimSpace(line)) != len(line):
		return nil, errors.New("there is a space before or after the PIN")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("it has more than one line")
	}
	return line, nil
}

// locked is memory for a PIN, which is made when it is needed. Only on Linux is it
// known how to lock it.
type locked struct {
	buffer *secret.Buffer
	plain  []byte
}

func (l *locked) bytes() (b []byte, err error) {
	if runtime.GOOS != "linux" {
		l.plain = make([]byte, longestPIN)
		return l.plain, nil
	}
	if l.buffer == nil {
		if l.buffer, err = secret.New(longestPIN); err != nil {
			return nil, err
		}
	}
	return l.buffer.Bytes(), nil
}

// readFile fills room with the beginning of a file.
func readFile(path string, room []byte) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for n < len(room) {
		m, err := f.Read(room[n:])
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// StaticPIN returns a source for [Config.PIN] that always gives pin. It is for
// rehearsals and tests: the PIN stays in memory.
func StaticPIN(pin string) func(use func(pin []byte) error) error {
	return func(use func(pin []byte) error) error { return use([]byte(strings.Clone(pin))) }
}
