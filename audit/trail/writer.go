package trail

import "time"

// One sync costs as much for one entry as for a hundred. So the writer waits
// for callers that are likely to come: as many as seven in eight of those who
// were here a moment ago, and only while they do come. A caller who is alone
// never waits.
const (
	pause  = time.Millisecond // without another entry, the writer goes on
	pauses = 2                // and after so many in any case
)

// tell leaves word in a channel that has room for one.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue has w written, unless the trail is closed.
func (t *Trail) enqueue(w waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.queue = append(t.queue, w)
	tell(t.wake) // under the lock, because stop closes the channel
	if len(t.queue) == t.expect {
		tell(t.full)
	}
	return true
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
	tell(t.full)
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

// gather returns when enough entries wait, or no more come.
func (t *Trail) gather() {
	waiting, enough := t.waiting()
	for left := pauses; left > 0 && !enough; {
		before := waiting
		timer := time.NewTimer(pause)
		select {
		case <-t.full: // it may have been said of the group before
			timer.Stop()
			waiting, enough = t.waiting()
			continue
		case <-timer.C:
		}
		if waiting, enough = t.waiting(); waiting == before {
			return
		}
		left--
	}
}

// waiting returns how many entries wait, and whether these are enough.
func (t *Trail) waiting() (n int, enough bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue), len(t.queue) >= t.expect || t.closed
}

// flush writes all waiting entries in one go. Once the end of the file is
// unknown it writes no more: only [Open] looks.
func (t *Trail) flush() {
	t.mu.Lock()
	ws, err := t.queue, t.broken
	t.queue, t.spare = t.spare, nil
	t.mu.Unlock()
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
	t.expect = (len(ws) + len(t.queue)) * 7 / 8
	t.mu.Unlock()
	for _, w := range ws {
		w.done <- err
	}
	clear(ws)
	t.spare = ws[:0]
}
