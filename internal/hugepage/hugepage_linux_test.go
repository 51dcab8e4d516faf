//go:build cgo

package hugepage

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What both heaps have after Use, and what they take later, may lie in large pages.
func TestUse(t *testing.T) {
	_, noSuch := os.Stat("/sys/kernel/mm/transparent_hugepage")
	err := Use()
	if errors.Is(noSuch, fs.ErrNotExist) {
		if err == nil {
			t.Error("a kernel without large pages gave some")
		}
		return
	}
	if err != nil && !errors.Is(err, ErrRefused) { // a kernel that is set to grant none takes note all the same
		t.Fatal(err)
	}
	var later [][]byte
	for range room / 4 >> 10 {
		later = append(later, make([]byte, 1<<10))
	}
	maps := mappings(t)
	inLarge := 0
	for _, b := range later {
		a := address((*[1 << 10]byte)(b))
		i := slices.IndexFunc(maps, func(m mapping) bool { return m.from <= a && a < m.to })
		if i < 0 {
			t.Fatal("memory that is mapped nowhere")
		}
		if maps[i].large {
			inLarge++
		}
	}
	if inLarge != len(later) {
		t.Errorf("of %d KiB in Go's heap %d may be in large pages", len(later), inLarge)
	}
	var inC uintptr
	for _, m := range maps {
		if m.name == "[heap]" && m.large {
			inC += m.to - m.from
		}
	}
	if inC < room {
		t.Errorf("of C's heap %d bytes may be in large pages, want %d", inC, room)
	}
	runtime.KeepAlive(later)
}

// A trim keeps the room, where it may lie in large pages.
func TestTrim(t *testing.T) {
	err := Use()
	keeps := err == nil || errors.Is(err, ErrRefused)
	Trim()
	if has := heap(t); has >= room != keeps {
		t.Errorf("after a trim C's heap has %d bytes of %d, want them kept: %v (%v)", has, room, keeps, err)
	}
}

// Threads of Go's have one heap in C.
func TestOneHeap(t *testing.T) {
	const threads = 24
	var all, met sync.WaitGroup
	met.Add(threads)
	for range threads {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			met.Done()
			met.Wait() // each has a thread of its own
		})
	}
	all.Wait()
	more := 0
	maps := mappings(t)
	for i, m := range maps[:len(maps)-1] {
		if next := maps[i+1]; m.name == "" && m.from%arena == 0 && m.perms == "rw-p" && next.from == m.to && next.perms == "---p" && next.to == m.from+arena {
			more++
		}
	}
	if more > 0 {
		t.Errorf("C has %d heaps more than one", more)
	}
}

func heap(t *testing.T) (n uintptr) {
	for _, m := range mappings(t) {
		if m.name == "[heap]" {
			n += m.to - m.from
		}
	}
	return n
}

// mapping is a part of the process's addresses.
type mapping struct {
	from, to    uintptr
	perms, name string
	large       bool
}

func mappings(t *testing.T) (all []mapping) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		var m mapping
		if n, _ := fmt.Sscanf(words[0], "%x-%x", &m.from, &m.to); n == 2 {
			m.perms = words[1]
			if len(words) > 5 {
				m.name = words[5]
			}
			all = append(all, m)
		}
		if words[0] == "VmFlags:" {
			all[len(all)-1].large = slices.Contains(words, "hg")
		}
	}
	if len(all) == 0 {
		t.Fatal("no mappings")
	}
	return all
}
