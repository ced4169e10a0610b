package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// line is a line of a table: what was measured of each proxy, in each round.
type line struct {
	name    string
	digits  int         // behind the point
	figures [][]float64 // of nginx, then of each Sluice
	mock    []float64   // what the mock took meanwhile; nil where it says nothing
	added   bool        // figures are told apart by their difference, not by their ratio
}

// newLine has room for the figures of so many proxies.
func newLine(name string, digits, proxies int) line {
	return line{name: name, digits: digits, figures: make([][]float64, proxies)}
}

func (l *line) add(proxy int, figure float64) {
	l.figures[proxy] = append(l.figures[proxy], figure)
}

// table prints lines in Markdown as they come.
type table struct {
	w io.Writer
	n int // proxies
}

// newTable prints the head of a table. Where medians of the lines' own rounds are
// compared, it is by the median of the rounds' ratios, both sides of which were
// measured at the same time.
func newTable(w io.Writer, title string, proxies []string) table {
	cells := []string{title, proxies[0]}
	for _, p := range proxies[1:] {
		cells = append(cells, p, "× "+proxies[0])
	}
	cells = append(cells, "mock")
	fmt.Fprintf(w, "| %s |\n| ---%s |\n", strings.Join(cells, " | "), strings.Repeat(" | ---:", len(cells)-1))
	return table{w, len(proxies)}
}

func (t table) print(lines ...line) {
	for _, l := range lines {
		cells := []string{l.name}
		for i, f := range l.figures {
			cells = append(cells, l.format(median(f)))
			switch {
			case i == 0:
			case len(l.figures[0]) != len(f) || len(f) == 0:
				cells = append(cells, "")
			case l.added:
				cells = append(cells, fmt.Sprintf("%+.*f", l.digits, difference(f, l.figures[0])))
			default:
				cells = append(cells, fmt.Sprintf("%.2f", ratio(f, l.figures[0])))
			}
		}
		mock := ""
		if l.mock != nil {
			mock = l.format(median(l.mock))
		}
		fmt.Fprintf(t.w, "| %s |\n", strings.Join(append(cells, mock), " | "))
	}
}

func (l *line) format(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.*f", l.digits, v)
}

// difference is the median of the rounds' differences.
func difference(a, b []float64) float64 {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return median(d)
}
