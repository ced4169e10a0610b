package timeline

import (
	"slices"
	"strings"

	"sluice/internal/perf"
)

// Kind is what a figure is.
type Kind uint8

const (
	Counter Kind = iota
	Gauge
	Histogram
	Ratio
)

// String gives the kind as it stands in reports.
func (k Kind) String() string { return [...]string{"counter", "gauge", "histogram", "ratio"}[k] }

// figure is all series of a name. A name belongs to one system and is of one
// kind: those of whoever reported it first.
type figure struct {
	system, name, help string
	kind               Kind
	series             []*series
	headlines          []string // names of what points have of it
}

func newFigure(system, name, help string, kind Kind) *figure {
	f := &figure{system: system, name: name, help: help, kind: kind}
	switch {
	case kind == Counter:
		f.headlines = []string{name + ".rate"}
	case kind == Gauge, kind == Ratio:
		f.headlines = []string{name}
	case strings.HasSuffix(name, "_seconds"):
		f.headlines = []string{name + ".count", name + ".p50", name + ".p99"}
	}
	return f
}

// series is a figure with its labels. A slot holds what was new in it.
type series struct {
	key    string
	labels []string
	live   bool   // the last sample had it
	seen   uint64 // how many slots there were when a sample had it last

	value float64 // of the last sample: the counter, the gauge, a ratio's part
	whole float64
	total perf.Distribution
	from  *perf.Histogram // that total is of; nil before the first sample

	counts *[slots]float64 // counters, and ratios' parts
	wholes *[slots]float64
	packs  *[slots]packed

	// What was new since the last report: as counts and wholes, and a histogram's
	// count.
	reported, reportedWhole float64

	// The sampling goroutine's own: where in a sample its value is.
	sample   uint64
	position int
}

// observation is what a source has reported of a series.
type observation struct {
	series       *series
	value, whole float64
	idle         bool // a histogram is as it was: what follows is not taken
	from         *perf.Histogram
	total        perf.Distribution
}

func newSeries(key string, kind Kind, labels []string) *series {
	s := &series{key: key, labels: slices.Clone(labels[:len(labels)&^1])}
	for i := 1; i < len(s.labels); i += 2 {
		s.labels[i] = perf.Label(s.labels[i])
	}
	switch kind {
	case Counter:
		s.counts = new([slots]float64)
	case Ratio:
		s.counts, s.wholes = new([slots]float64), new([slots]float64)
	case Histogram:
		s.packs = new([slots]packed)
	case Gauge: // only its value now is known
	}
	return s
}

// tick puts what is in the open slot into another one.
func (s *series) tick(slot int) {
	if s.counts != nil {
		s.counts[slot], s.counts[open] = s.counts[open], 0
	}
	if s.wholes != nil {
		s.wholes[slot], s.wholes[open] = s.wholes[open], 0
	}
	if s.packs != nil {
		s.packs[slot], s.packs[open] = s.packs[open], ""
	}
}

// fold makes a slot of finer ones.
func (s *series) fold(f fold, m *merger, buf []byte) []byte {
	var count, whole float64
	for _, i := range f.from {
		if s.counts != nil {
			count += s.counts[i]
		}
		if s.wholes != nil {
			whole += s.wholes[i]
		}
		if s.packs != nil {
			m.add(s.packs[i])
		}
	}
	if s.counts != nil {
		s.counts[f.into] = count
	}
	if s.wholes != nil {
		s.wholes[f.into] = whole
	}
	if s.packs != nil {
		s.packs[f.into], buf = pack(m.drain(), buf)
	}
	return buf
}

// apply takes what a source has reported. What is new goes into the open slot,
// unless this is the first sample. A counter that is less than it was belongs to
// another source that has begun at zero.
func (s *series) apply(o *observation, first bool, m *merger, buf []byte) []byte {
	switch {
	case s.packs != nil && o.idle:
	case s.packs != nil:
		p, rest, ok := packSince(o.total, s.total, buf)
		if !ok {
			s.total = perf.Distribution{}
			p, rest = pack(o.total, buf)
		}
		buf = rest
		if !first && p != "" {
			if before := s.packs[open]; before != "" {
				m.add(before)
				m.add(p)
				p, buf = pack(m.drain(), buf)
			}
			s.packs[open] = p
			s.reported += float64(o.total.Count - s.total.Count)
		}
		// Copied, without the room for empty buckets.
		buckets := append(s.total.Buckets[:0], o.total.Buckets...)
		s.total = o.total
		s.total.Buckets = buckets
		s.from = o.from
	case s.counts != nil:
		n, whole := o.value-s.value, o.whole-s.whole
		if n < 0 || whole < 0 {
			n, whole = o.value, o.whole
		}
		if !first {
			s.counts[open] += n
			s.reported += n
		}
		if !first && s.wholes != nil {
			s.wholes[open] += whole
			s.reportedWhole += whole
		}
	}
	s.value, s.whole = o.value, o.whole
	return buf
}
