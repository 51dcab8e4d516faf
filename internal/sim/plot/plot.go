// Package plot draws charts as SVG that a browser shows without any script.
package plot

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Point is one value at one place.
type Point struct{ X, Y float64 }

// Series is a named line, in the order of X.
type Series struct {
	Name   string
	Points []Point
	// Step says that a value holds until the next one, as counts do.
	Step bool
}

// Chart is a set of lines over one axis.
type Chart struct {
	Title, X, Y string // Y and X name the axes, with their units
	Series      []Series
}

// Size of every chart, and what its frame takes.
const (
	width, height            = 760, 360
	left, right, top, bottom = 70, 20, 40, 50
)

// colours are told apart also by those who see few of them.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"}

// WriteTo writes the chart as one SVG document.
func (c Chart) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	s := c.scale()
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	text(&b, left, 22, "start", 15, c.Title)
	c.axes(&b, s)
	for i, line := range c.Series {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.8" points="%s"/>`+"\n", colour, s.path(line))
		y := top + 14 + 16*i
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="3" fill="%s"/>`+"\n", left+10, y-5, colour)
		text(&b, left+28, float64(y), "start", 12, line.Name)
	}
	b.WriteString("</svg>\n")
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// scale maps values to places.
type scale struct{ x0, x1, y1 float64 }

// scale spans every value; heights begin at 0.
func (c Chart) scale() scale {
	s := scale{x0: math.Inf(1), x1: math.Inf(-1)}
	for _, line := range c.Series {
		for _, p := range line.Points {
			s.x0, s.x1, s.y1 = min(s.x0, p.X), max(s.x1, p.X), max(s.y1, p.Y)
		}
	}
	if s.x0 >= s.x1 { // nothing, or one moment
		if math.IsInf(s.x0, 0) {
			s.x0 = 0
		}
		s.x1 = s.x0 + 1
	}
	if s.y1 <= 0 {
		s.y1 = 1
	}
	return s
}

func (s scale) at(p Point) (x, y float64) {
	x = left + (p.X-s.x0)/(s.x1-s.x0)*(width-left-right)
	y = height - bottom - p.Y/s.y1*(height-top-bottom)
	return x, y
}

func (s scale) path(line Series) string {
	var b strings.Builder
	for i, p := range line.Points {
		if line.Step && i > 0 {
			x, y := s.at(Point{p.X, line.Points[i-1].Y})
			fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		}
		x, y := s.at(p)
		fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
	}
	return strings.TrimSpace(b.String())
}

// axes draws a frame with round values at its sides.
func (c Chart) axes(b *strings.Builder, s scale) {
	for _, v := range ticks(0, s.y1) {
		_, y := s.at(Point{s.x0, v})
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`+"\n", left, y, width-right, y)
		text(b, left-6, y+4, "end", 12, number(v))
	}
	for _, v := range ticks(s.x0, s.x1) {
		x, _ := s.at(Point{v, 0})
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999999"/>`+"\n", x, height-bottom, x, height-bottom+5)
		text(b, x, height-bottom+19, "middle", 12, number(v))
	}
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#333333"/>`+"\n", left, height-bottom, width-right, height-bottom)
	text(b, (left+width-right)/2, height-12, "middle", 12, c.X)
	text(b, width-right, top-6, "end", 12, c.Y)
}

// ticks are round values between two, about five of them.
func ticks(from, to float64) (at []float64) {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (to-from)/(m*step) <= 6 {
			step *= m
			break
		}
	}
	for n := math.Ceil(from / step); n*step <= to+step/1e6; n++ {
		at = append(at, n*step)
	}
	return at
}

func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}
