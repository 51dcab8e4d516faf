package plot_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/sim/plot"
)

// read parses a chart and returns the points of its lines and its texts.
func read(t *testing.T, c plot.Chart) (lines [][]plot.Point, texts string) {
	t.Helper()
	var b bytes.Buffer
	if n, err := c.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	d := xml.NewDecoder(&b)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return lines, texts
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		switch e := tok.(type) {
		case xml.CharData:
			texts += string(e) + "\n"
		case xml.StartElement:
			for _, a := range e.Attr {
				if a.Name.Local != "points" {
					continue
				}
				var line []plot.Point
				for pair := range strings.FieldsSeq(a.Value) {
					var p plot.Point
					if _, err := fmt.Sscanf(pair, "%f,%f", &p.X, &p.Y); err != nil {
						t.Fatalf("%q: %v", pair, err)
					}
					line = append(line, p)
				}
				lines = append(lines, line)
			}
		}
	}
}

func TestChart(t *testing.T) {
	lines, texts := read(t, plot.Chart{Title: "Loss <of> a day", X: "hours", Y: "yuan", Series: []plot.Series{
		{Name: "rising", Points: []plot.Point{{0, 0}, {9, 30}, {18, 120}}},
		{Name: "steps", Step: true, Points: []plot.Point{{0, 10}, {18, 60}}},
	}})
	if len(lines) != 2 || len(lines[0]) != 3 || len(lines[1]) != 3 {
		t.Fatalf("%v", lines)
	}
	for _, line := range lines {
		for _, p := range line {
			if p.X < 0 || p.X > 760 || p.Y < 0 || p.Y > 360 {
				t.Errorf("%v is outside the picture", p)
			}
		}
	}
	if a, b := lines[0][0], lines[0][2]; a.X >= b.X || a.Y <= b.Y {
		t.Errorf("from %v to %v does not rise", a, b)
	}
	if s := lines[1]; s[0].Y != s[1].Y || s[1].X != s[2].X {
		t.Errorf("%v is no step", s)
	}
	for _, want := range []string{"Loss <of> a day", "hours", "yuan", "rising", "steps", "100", "15"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not shown in\n%s", want, texts)
		}
	}
}

// TestBareCharts are those whose scales could divide by nothing.
func TestBareCharts(t *testing.T) {
	for name, s := range map[string][]plot.Series{
		"none": nil, "empty": {{Name: "x"}}, "one point": {{Points: []plot.Point{{5, 0}}}}, "flat": {{Points: []plot.Point{{0, 0}, {1, 0}}}},
	} {
		lines, _ := read(t, plot.Chart{Series: s})
		for _, line := range lines {
			for _, p := range line {
				if math.IsNaN(p.X) || math.IsNaN(p.Y) || math.IsInf(p.X, 0) || math.IsInf(p.Y, 0) {
					t.Errorf("%s: %v", name, p)
				}
			}
		}
	}
}
