// Package obs builds the logger and the metrics that main hands to everyone.
package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// NewLogger returns a logger that writes to w, as "json" or "text".
//
// The house keeps card numbers, keys and MACs out of log lines at the source.
// The logger is the second line: a row of 12 or more digits is blanked
// wherever it stands, in a message, a value, or an error's text, and values
// whose type it does not know are printed through fmt, where the house's own
// types show what may be shown.
//
// Of each kind of line so many are written in a minute, and the others counted.
func NewLogger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: blankAttr}
	switch format {
	case "json":
		return slog.New(newRationed(blanker{slog.NewJSONHandler(w, o)})), nil
	case "text":
		return slog.New(newRationed(blanker{slog.NewTextHandler(w, o)})), nil
	}
	return nil, errors.New("obs: the log format is json or text")
}

// digits finds card numbers, which have 12 digits or more, also those written
// in groups of four.
var digits = regexp.MustCompile(`[0-9](?:[ -]?[0-9]){11,}`)

// blank replaces every long row of digits in s.
func blank(s string) string { return digits.ReplaceAllString(s, "[digits]") }

// blankAttr blanks one attribute. Times keep their own format, in which no row
// of digits is long.
func blankAttr(_ []string, a slog.Attr) slog.Attr {
	a.Key = blank(a.Key)
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(blank(v.String()))
	case slog.KindInt64, slog.KindUint64:
		if s := v.String(); blank(s) != s {
			a.Value = slog.StringValue(blank(s))
		}
	case slog.KindAny:
		if level, ok := v.Any().(slog.Level); ok {
			a.Value = slog.StringValue(level.String())
		} else {
			a.Value = slog.StringValue(blank(fmt.Sprint(v.Any())))
		}
	}
	return a
}

// blanker blanks what ReplaceAttr does not see: the message.
type blanker struct{ slog.Handler }

// Handle blanks the message and passes the record on.
func (b blanker) Handle(ctx context.Context, r slog.Record) error {
	r.Message = blank(r.Message)
	return b.Handler.Handle(ctx, r)
}

// WithAttrs keeps the blanking.
func (b blanker) WithAttrs(as []slog.Attr) slog.Handler { return blanker{b.Handler.WithAttrs(as)} }

// WithGroup keeps the blanking.
func (b blanker) WithGroup(name string) slog.Handler { return blanker{b.Handler.WithGroup(name)} }
