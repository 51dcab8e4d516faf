package trail

import "time"

// One sync costs as much for one entry as for a hundred. So the writer waits
// for company, but for nobody who is not likely to come, and a caller who is
// alone never waits.
//
// Callers who do something else until their entry is durable ([Trail.Begin])
// leave it in the queue meanwhile: in a crowd, the writer begins when the first
// of them is through and waits. Whoever came by then shares his sync.
//
// Then it waits for callers who come at once: as many as seven in eight of those
// who were here a moment ago, and only while they do come.
const (
	few    = 4                    // fewer callers than these gain more by writing at once
	lag    = 5 * time.Millisecond // in a crowd, an entry that nobody waits for is left for so long
	pause  = time.Millisecond     // without another entry, the writer goes on
	pauses = 2                    // and after so many in any case
)

// tell leaves word in a channel that has room for one.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue has w written, in the group that it returns, unless the trail is
// closed.
func (t *Trail) enqueue(w waiter) (group uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, false
	}
	t.queue = append(t.queue, w)
	switch n := len(t.queue); {
	case n == 1:
		t.since = time.Now()
		tell(t.wake) // under the lock, because stop closes the channel
	case n == t.crowd || n == likely(t.together):
		tell(t.news)
	}
	return t.group, true
}

// likely is how many of a crowd are worth waiting for.
func likely(crowd int) int { return crowd * 7 / 8 }

// hurry says that somebody waits for an entry of a group.
func (t *Trail) hurry(group uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if group == t.group && !t.urgent {
		t.urgent = true
		tell(t.news)
	}
}

// stop lets no more in. It reports whether it was the first to say so.
func (t *Trail) stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.closed = true
	close(t.wake)
	tell(t.news)
	return true
}

// write is the one writer.
func (t *Trail) write() {
	defer close(t.done)
	for range t.wake {
		t.gather()
		t.flush()
	}
	t.flush()
}

// gather returns when the entries that wait should be written.
func (t *Trail) gather() {
	t.await(lag, t.due)
	if t.age() >= pause {
		return // who was likely to come at once has come
	}
	for range pauses {
		before := t.waiting()
		if t.await(pause, t.company) || t.waiting() == before {
			return
		}
	}
}

// await returns when enough, which is asked under the lock, or after d. It
// reports which.
func (t *Trail) await(d time.Duration, enough func() bool) bool {
	if t.locked(enough) {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-t.news: // it may have been said of the group before
			if t.locked(enough) {
				return true
			}
		case <-timer.C:
			return t.locked(enough)
		}
	}
}

func (t *Trail) locked(what func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return what()
}

// due reports whether the entries that wait can be left no longer.
func (t *Trail) due() bool {
	return t.closed || t.urgent || t.crowd < few || len(t.queue) >= t.crowd
}

// company reports whether those are here who are likely to come.
func (t *Trail) company() bool { return t.closed || len(t.queue) >= likely(t.together) }

// waiting returns how many entries wait.
func (t *Trail) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue)
}

// age is for how long the entries that wait could have been written.
func (t *Trail) age() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.since)
}

// flush writes all waiting entries in one go. Once the end of the file is
// unknown it writes no more: only [Open] looks.
func (t *Trail) flush() {
	ws, err := t.take()
	if len(ws) == 0 {
		t.spare = ws
		return
	}
	var broken error
	if err == nil {
		err, broken = t.commit(ws)
	}
	t.mu.Lock()
	if broken != nil {
		t.broken = broken
	}
	t.together = len(ws) + len(t.queue)
	t.crowd = max(t.together, likely(t.crowd))
	t.since = time.Now()
	t.mu.Unlock()
	for _, w := range ws {
		w.done <- err
	}
	clear(ws)
	t.spare = ws[:0]
}

// take takes the entries that wait, and begins a new group. err says why they
// cannot be written.
func (t *Trail) take() (ws []waiter, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ws, t.queue, t.spare = t.queue, t.spare, nil
	t.group++
	t.urgent = false
	return ws, t.broken
}
