package timeline

import (
	"math"
	"slices"
	"time"

	"sluice/internal/perf"
)

// forgetAfter is how many slots a series is kept after its source has left:
// until all windows are over.
const forgetAfter = (coarse + 1) * finesInCoarse

// Refresh makes known all that sources had to report when it was called, so that
// a report knows what ended just before it was asked for. Callers that come while
// one samples share the next sample: any number at once costs two. Before Start it
// does nothing.
func (t *Timeline) Refresh() {
	asked := t.begun.Load()
	defer t.alone()()
	if t.begun.Load() == asked && t.samples > 0 {
		t.sample(false)
	}
}

// tick takes a sample that ends a slot.
func (t *Timeline) tick() {
	defer t.alone()()
	t.sample(true)
}

// alone waits until nobody else samples, and returns what lets the next one.
func (t *Timeline) alone() (done func()) {
	t.sampling <- struct{}{}
	return func() { <-t.sampling }
}

// sample asks all sources. What they counted before the first sample is in no
// window. It is called alone.
func (t *Timeline) sample(tick bool) {
	began := time.Now()
	t.begun.Add(1)
	// t.mu is not held while sources are asked: this is one of them.
	c := collector{t: t, key: make([]byte, 0, 256)}
	t.samples++
	t.observed = t.observed[:0]
	t.registry.Each(func(system string, s perf.Source) {
		c.system = system
		s.Figures(&c)
	})
	t.store(tick, began)
	clear(t.observed) // holds on to no distribution
	t.took.Observe(time.Since(began))
}

// store puts what was observed into the open slot, and that into its ring when it
// ends.
func (t *Timeline) store(tick bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.samples == 1
	if first {
		t.clock.last = now
	}
	t.clock.advance(now)
	for _, s := range t.known {
		s.live = false
	}
	buf := make([]byte, 0, 4<<10)
	for i := range t.observed {
		o := &t.observed[i]
		buf = o.series.apply(o, first, &t.merger, buf)
		o.series.live, o.series.seen = true, t.clock.ticks
	}
	if !tick || first {
		return
	}
	slot := t.clock.tick()
	for _, s := range t.known {
		s.tick(slot)
	}
	if folds := t.clock.folds(); len(folds) > 0 {
		for _, s := range t.known {
			for _, f := range folds {
				buf = s.fold(f, &t.merger, buf)
			}
		}
		t.forget()
	}
}

// forget removes the series that nothing is known of any more. t.mu is held.
func (t *Timeline) forget() {
	for name, f := range t.figures {
		f.series = slices.DeleteFunc(f.series, func(s *series) bool {
			gone := !s.live && (f.kind == Gauge || t.clock.ticks-s.seen > forgetAfter)
			if gone {
				delete(t.known, s.key)
			}
			return gone
		})
		if len(f.series) == 0 {
			delete(t.figures, name)
		}
	}
	t.count.Store(int64(len(t.known)))
}

// collector takes the figures of one sample. Of two values of the same series
// the later one holds: while a reload lets an old source end, that is the new
// one's. What is no number, or a count below zero, is not a value.
type collector struct {
	t      *Timeline
	system string
	key    []byte
}

func (c *collector) Counter(name, help string, value float64, labels ...string) {
	if counts(value) {
		if o := c.observe(Counter, name, help, labels); o != nil {
			o.value = value
		}
	}
}

func (c *collector) Gauge(name, help string, value float64, labels ...string) {
	if finite(value) {
		if o := c.observe(Gauge, name, help, labels); o != nil {
			o.value = value
		}
	}
}

func (c *collector) Histogram(name, help string, h *perf.Histogram, labels ...string) {
	o := c.observe(Histogram, name, help, labels)
	if o == nil {
		return
	}
	if o.idle = o.series.from == h && !h.Since(&o.series.total); !o.idle {
		o.from, o.total = h, h.Distribution()
	}
}

func (c *collector) Ratio(name, help string, part, whole float64, labels ...string) {
	if counts(part) && counts(whole) {
		if o := c.observe(Ratio, name, help, labels); o != nil {
			o.value, o.whole = part, whole
		}
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
func counts(v float64) bool { return finite(v) && v >= 0 }

// observe gives the place for a series' value, nil where it is not kept.
func (c *collector) observe(kind Kind, name, help string, labels []string) *observation {
	t := c.t
	c.key = append(append(c.key[:0], byte(kind)), name...)
	for _, l := range labels {
		c.key = append(append(c.key, 0xff), l...) // no byte of UTF-8
	}
	s := t.known[string(c.key)]
	if s == nil {
		if s = c.begin(kind, name, help, labels); s == nil {
			t.dropped.Add(1)
			return nil
		}
	}
	if s.sample != t.samples {
		s.sample, s.position = t.samples, len(t.observed)
		t.observed = append(t.observed, observation{series: s})
	}
	return &t.observed[s.position]
}

// begin adds a series, if there is room and its figure is of its kind.
func (c *collector) begin(kind Kind, name, help string, labels []string) *series {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.figures[name]
	if len(t.known) >= MaxSeries || f != nil && f.kind != kind {
		return nil
	}
	if f == nil {
		f = newFigure(c.system, name, help, kind)
		t.figures[name] = f
	}
	s := newSeries(string(c.key), kind, labels)
	f.series = append(f.series, s)
	t.known[s.key] = s
	t.count.Store(int64(len(t.known)))
	return s
}
