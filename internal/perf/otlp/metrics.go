package otlp

import (
	"context"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/perf"
)

// sendMetrics sends all figures regularly until ctx is done, and then once more.
func (e *Exporter) sendMetrics(ctx, work context.Context) {
	tick := time.NewTicker(e.cfg.MetricInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.uploadMetrics(work)
		case <-ctx.Done():
			e.uploadMetrics(work)
			e.metrics.close()
			return
		}
	}
}

func (e *Exporter) uploadMetrics(work context.Context) {
	ctx, cancel := context.WithTimeout(work, e.cfg.MetricTimeout)
	defer cancel()
	begun := time.Now()
	request := envelope(e.resource, e.version, e.series.collect(begun, e.registry))
	e.metricStats.done(begun, export(ctx, e.metrics, request))
}

// identity tells series apart: by their name, and their attributes as they are sent.
type identity struct{ name, attributes string }

// life is how long a series has been counting, and how far it had come.
type life struct {
	start time.Time
	value float64
}

// series knows since when each series counts. It is used by one goroutine.
type series struct {
	began time.Time // of the first collection's series
	lives map[identity]life
}

func newSeries(began time.Time) *series {
	return &series{began: began, lives: make(map[identity]life)}
}

// collect asks all sources for their figures, and gives them as fields of a
// ScopeMetrics.
func (s *series) collect(now time.Time, registry *perf.Registry) []byte {
	c := &collection{series: s, now: now, lives: make(map[identity]life, len(s.lives)), places: make(map[string]int)}
	registry.Each(func(_ string, source perf.Source) { source.Figures(c) })
	s.began, s.lives = now, c.lives
	var b []byte
	for i := range c.list {
		b = appendBytes(b, scopedContent, c.list[i].encode())
	}
	return b
}

// metric is one figure, whatever its labels.
type metric struct {
	name, help, unit string
	data             protowire.Number // of Metric, whose type says the figure's kind
	points           []byte           // fields of that
}

func (m *metric) encode() []byte {
	data := m.points
	if m.data != metricGauge {
		data = appendVarint(data, dataTemporality, cumulative)
	}
	if m.data == metricSum {
		data = appendVarint(data, sumMonotonic, 1)
	}
	b := appendString(nil, metricName, m.name)
	b = appendString(b, metricDescription, m.help)
	if m.unit != "" {
		b = appendString(b, metricUnit, m.unit)
	}
	return appendBytes(b, m.data, data)
}

// collection is a perf.Reporter that makes metrics of figures.
type collection struct {
	series *series
	now    time.Time
	lives  map[identity]life
	places map[string]int // of metrics in list, by their names
	list   []metric
}

// start says since when a series counts. One that was not there at the last
// collection, or has gone back, began anew after that.
func (c *collection) start(name string, attributes []byte, value float64) (start time.Time, ok bool) {
	id := identity{name, string(attributes)}
	if _, twice := c.lives[id]; twice {
		return time.Time{}, false
	}
	l, known := c.series.lives[id]
	if !known || value < l.value {
		l.start = c.series.began
	}
	l.value = value
	c.lives[id] = l
	return l.start, true
}

// place finds the metric of a figure, or makes it with no data.
func (c *collection) place(figure, help string, data protowire.Number) (m *metric, conventional bool) {
	n, conventional := convention(figure)
	if !conventional {
		n = own(figure)
	}
	i, ok := c.places[n.name]
	if !ok {
		i = len(c.list)
		c.places[n.name] = i
		c.list = append(c.list, metric{name: n.name, help: help, unit: n.unit, data: data})
	}
	return &c.list[i], conventional
}

// Counter implements perf.Reporter.
func (c *collection) Counter(name, help string, value float64, labels ...string) {
	c.number(metricSum, name, help, value, labels)
}

// Gauge implements perf.Reporter.
func (c *collection) Gauge(name, help string, value float64, labels ...string) {
	c.number(metricGauge, name, help, value, labels)
}

func (c *collection) number(data protowire.Number, name, help string, value float64, labels []string) {
	m, conventional := c.place(name, help, data)
	set := attributes(numberAttributes, labels, conventional)
	start, ok := c.start(m.name, set, value)
	if !ok || m.data != data {
		return
	}
	var p []byte
	if data == metricSum {
		p = appendTime(p, pointStart, start)
	}
	p = appendTime(p, pointTime, c.now)
	p = append(appendDouble(p, numberDouble, value), set...)
	m.points = appendBytes(m.points, dataPoints, p)
}

// Histogram implements perf.Reporter.
func (c *collection) Histogram(name, help string, h *perf.Histogram, labels ...string) {
	m, conventional := c.place(name, help, metricHistogram)
	set := attributes(histogramAttributes, labels, conventional)
	d := h.Distribution()
	start, ok := c.start(m.name, set, float64(d.Count))
	if !ok || m.data != metricHistogram {
		return
	}
	p := appendTime(set, pointStart, start)
	p = appendTime(p, pointTime, c.now)
	p = appendDistribution(p, d)
	for _, e := range h.Exemplars() {
		x := appendTime(nil, exemplarTime, e.At)
		x = appendDouble(x, exemplarDouble, e.Value)
		p = appendBytes(p, histogramExemplars, appendBytes(x, exemplarTraceID, e.Trace[:]))
	}
	m.points = appendBytes(m.points, dataPoints, p)
}

// Ratio implements perf.Reporter. A ratio's counters are there already.
func (c *collection) Ratio(string, string, float64, float64, ...string) {}

// appendDistribution appends a distribution as fields of an
// ExponentialHistogramDataPoint. Both have the same buckets, but OpenTelemetry's
// bucket i is the one above base^i, and ours the one below.
func appendDistribution(b []byte, d perf.Distribution) []byte {
	b = appendFixed(b, histogramCount, d.Count)
	b = appendDouble(b, histogramSum, d.Sum)
	b = appendVarint(b, histogramScale, protowire.EncodeZigZag(perf.Schema))
	b = appendFixed(b, histogramZeroCount, d.Zero)
	b = appendDouble(b, histogramZeroThreshold, perf.ZeroThreshold)
	n := len(d.Buckets)
	if n == 0 {
		return b
	}
	first, last := d.Buckets[0].Index, d.Buckets[n-1].Index
	counts := make([]uint64, int(last-first)+1)
	for _, bucket := range d.Buckets {
		counts[bucket.Index-first] = bucket.Count
	}
	var packed []byte
	for _, count := range counts {
		packed = protowire.AppendVarint(packed, count)
	}
	buckets := appendVarint(nil, bucketsOffset, protowire.EncodeZigZag(int64(first)-1))
	return appendBytes(b, histogramPositive, appendBytes(buckets, bucketsCounts, packed))
}
