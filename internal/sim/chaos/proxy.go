//go:build linux

package chaos

import (
	"net"
	"sync"
)

// line is a network between two ends that can be cut or made to stall.
type line struct {
	listener net.Listener
	to       string // a unix socket

	mu    sync.Mutex
	cond  *sync.Cond
	cut   bool
	stall bool
	open  map[net.Conn]struct{}
}

func newLine(at, to string) (*line, error) {
	l, err := net.Listen("unix", at)
	if err != nil {
		return nil, err
	}
	w := &line{listener: l, to: to, open: map[net.Conn]struct{}{}}
	w.cond = sync.NewCond(&w.mu)
	go w.accept()
	return w, nil
}

func (w *line) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.carry(c)
	}
}

func (w *line) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("unix", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !w.enter(near, far) {
		return
	}
	defer w.leave(near, far)
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			w.pump(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done
}

func (w *line) pump(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.pass()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the wire stalls.
func (w *line) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.stall {
		w.cond.Wait()
	}
}

func (w *line) enter(all ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return false
	}
	for _, c := range all {
		w.open[c] = struct{}{}
	}
	return true
}

func (w *line) leave(all ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range all {
		delete(w.open, c)
	}
}

// sever cuts every connection and lets none come up.
func (w *line) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.open {
		_ = c.Close()
	}
}

// hold lets nothing through, and nobody is told.
func (w *line) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall = true
}

// mend makes the wire whole.
func (w *line) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.stall = false, false
	w.cond.Broadcast()
}

func (w *line) close() error {
	err := w.listener.Close()
	w.sever()
	w.mend()
	return err
}
