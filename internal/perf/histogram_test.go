package perf

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// hostile are sets of values, in seconds, at which histograms err.
func hostile() map[string][]float64 {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int, f func() float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = f()
		}
		return out
	}
	sets := map[string][]float64{
		"one":         {0.1},
		"two":         {1e-5, 100},
		"same":        slices.Repeat([]float64{0.25}, 1000),
		"uniform":     draw(10000, r.Float64),
		"exponential": draw(10000, func() float64 { return r.ExpFloat64() / 100 }),
		"lognormal":   draw(10000, func() float64 { return math.Exp(2*r.NormFloat64() - 4) }),
		"pareto":      draw(10000, func() float64 { return 1e-4 / math.Pow(r.Float64(), 2) }),
		"modes":       draw(10000, func() float64 { return []float64{2e-5, 3, 4000}[r.IntN(3)] * (1 + r.Float64()/1000) }),
		"decades":     draw(20, func() float64 { return math.Pow(10, float64(r.IntN(8)-5)) }),
	}
	var bounds []float64
	for i := range 20 * steps {
		b := upper(i - 12*steps)
		bounds = append(bounds, math.Nextafter(b, 0), b, math.Nextafter(b, 1e9))
	}
	sets["bounds"] = bounds
	for _, set := range sets {
		for i := range set {
			set[i] = max(set[i], 2*ZeroThreshold)
		}
	}
	return sets
}

func fill(values []float64) *Histogram {
	h := new(Histogram)
	for _, v := range values {
		h.Observe(time.Duration(v * 1e9))
	}
	return h
}

// Every percentile is as near to the exact one as MaxError says, of one
// histogram and of two that are merged.
func TestQuantile(t *testing.T) {
	for name, values := range hostile() {
		half := len(values) / 2
		whole := fill(values).Distribution()
		merged := fill(values[:half]).Distribution().Merge(fill(values[half:]).Distribution())
		exact := make([]float64, len(values))
		for i, v := range values {
			exact[i] = time.Duration(v * 1e9).Seconds()
		}
		slices.Sort(exact)
		for _, d := range []Distribution{whole, merged} {
			if d.Count != uint64(len(values)) {
				t.Errorf("%s: counted %d of %d", name, d.Count, len(values))
			}
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
				want := exact[max(int(math.Ceil(q*float64(len(exact)))), 1)-1]
				if got := d.Quantile(q); math.Abs(got-want) > want*MaxError*1.0001 { // the last figure is rounded
					t.Errorf("%s: P%g is %g, want %g: off by %.2f %%", name, 100*q, got, want, 100*(got/want-1))
				}
			}
			if got, want := d.Max(), exact[len(exact)-1]; math.Abs(got-want) > want*MaxError*1.0001 {
				t.Errorf("%s: the greatest is %g, want %g", name, got, want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	h := new(Histogram)
	for _, d := range []time.Duration{-time.Second, 0, 1, 900 * time.Nanosecond, 1 << 62} {
		h.Observe(d)
	}
	h.ObserveCount(-1)
	h.ObserveCount(1500)
	h.ObserveCount(math.MaxInt64)
	d := h.Distribution()
	if d.Count != 8 || d.Zero != 5 || len(d.Buckets) != 2 || d.Max() < 1e6 {
		t.Errorf("counted as %+v", d)
	}
	if d := (Distribution{}); !math.IsNaN(d.Quantile(0.5)) || !math.IsNaN(d.Mean()) || !math.IsNaN(d.Max()) {
		t.Error("nothing has a quantile")
	}
}

// What came between two looks is what came after the first, however it lies.
func TestSince(t *testing.T) {
	for name, values := range hostile() {
		h := new(Histogram)
		third := len(values) / 3
		for _, v := range values[:third] {
			h.Observe(time.Duration(v * 1e9))
		}
		before := h.Distribution()
		for _, v := range values[third:] {
			h.Observe(time.Duration(v * 1e9))
		}
		got, want := h.Distribution().Since(before), fill(values[third:]).Distribution()
		if got.Count != want.Count || !slices.Equal(got.Buckets, want.Buckets) || math.Abs(got.Sum-want.Sum) > 1e-3*want.Sum {
			t.Errorf("%s: got %d values, want %d", name, got.Count, want.Count)
		}
	}
}

func TestConcurrent(t *testing.T) {
	var h Histogram
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				h.ObserveTraced(time.Duration(i)*time.Microsecond, TraceID{1}, time.Now())
			}
		})
	}
	wg.Wait()
	d := h.Distribution()
	if d.Count != 8000 || math.Abs(d.Sum-8*0.4995) > 1e-9 {
		t.Errorf("counted %d values of %g s in all", d.Count, d.Sum)
	}
	if n := len(h.Exemplars()); n < 5 {
		t.Errorf("%d exemplars", n)
	}
}

func TestObserveAllocs(t *testing.T) {
	var h Histogram
	at := time.Now()
	if n := testing.AllocsPerRun(100, func() { h.ObserveTraced(time.Millisecond, TraceID{1}, at) }); n != 0 {
		t.Errorf("Observe allocates %v times", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	d := time.Microsecond
	for b.Loop() {
		d += d >> 5
		h.Observe(d)
		if d > time.Minute {
			d = time.Microsecond
		}
	}
}
