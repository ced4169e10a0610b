package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Interval
	}{
		{[]float64{5}, Interval{5, 5, 5, 0}},
		{[]float64{3, 1, 2}, Interval{2, 1, 3, 0.75}},
		{[]float64{1, 2, 3, 4, 5}, Interval{3, 1, 5, 0.9375}},
		{[]float64{6, 5, 4, 3, 2, 1}, Interval{3.5, 1, 6, 0.96875}},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8}, Interval{4.5, 1, 8, 0.9921875}},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, Interval{5, 2, 8, 1 - 2*10.0/512}},
	} {
		if got := summarise(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
	if got := summarise(nil); !math.IsNaN(got.Median) || got.Coverage != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

// The interval holds the median as often as it says, whatever the distribution.
func TestCoverage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{3, 6, 12, 40} {
		held, coverage := 0, 0.0
		const runs = 4000
		for range runs {
			var v []float64
			for range n {
				v = append(v, random.ExpFloat64())
			}
			i := summarise(v)
			coverage = i.Coverage
			if i.Low <= math.Ln2 && math.Ln2 <= i.High {
				held++
			}
		}
		if got := float64(held) / runs; math.Abs(got-coverage) > 0.02 {
			t.Errorf("%d values: held in %.3f of the runs, and said %.3f", n, got, coverage)
		}
		if n >= 6 && coverage < confidence {
			t.Errorf("%d values: coverage %v", n, coverage)
		}
	}
}

func TestSlope(t *testing.T) {
	x := []float64{0, 1, 2, 3, 4}
	if got := slope(x, []float64{1, 3, 5, 7, 900}); got != 2 {
		t.Errorf("%v", got)
	}
	if got := slope(x[:1], x[:1]); !math.IsNaN(got) {
		t.Errorf("of one point: %v", got)
	}
}

func TestSpread(t *testing.T) {
	for n := range 20 {
		sizes := spread(n+1, maxBurst)
		sum := 0
		for _, s := range sizes {
			sum += s
		}
		if mean := sum / len(sizes); len(sizes) != n+1 || mean < 48 || mean > 50 || slices.Max(sizes) > maxBurst || sizes[0] < 1 {
			t.Errorf("%v", sizes)
		}
	}
}
