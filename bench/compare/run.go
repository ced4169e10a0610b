// Package compare keeps what a comparison of proxies has measured, and writes it as
// tables of a document. The figures are kept beside the document, as JSON: none in it
// is typed.
package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Run is one comparison.
type Run struct {
	Date     string   `json:"date"` // year, month, day
	Machine  Machine  `json:"machine"`
	Settings Settings `json:"settings"`
	// LoadAverages are the machine's over one minute (proc(5)), taken as each line's
	// rounds began: the comparison's own load and whatever else ran.
	LoadAverages []float64 `json:"load_averages"`
	Proxies      []Proxy   `json:"proxies"` // Sluice is the first
	Absent       []Absent  `json:"absent,omitempty"`
	Lines        []Line    `json:"lines"`
}

// Machine is where it ran.
type Machine struct {
	CPU    string `json:"cpu"` // its name
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"` // that built Sluice
}

// Settings are what a run may be asked for.
type Settings struct {
	Rounds      int     `json:"rounds"`
	Seconds     float64 `json:"seconds"` // of one load
	Connections int     `json:"connections"`
	Calls       int     `json:"calls"`        // in a round, of which latencies are taken
	Rate        float64 `json:"rate"`         // calls a second where they come at a constant rate
	Streams     int     `json:"streams"`      // open at once
	IdleSeconds float64 `json:"idle_seconds"` // before idle memory is read
}

// Proxy is one of those compared.
type Proxy struct {
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"`
	Notes   []string `json:"notes"` // how it is set up, and what it does that others do not
}

// Absent is one that was asked for and is not there.
type Absent struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Line is what was measured of each proxy.
type Line struct {
	Name   string `json:"name"` // with the unit
	Digits int    `json:"digits"`
	// Compared is how a proxy's figures stand beside Sluice's of the same rounds.
	Compared Comparison `json:"compared"`
	// Figures are those of a proxy in each round. What was measured once has one.
	Figures map[string][]float64 `json:"figures"`
	// Lacking says of a proxy without figures why it has none.
	Lacking map[string]string `json:"lacking,omitempty"`
}

// Comparison is how figures stand beside others.
type Comparison string

const (
	Ratio      Comparison = "ratio"      // how many times as much
	Difference Comparison = "difference" // how much more
	None       Comparison = "none"
)

// Add adds a round's figure of a proxy, rounded to two digits more than are shown.
func (l *Line) Add(proxy string, figure float64) {
	if l.Figures == nil {
		l.Figures = map[string][]float64{}
	}
	scale := math.Pow10(l.Digits + 2)
	l.Figures[proxy] = append(l.Figures[proxy], math.Round(figure*scale)/scale)
}

// Lacks says why a proxy has no figures, and drops those that it has: some rounds are
// not the others' rounds.
func (l *Line) Lacks(proxy, why string) {
	if l.Lacking == nil {
		l.Lacking = map[string]string{}
	}
	l.Lacking[proxy] = why
	delete(l.Figures, proxy)
}

// Parse reads a run as JSON writes it.
func Parse(b []byte) (*Run, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var r Run
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("comparison: %w", err)
	}
	return &r, r.check()
}

// check makes sure that each line has figures, or a reason, for each proxy.
func (r *Run) check() error {
	if len(r.Proxies) == 0 || len(r.Lines) == 0 || len(r.LoadAverages) == 0 {
		return fmt.Errorf("comparison: %d proxies, %d lines, %d load averages", len(r.Proxies), len(r.Lines), len(r.LoadAverages))
	}
	for _, l := range r.Lines {
		if l.Digits < 0 || l.Digits > 6 {
			return fmt.Errorf("comparison: %q has %d digits", l.Name, l.Digits)
		}
		if !slices.Contains([]Comparison{Ratio, Difference, None}, l.Compared) {
			return fmt.Errorf("comparison: %q is compared by %q", l.Name, l.Compared)
		}
		for _, p := range r.Proxies {
			if n := len(l.Figures[p.Name]); n == 0 && l.Lacking[p.Name] == "" || n > 0 && n != r.Settings.Rounds && n != 1 {
				return fmt.Errorf("comparison: %q has %d figures of %s in %d rounds", l.Name, n, p.Name, r.Settings.Rounds)
			}
		}
	}
	return nil
}

// JSON is what Parse reads.
func (r *Run) JSON() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(r, "", " ")
	return append(b, '\n'), err
}
