package main

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoticeEndsWithLastCaller: the balancer has its half in any case; the other
// half lasts as long as somebody is connected, and no longer.
func TestNoticeEndsWithLastCaller(t *testing.T) {
	const notice = 20 * time.Second
	for name, c := range map[string]struct{ leaves, least, most time.Duration }{
		"nobody is connected":       {0, notice / 2, notice / 2},
		"the last leaves early":     {notice / 4, notice / 2, notice / 2},
		"the last leaves in time":   {notice * 3 / 4, notice * 3 / 4, notice*3/4 + lookTime},
		"somebody rests to the end": {2 * notice, notice, notice},
	} {
		synctest.Test(t, func(t *testing.T) {
			var l leaving
			began := time.Now()
			l.count(nil, http.StateNew)
			l.count(nil, http.StateActive)
			l.count(nil, http.StateIdle)
			time.AfterFunc(c.leaves, func() { l.count(nil, http.StateClosed) })
			time.AfterFunc(notice/2-1, func() {
				if l.said.Load() {
					t.Errorf("%s: goodbye is said while the balancer still looks", name)
				}
			})
			if err := l.notice(notice, nil); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d < c.least || d > c.most || !l.said.Load() {
				t.Errorf("%s: the notice lasted %v", name, d)
			}
			time.Sleep(2 * notice) // until no timer is left
		})
	}
}

// TestNoticeEndsWithServing: who cannot serve any more does not wait.
func TestNoticeEndsWithServing(t *testing.T) {
	broken := errors.New("broken")
	for _, after := range []time.Duration{time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var l leaving
			l.count(nil, http.StateNew)
			began, ended := time.Now(), make(chan error, 1)
			time.AfterFunc(after, func() { ended <- broken })
			if err := l.notice(20*time.Second, ended); !errors.Is(err, broken) || time.Since(began) != after {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	}
}
