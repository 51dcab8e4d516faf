package obs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What is written of each kind of line. Whoever can have a line written, can have it
// written thousands of times a second, and strangers can: they are refused in the log.
// See docs/decisions/172.
const (
	mostLines = 60
	window    = time.Minute
	mostKinds = 1024 // that are told apart; beyond, all others are one
	mostValue = 64   // bytes of a value that are looked at
)

// telling are the attributes that tell kinds apart, besides level and message. What they
// may be is a closed set, of the program or of the configuration, or is the name of a
// caller who was believed. The route is none of them: which one, a stranger chooses.
var telling = map[string]bool{"client": true, "endpoint": true, "part": true, "problem": true, "range": true, "task": true}

// rationed writes mostLines of each kind in a window, and in the first line of the next
// how many were left out.
type rationed struct {
	slog.Handler
	with  string // what WithAttrs gave that tells kinds apart
	kinds *kinds
}

func newRationed(h slog.Handler) rationed { return rationed{h, "", &kinds{m: map[string]share{}}} }

// Handle writes the record, or counts it.
func (h rationed) Handle(ctx context.Context, r slog.Record) error {
	var kind strings.Builder
	kind.WriteString(r.Level.String() + "\n" + r.Message + h.with)
	r.Attrs(func(a slog.Attr) bool {
		kind.WriteString(tells(a))
		return true
	})
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	given, ok := h.kinds.take(kind.String(), at)
	if !ok {
		return nil
	}
	if given.leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Uint64("left_out", given.leftOut))
	}
	if given.lines == mostLines {
		r = r.Clone()
		r.AddAttrs(slog.Time("more_from", given.began.Add(window)))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the ration.
func (h rationed) WithAttrs(as []slog.Attr) slog.Handler {
	with := h.with
	for _, a := range as {
		with += tells(a)
	}
	return rationed{h.Handler.WithAttrs(as), with, h.kinds}
}

// WithGroup keeps the ration.
func (h rationed) WithGroup(name string) slog.Handler {
	return rationed{h.Handler.WithGroup(name), h.with, h.kinds}
}

// tells is what an attribute adds to the name of a kind.
func tells(a slog.Attr) string {
	if !telling[a.Key] {
		return ""
	}
	v := a.Value.Resolve().String()
	return "\n" + a.Key + "=" + v[:min(len(v), mostValue)]
}

// share is what a kind had of its ration.
type share struct {
	began   time.Time
	lines   int    // written since
	leftOut uint64 // not written, and not told of yet
}

// kinds are the rations of all kinds. It is safe for concurrent use.
type kinds struct {
	mu sync.Mutex
	m  map[string]share
}

// take takes a line at a time, if one is left. leftOut of what it returns is for the line to tell.
func (k *kinds) take(kind string, at time.Time) (given share, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.m[kind]; !known && len(k.m) >= mostKinds {
		kind = k.room(kind, at)
	}
	s := k.m[kind]
	if s.over(at) {
		s = share{began: at, leftOut: s.leftOut}
	}
	if s.lines == mostLines {
		s.leftOut++
		k.m[kind] = s
		return s, false
	}
	s.lines++
	k.m[kind] = share{began: s.began, lines: s.lines}
	return s, true
}

// over says that a window has ended, or began in a future that a clock was set back from.
func (s share) over(at time.Time) bool {
	age := at.Sub(s.began)
	return age < 0 || age >= window
}

// room forgets kinds of which there is nothing to tell. If that is none, a new kind is
// one with all others for which there was no room.
func (k *kinds) room(kind string, at time.Time) string {
	for name, s := range k.m {
		if s.leftOut == 0 && s.over(at) {
			delete(k.m, name)
		}
	}
	if len(k.m) >= mostKinds {
		return ""
	}
	return kind
}
