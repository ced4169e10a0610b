package timeline

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"sluice/internal/perf"
)

// Window is a span of time up to now that reports tell of.
type Window struct {
	Name string
	Span time.Duration
}

// Windows are those of reports, from the shortest on. Read takes any up to an hour.
func Windows() []Window {
	return []Window{{"1m", time.Minute}, {"5m", 5 * time.Minute}, {"1h", time.Hour}}
}

// ParseWindow finds one of Windows by its name.
func ParseWindow(name string) (Window, error) {
	var names []string
	for _, w := range Windows() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Window{}, fmt.Errorf("window %q is none of %s", name, strings.Join(names, ", "))
}

// The stats of Read.
const (
	StatValue = "value" // a gauge's, or a ratio's
	StatCount = "count"
	StatRate  = "rate" // count per second
	StatMean  = "mean"
	StatP50   = "p50"
	StatP90   = "p90"
	StatP95   = "p95"
	StatP99   = "p99"
	StatMax   = "max"
)

// Read gives one stat of the series that have all of labels; nil is all series
// of the figure. Series are merged: histograms, counters and ratios are added up,
// of gauges it is the greatest. samples is what the value stands on: how much was
// counted, a ratio's whole, the number of gauges.
//
// window is any up to an hour: it is read to 2 s up to 1 min, to 30 s up to 5 min,
// else to 5 min, and never less than that was. While the process is younger it is
// as much as there is. There is no value (ok is false) where no series has the
// labels, the figure has no such stat, or nothing was observed that it could tell
// of.
func (t *Timeline) Read(name string, labels map[string]string, stat string, window time.Duration) (value float64, samples uint64, ok bool) {
	s, ok := t.Stats(name, labels, window)
	if !ok {
		return 0, 0, false
	}
	value, ok = s.Stat(stat)
	return value, s.Samples(), ok
}

// Stats tells what series did in a window. Which of its fields count depends on
// the kind.
type Stats struct {
	Kind    Kind
	Seconds float64 // that were looked at
	Count   float64 // by how much a counter rose, how often a histogram observed, a ratio's part
	Whole   float64 // a ratio's
	Value   float64 // a gauge's
	Gauges  int     // that were looked at

	// Distribution is of what a histogram observed.
	Distribution perf.Distribution
}

// Samples is what the stats stand on.
func (s *Stats) Samples() uint64 {
	switch s.Kind {
	case Gauge:
		return uint64(s.Gauges)
	case Ratio:
		return uint64(s.Whole)
	default:
		return uint64(s.Count)
	}
}

// Stat gives one of the stats, false where it is unknown.
func (s *Stats) Stat(stat string) (float64, bool) {
	switch stat {
	case StatCount:
		return s.Count, s.Seconds > 0 && (s.Kind == Counter || s.Kind == Histogram)
	case StatRate:
		return s.Count / s.Seconds, s.Seconds > 0 && (s.Kind == Counter || s.Kind == Histogram)
	case StatValue:
		if s.Kind == Ratio {
			return s.Count / s.Whole, s.Whole > 0
		}
		return s.Value, s.Kind == Gauge && s.Gauges > 0
	}
	if s.Kind != Histogram || s.Distribution.Count == 0 {
		return 0, false
	}
	d := s.Distribution
	switch stat {
	case StatMean:
		return d.Mean(), true
	case StatMax:
		return d.Max(), true
	case StatP50:
		return d.Quantile(0.5), true
	case StatP90:
		return d.Quantile(0.9), true
	case StatP95:
		return d.Quantile(0.95), true
	case StatP99:
		return d.Quantile(0.99), true
	}
	return 0, false
}

// Stats merges the series that have all of labels, as Read does. ok is false
// where there is none.
func (t *Timeline) Stats(name string, labels map[string]string, window time.Duration) (s Stats, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	f := t.figures[name]
	if f == nil {
		return Stats{}, false
	}
	var list []*series
	for _, s := range f.series {
		if s.has(labels) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return Stats{}, false
	}
	return measure(f.kind, list, t.clock.back(window), new(merger)), true
}

func (s *series) has(labels map[string]string) bool {
	for name, want := range labels {
		if v, ok := s.label(name); !ok || v != want {
			return false
		}
	}
	return true
}

func (s *series) label(name string) (value string, ok bool) {
	for i := 0; i < len(s.labels); i += 2 {
		if s.labels[i] == name {
			return s.labels[i+1], true
		}
	}
	return "", false
}

// measure adds up series over a stretch.
func measure(kind Kind, list []*series, over stretch, m *merger) Stats {
	out := Stats{Kind: kind, Seconds: over.length.Seconds()}
	for _, s := range list {
		if kind == Gauge && s.live {
			if out.Gauges == 0 || s.value > out.Value {
				out.Value = s.value
			}
			out.Gauges++
		}
		for _, slot := range over.slots {
			switch kind {
			case Histogram:
				m.add(s.packs[slot])
			case Ratio:
				out.Whole += s.wholes[slot]
				out.Count += s.counts[slot]
			case Counter:
				out.Count += s.counts[slot]
			}
		}
	}
	if kind == Histogram {
		out.Distribution = m.drain()
		out.Count = float64(out.Distribution.Count)
	}
	return out
}

// Figure is what is known of a figure.
type Figure struct {
	System, Name, Help string
	Kind               Kind
	Series             []Series // in the order of their labels
}

// Series is a figure with its labels.
type Series struct {
	Labels []string // name, value, …

	// Live says that its source still reports it. Where it does not, its windows
	// are known until they are over, and the next three fields are 0.
	Live  bool
	Value float64 // a gauge's, or a counter's total
	Count uint64  // a histogram's total
	Sum   float64

	Windows []Stats // one for each that was asked for
}

// Snapshot gives all figures, sorted by name, with some windows.
func (t *Timeline) Snapshot(windows ...Window) []Figure {
	t.mu.RLock()
	defer t.mu.RUnlock()
	over := make([]stretch, len(windows))
	for i, w := range windows {
		over[i] = t.clock.back(w.Span)
	}
	m := new(merger)
	out := make([]Figure, 0, len(t.figures))
	for _, name := range slices.Sorted(maps.Keys(t.figures)) {
		f := t.figures[name]
		shown := Figure{System: f.system, Name: name, Help: f.help, Kind: f.kind, Series: make([]Series, len(f.series))}
		for i, s := range f.series {
			shown.Series[i] = s.show(f.kind, over, m)
		}
		sort.Slice(shown.Series, func(i, j int) bool { return slices.Compare(shown.Series[i].Labels, shown.Series[j].Labels) < 0 })
		out = append(out, shown)
	}
	return out
}

func (s *series) show(kind Kind, over []stretch, m *merger) Series {
	out := Series{Labels: s.labels, Live: s.live, Windows: make([]Stats, len(over))}
	if s.live {
		out.Value, out.Count, out.Sum = s.value, s.total.Count, s.total.Sum
	}
	for i := range over {
		out.Windows[i] = measure(kind, []*series{s}, over[i], m)
	}
	return out
}

// Values gives the values that a label has among the series of a figure that are
// still reported, sorted.
func (t *Timeline) Values(name, label string) (list []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if f := t.figures[name]; f != nil {
		for _, s := range f.series {
			if v, ok := s.label(label); ok && s.live {
				list = append(list, v)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
