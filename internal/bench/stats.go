package bench

import (
	"math"
	"slices"
)

// confidence is the least with which an interval is to hold the median.
const confidence = 0.95

// Interval is the median of some values, and where the median of all values lies
// that there could have been.
type Interval struct {
	Median   float64 `json:"median"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Coverage float64 `json:"coverage"` // the probability, 0 to 1, that Low to High holds it
}

// summarise gives the median of values with its distribution-free interval: of the
// sorted values the kth least to the kth greatest, where k is the greatest for which
// the probability of holding the median, 1 − 2·P(B < k) with B binomial of n trials at
// one half, is at least [confidence]. With fewer than six values no k is enough: then
// it is all of them, and Coverage says what that is worth. It assumes nothing of how
// values are spread, only that they are independent. Without values all is NaN.
func summarise(values []float64) Interval {
	n := len(values)
	if n == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN(), 0}
	}
	v := slices.Sorted(slices.Values(values))
	k, coverage := 1, 1-2*below(n, 1)
	for k+1 <= n/2 && 1-2*below(n, k+1) >= confidence {
		k++
		coverage = 1 - 2*below(n, k)
	}
	return Interval{median(v), v[k-1], v[n-k], max(coverage, 0)}
}

// below is the probability that of n coins fewer than k show heads.
func below(n, k int) float64 {
	p, sum := math.Pow(0.5, float64(n)), 0.0
	for i := range k {
		sum += p
		p *= float64(n-i) / float64(i+1)
	}
	return sum
}

// median is the middle value, or the mean of the two in the middle; NaN of none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(n-1)/2] + v[n/2]) / 2
}

// slope is the median of the slopes between each two points, by Sen; NaN where there
// are not two.
func slope(x, y []float64) float64 {
	var slopes []float64
	for i := range x {
		for j := range i {
			if x[i] != x[j] {
				slopes = append(slopes, (y[i]-y[j])/(x[i]-x[j]))
			}
		}
	}
	return median(slopes)
}
