package assembly

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestRepeats: what fails every few seconds does not fill the log.
func TestRepeats(t *testing.T) {
	var out bytes.Buffer
	var r repeats
	log := slog.New(slog.NewTextHandler(&out, nil))
	one, two := errors.New("one"), errors.New("two")
	for _, err := range []error{nil, one, one, one, two, two, nil, nil, one} {
		r.warn(t.Context(), log, "it fails", err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
		got = append(got, line)
	}
	want := `WARN msg="it fails" error=one|WARN msg="it fails" error=two|INFO msg="this is over: it fails"|WARN msg="it fails" error=one`
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
}
