package perf

import (
	"math"
	"sync/atomic"
	"time"
)

// A Histogram's buckets are those of Prometheus' native histograms and of
// OpenTelemetry's exponential ones: bucket i holds the values in
// (2^((i-1)/2^Schema), 2^(i/2^Schema)].
const (
	// Schema is the resolution: so many buckets, as a power of two, to an octave.
	Schema = 5
	steps  = 1 << Schema
	// Values at or below 2^lowest, about a microsecond, are counted as zero; those
	// above 2^highest, about 12 days or 1 M tokens, as 2^highest.
	lowest, highest = -20, 20
	octaves         = highest - lowest

	// MaxError bounds how far a quantile, or the greatest value, is from the exact
	// one, relative to that: half a bucket, 2^(1/64)-1.
	MaxError = 0.01089
	// ZeroThreshold is the value up to which there is no telling values apart.
	ZeroThreshold = 1.0 / (1 << -lowest)
)

// Histogram counts values: durations in seconds, or whole numbers. The zero
// Histogram is ready for use, by any number of goroutines, without locks. It
// grows with the octaves that its values lie in, 256 bytes for each, and never
// above 11 KiB.
type Histogram struct {
	octaves [octaves]atomic.Pointer[[steps]atomic.Uint64]
	zero    atomic.Uint64
	nanos   atomic.Int64 // the sum of the durations
	whole   atomic.Int64 // the sum of the whole numbers

	exemplars atomic.Pointer[exemplars] // nil until something traced came
}

// Observe counts d once. A negative duration counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.bucket(float64(d) / 1e9).Add(1)
	h.nanos.Add(int64(d))
}

// Since reports whether h may have observed anything after a Distribution of it was
// taken. It costs less than to take another one.
func (h *Histogram) Since(d *Distribution) bool { return h.sum() != d.Sum || h.zero.Load() != d.Zero }

func (h *Histogram) sum() float64 { return float64(h.nanos.Load())/1e9 + float64(h.whole.Load()) }

// ObserveTraced counts d, which ended at a time, and keeps the trace it belongs to
// as an example of such durations.
func (h *Histogram) ObserveTraced(d time.Duration, id TraceID, at time.Time) {
	h.Observe(d)
	if id == (TraceID{}) {
		return
	}
	e := h.exemplars.Load()
	if e == nil {
		h.exemplars.CompareAndSwap(nil, new(exemplars))
		e = h.exemplars.Load()
	}
	e.keep(max(d, 0).Seconds(), id, at)
}

// ObserveCount counts a whole number, such as one of tokens. A negative one
// counts as zero.
func (h *Histogram) ObserveCount(n int64) {
	n = max(n, 0)
	h.bucket(float64(n)).Add(1)
	h.whole.Add(n)
}

// bucket finds the counter of a value that is not negative.
func (h *Histogram) bucket(v float64) *atomic.Uint64 {
	if v <= ZeroThreshold {
		return &h.zero
	}
	i := min(index(v), highest<<Schema) - lowest<<Schema - 1
	p := h.octaves[i>>Schema].Load()
	if p == nil {
		h.octaves[i>>Schema].CompareAndSwap(nil, new([steps]atomic.Uint64))
		p = h.octaves[i>>Schema].Load()
	}
	return &p[i&(steps-1)]
}

// index is the number of the bucket of a positive, normal value.
func index(v float64) int {
	bits := math.Float64bits(v)
	exponent := int(bits>>52) - 1023
	// The fraction's first bits give the bucket, or the one below it.
	mantissa := bits & (1<<52 - 1)
	i := int(guesses[mantissa>>(52-guessBits)])
	for mantissa > uppers[i] {
		i++
	}
	return exponent<<Schema + i
}

const guessBits = 7

// uppers[i] is the fraction, as in a float64, of the upper bound 2^(i/2^Schema)
// of an octave's bucket i, where 0 is the octave's own lower bound. guesses gives
// for a fraction's first bits the first bucket that such a fraction may lie in.
var uppers, guesses = boundaries() //nolint:gochecknoglobals // tables in which nobody writes

func boundaries() (uppers [steps + 1]uint64, guesses [1 << guessBits]uint8) {
	for i := range steps {
		uppers[i] = math.Float64bits(math.Exp2(float64(i)/steps)) & (1<<52 - 1)
	}
	uppers[steps] = math.MaxUint64
	i := 0
	for g := range guesses {
		for uint64(g)<<(52-guessBits) > uppers[i] {
			i++
		}
		guesses[g] = uint8(i)
	}
	return uppers, guesses
}

// upper is the upper bound of a bucket.
func upper(index int) float64 { return math.Exp2(float64(index) / steps) }
