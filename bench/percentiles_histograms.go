package main

import (
	"math"
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sluice/internal/perf"
)

// recorder is a histogram of values in seconds, for any number of goroutines.
type recorder interface {
	observe(seconds float64)
	// quantiles gives a reader of quantiles of what there is by now.
	quantiles() func(q float64) float64
}

// histogram is a kind of recorder.
type histogram struct {
	name string
	new  func() recorder
}

// accuracy is the error that all are set up for, as near as they can be: that of
// Sluice's own.
const accuracy = perf.MaxError

// histograms lists what is compared. Those that are not safe for concurrent use
// have a lock.
func histograms() []histogram {
	return []histogram{
		{"Sluice, exponential buckets", func() recorder { return new(own) }},
		{"HdrHistogram, 2 digits, and a lock", func() recorder {
			// From 1 µs to 13 days.
			return &hdr{h: hdrhistogram.New(1000, 1<<50, 2)}
		}},
		{"DDSketch, and a lock", func() recorder {
			s, err := ddsketch.NewDefaultDDSketch(accuracy)
			if err != nil {
				panic(err) // only an accuracy outside of (0, 1) is refused
			}
			return &sketch{s: s}
		}},
		{"Prometheus' native histogram", func() recorder {
			return native{prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "h", NativeHistogramBucketFactor: 1 + 2*accuracy + 1e-3, NativeHistogramZeroThreshold: perf.ZeroThreshold,
			})}
		}},
	}
}

type own struct{ h perf.Histogram }

func (o *own) observe(v float64) { o.h.Observe(time.Duration(v * 1e9)) }
func (o *own) quantiles() func(float64) float64 {
	return o.h.Distribution().Quantile
}

type hdr struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func (r *hdr) observe(v float64) {
	r.mu.Lock()
	err := r.h.RecordValue(int64(v * 1e9))
	r.mu.Unlock()
	if err != nil {
		panic(err) // a value beyond its range
	}
}

func (r *hdr) quantiles() func(float64) float64 {
	return func(q float64) float64 { return float64(r.h.ValueAtQuantile(100*q)) / 1e9 }
}

type sketch struct {
	mu sync.Mutex
	s  *ddsketch.DDSketch
}

func (r *sketch) observe(v float64) {
	r.mu.Lock()
	err := r.s.Add(v)
	r.mu.Unlock()
	if err != nil {
		panic(err) // a value beyond its range
	}
}

func (r *sketch) quantiles() func(float64) float64 {
	return func(q float64) float64 {
		v, err := r.s.GetValueAtQuantile(q)
		if err != nil {
			panic(err) // of nothing
		}
		return v
	}
}

type native struct{ h prometheus.Histogram }

func (r native) observe(v float64) { r.h.Observe(v) }

// quantiles reads the buckets as Sluice does: the middle of the one where the
// quantile lies.
func (r native) quantiles() func(float64) float64 {
	var m dto.Metric
	if err := r.h.Write(&m); err != nil {
		panic(err) // it has no labels that could be wrong
	}
	d := perf.Distribution{Count: m.Histogram.GetSampleCount(), Zero: m.Histogram.GetZeroCount()}
	deltas, index, count := m.Histogram.GetPositiveDelta(), int32(0), int64(0)
	for _, span := range m.Histogram.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			d.Buckets = append(d.Buckets, perf.Bucket{Index: int16(index), Count: uint64(count)})
			index++
		}
	}
	if s := m.Histogram.GetSchema(); s != perf.Schema {
		return func(float64) float64 { return math.NaN() } // other bounds
	}
	return d.Quantile
}
