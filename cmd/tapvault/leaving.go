package main

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// lookTime is how often a process that leaves looks whether anybody is still connected.
const lookTime = 50 * time.Millisecond

// leaving is how a process that was told to stop takes leave of its callers.
type leaving struct {
	said atomic.Bool  // answers say that their connection ends
	open atomic.Int64 // connections
}

// handler asks callers to make a new connection once the process leaves. Who keeps
// one until it is closed may send a request at that very moment, and nobody answers it.
func (l *leaving) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.said.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// count is for [http.Server.ConnState].
func (l *leaving) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		l.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		l.open.Add(-1)
	default:
	}
}

// notice lasts as long as it is told, unless serving ends. Its first half is for the
// balancer, which has to look away before callers come again. The second is for
// callers, and is over once none is connected.
func (l *leaving) notice(d time.Duration, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(d / 2):
	}
	l.said.Store(true)
	last := time.After(d / 2)
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for l.open.Load() > 0 {
		select {
		case err := <-ended:
			return err
		case <-last:
			return nil
		case <-look.C:
		}
	}
	return nil
}
