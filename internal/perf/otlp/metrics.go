package otlp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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
			if err := e.metrics.Shutdown(work); err != nil {
				e.metricStats.log.Debug("stop the export of metrics", "error", err)
			}
			return
		}
	}
}

func (e *Exporter) uploadMetrics(work context.Context) {
	ctx, cancel := context.WithTimeout(work, e.cfg.MetricTimeout)
	defer cancel()
	begun := time.Now()
	list := e.series.collect(begun, e.registry)
	e.metricStats.done(begun, e.metrics.Export(ctx, &metricdata.ResourceMetrics{
		Resource: e.resource,
		ScopeMetrics: []metricdata.ScopeMetrics{{
			Scope:   instrumentation.Scope{Name: scope, Version: e.version, SchemaURL: SchemaURL},
			Metrics: list,
		}},
	}))
}

// identity tells series apart.
type identity struct {
	name       string
	attributes attribute.Distinct
}

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

// collect asks all sources for their figures.
func (s *series) collect(now time.Time, registry *perf.Registry) []metricdata.Metrics {
	c := &collection{series: s, now: now, lives: make(map[identity]life, len(s.lives)), places: make(map[string]int)}
	registry.Each(func(_ string, source perf.Source) { source.Figures(c) })
	s.began, s.lives = now, c.lives
	return c.list
}

// collection is a perf.Reporter that makes metrics of figures.
type collection struct {
	series *series
	now    time.Time
	lives  map[identity]life
	places map[string]int // of metrics in list, by their names
	list   []metricdata.Metrics
}

// start says since when a series counts. One that was not there at the last
// collection, or has gone back, began anew after that.
func (c *collection) start(name string, attributes attribute.Set, value float64) (start time.Time, ok bool) {
	id := identity{name, attributes.Equivalent()}
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
func (c *collection) place(figure, help string, none metricdata.Aggregation) (m *metricdata.Metrics, conventional bool) {
	n, conventional := convention(figure)
	if !conventional {
		n = own(figure)
	}
	i, ok := c.places[n.name]
	if !ok {
		i = len(c.list)
		c.places[n.name] = i
		c.list = append(c.list, metricdata.Metrics{Name: n.name, Description: help, Unit: n.unit, Data: none})
	}
	return &c.list[i], conventional
}

// Counter implements perf.Reporter.
func (c *collection) Counter(name, help string, value float64, labels ...string) {
	m, conventional := c.place(name, help, metricdata.Sum[float64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true})
	set := attributes(labels, conventional)
	start, ok := c.start(m.Name, set, value)
	if sum, same := m.Data.(metricdata.Sum[float64]); ok && same {
		sum.DataPoints = append(sum.DataPoints, metricdata.DataPoint[float64]{Attributes: set, StartTime: start, Time: c.now, Value: value})
		m.Data = sum
	}
}

// Gauge implements perf.Reporter.
func (c *collection) Gauge(name, help string, value float64, labels ...string) {
	m, conventional := c.place(name, help, metricdata.Gauge[float64]{})
	set := attributes(labels, conventional)
	_, ok := c.start(m.Name, set, value)
	if gauge, same := m.Data.(metricdata.Gauge[float64]); ok && same {
		gauge.DataPoints = append(gauge.DataPoints, metricdata.DataPoint[float64]{Attributes: set, Time: c.now, Value: value})
		m.Data = gauge
	}
}

// Histogram implements perf.Reporter.
func (c *collection) Histogram(name, help string, h *perf.Histogram, labels ...string) {
	m, conventional := c.place(name, help, metricdata.ExponentialHistogram[float64]{Temporality: metricdata.CumulativeTemporality})
	set := attributes(labels, conventional)
	d := h.Distribution()
	start, ok := c.start(m.Name, set, float64(d.Count))
	if histogram, same := m.Data.(metricdata.ExponentialHistogram[float64]); ok && same {
		point := exponential(d)
		point.Attributes, point.StartTime, point.Time = set, start, c.now
		for _, e := range h.Exemplars() {
			point.Exemplars = append(point.Exemplars, metricdata.Exemplar[float64]{Value: e.Value, Time: e.At, TraceID: e.Trace[:]})
		}
		histogram.DataPoints = append(histogram.DataPoints, point)
		m.Data = histogram
	}
}

// Ratio implements perf.Reporter. A ratio's counters are there already.
func (c *collection) Ratio(string, string, float64, float64, ...string) {}

// exponential gives a distribution as an exponential histogram. Both have the same
// buckets, but OpenTelemetry's bucket i is the one above base^i, and ours the one
// below.
func exponential(d perf.Distribution) metricdata.ExponentialHistogramDataPoint[float64] {
	p := metricdata.ExponentialHistogramDataPoint[float64]{
		Count: d.Count, Sum: d.Sum, Scale: perf.Schema, ZeroCount: d.Zero, ZeroThreshold: perf.ZeroThreshold,
	}
	if n := len(d.Buckets); n > 0 {
		first, last := d.Buckets[0].Index, d.Buckets[n-1].Index
		p.PositiveBucket.Offset = int32(first) - 1
		p.PositiveBucket.Counts = make([]uint64, int(last-first)+1)
		for _, b := range d.Buckets {
			p.PositiveBucket.Counts[b.Index-first] = b.Count
		}
	}
	return p
}
