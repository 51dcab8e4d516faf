package applet

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"
)

// Memory is what an element remembers without power.
type Memory interface {
	// Load returns what was stored last; nothing in a new memory.
	Load() ([]byte, error)
	// Store replaces it: after a cut of power Load returns all of it or all of
	// what was there before.
	Store(b []byte) error
}

// ErrCut reports that power was cut while a bank was written.
var ErrCut = errors.New("applet: power was cut")

// Banks is a memory of two banks, written in turn. Each has a number and a check
// sum, so that one which was cut short is told from one which is whole.
type Banks struct {
	mu    sync.Mutex
	banks [2][]byte
	// Cut, when set, says how many of the next n bytes are written before power
	// is cut; negative: none is cut.
	Cut func(n int) int
}

const bankHead = 8 + 4

// Load implements [Memory].
func (m *Banks) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := m.newest()
	if i < 0 {
		if len(m.banks[0]) == 0 || len(m.banks[1]) == 0 { // the first write was cut
			return nil, nil
		}
		return nil, errState
	}
	return append([]byte(nil), m.banks[i][bankHead:]...), nil
}

// Store implements [Memory].
func (m *Banks) Store(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, n := m.newest()
	w := binary.BigEndian.AppendUint64(nil, n+1)
	w = append(w, 0, 0, 0, 0)
	w = append(w, b...)
	binary.BigEndian.PutUint32(w[8:], sum(w))
	to := 0
	if at == 0 {
		to = 1
	}
	if m.Cut != nil {
		if k := m.Cut(len(w)); k >= 0 {
			m.banks[to] = append(w[:min(k, len(w)):min(k, len(w))], rest(m.banks[to], k)...)
			return ErrCut
		}
	}
	m.banks[to] = w
	return nil
}

// rest is what a cut write leaves of the bank before.
func rest(old []byte, k int) []byte {
	if k >= len(old) {
		return nil
	}
	return old[k:]
}

// newest is the whole bank with the highest number, or -1.
func (m *Banks) newest() (at int, n uint64) {
	at = -1
	for i, b := range m.banks {
		if len(b) < bankHead || binary.BigEndian.Uint32(b[8:]) != sum(b) {
			continue
		}
		if k := binary.BigEndian.Uint64(b); at < 0 || k > n {
			at, n = i, k
		}
	}
	return at, n
}

// sum covers number and contents.
func sum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:8]), crc32.IEEETable, b[bankHead:])
}
