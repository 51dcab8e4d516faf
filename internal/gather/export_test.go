package gather

import "runtime"

// WaitFor returns when so many wait in the queue.
func WaitFor[In, Out any](g *Gatherer[In, Out], n int) {
	for {
		g.mu.Lock()
		have := len(g.queue)
		g.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}
