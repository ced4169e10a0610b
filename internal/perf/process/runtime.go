package process

import (
	"math"
	"runtime/metrics"
	"slices"
	"time"

	"sluice/internal/perf"
)

// The runtime's metrics that are read, by their place in runtimeFigures.
const (
	goGCCPU = iota
	goAssist
	goCPU
	goCycles
	goLimit
	goGoal
	goLive
	goObjects
	goReleased
	goTotal
	goRoutines
	goThreads
	goProcs
	goLatencies
	goPauses
	goMetrics // how many there are
)

var metricNames = [goMetrics]string{
	goGCCPU:     "/cpu/classes/gc/total:cpu-seconds",
	goAssist:    "/cpu/classes/gc/mark/assist:cpu-seconds",
	goCPU:       "/cpu/classes/total:cpu-seconds",
	goCycles:    "/gc/cycles/total:gc-cycles",
	goLimit:     "/gc/gomemlimit:bytes",
	goGoal:      "/gc/heap/goal:bytes",
	goLive:      "/gc/heap/live:bytes",
	goObjects:   "/gc/heap/objects:objects",
	goReleased:  "/memory/classes/heap/released:bytes",
	goTotal:     "/memory/classes/total:bytes",
	goRoutines:  "/sched/goroutines:goroutines",
	goThreads:   "/sched/threads/total:threads",
	goProcs:     "/sched/gomaxprocs:threads",
	goLatencies: "/sched/latencies:seconds",
	goPauses:    "/sched/pauses/total/gc:seconds",
}

// runtimeFigures is what the Go runtime tells. Reading it does not stop the world.
type runtimeFigures struct {
	samples [goMetrics]metrics.Sample

	pauses     perf.Histogram
	paused     counts
	latencies  counts
	latency    float64   // the 99th percentile of the last spell; NaN for none
	latencyEnd time.Time // of that spell
}

// spell is the least time that a percentile is of, however often it is asked for.
const spell = 1500 * time.Millisecond

// read takes the runtime's present values.
func (f *runtimeFigures) read() {
	for i := range f.samples {
		f.samples[i].Name = metricNames[i]
	}
	metrics.Read(f.samples[:])
	if now := time.Now(); now.Sub(f.latencyEnd) >= spell {
		f.latency, f.latencyEnd = quantile(f.latencies.since(f.samples[goLatencies].Value.Float64Histogram()), 0.99), now
	}
	for _, b := range f.paused.since(f.samples[goPauses].Value.Float64Histogram()) {
		for range b.n { // a few a second
			f.pauses.Observe(time.Duration(b.middle * 1e9))
		}
	}
}

func (f *runtimeFigures) number(metric int) float64 {
	if v := f.samples[metric].Value; v.Kind() == metrics.KindFloat64 {
		return v.Float64()
	}
	return float64(f.samples[metric].Value.Uint64())
}

func (f *runtimeFigures) bytes(metric int) int64 { return int64(f.samples[metric].Value.Uint64()) }

// counts are those of a runtime's histogram when it was looked at last.
type counts []uint64

// middling is how many values lie about a middle.
type middling struct {
	middle float64
	n      uint64
}

// since gives what is new in a histogram, the lesser values first.
func (c *counts) since(h *metrics.Float64Histogram) (list []middling) {
	if len(*c) != len(h.Counts) {
		*c = make(counts, len(h.Counts))
	}
	for i, n := range h.Counts {
		if before := (*c)[i]; n > before {
			list = append(list, middling{middle(h.Buckets[i], h.Buckets[i+1]), n - before})
		}
	}
	copy(*c, h.Counts) // the runtime writes to its own again
	return list
}

// middle is the value of a bucket that is nearest, in proportion, to all others.
// The runtime's are a quarter of an octave or less, so it is off by an eighth at
// most.
func middle(low, high float64) float64 {
	switch {
	case math.IsInf(high, 1):
		return low
	case low <= 0:
		return high / 2
	}
	return math.Sqrt(low * high)
}

// quantile is NaN of nothing.
func quantile(list []middling, q float64) float64 {
	total := uint64(0)
	for _, b := range list {
		total += b.n
	}
	rank := uint64(math.Ceil(q * float64(total)))
	i := slices.IndexFunc(list, func(b middling) bool {
		rank -= min(rank, b.n)
		return rank == 0
	})
	if i < 0 {
		return math.NaN()
	}
	return list[i].middle
}
