package perf

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a Histogram's buckets in seconds: half
// decades from 10 µs, since what is measured reaches from a hand-off inside
// the process to a reply of some minutes.
var bounds = [...]float64{
	10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10, 25, 50, 100, 250, 500,
}

// Histogram counts durations in fixed buckets. The zero Histogram is ready
// for use, by any number of goroutines, without locks or allocation.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// Observe counts d once. A negative duration counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	s := d.Seconds()
	// Binary search by hand: sort.SearchFloat64s costs a closure call a step.
	lo, hi := 0, len(bounds)
	for lo < hi {
		mid := (lo + hi) / 2
		if bounds[mid] < s {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	h.buckets[lo].Add(1)
	h.sum.Add(int64(d))
}

// Snapshot returns the number of observations, their sum in seconds, and the
// cumulative count below each upper bound in seconds.
func (h *Histogram) Snapshot() (count uint64, sum float64, below map[float64]uint64) {
	below = make(map[float64]uint64, len(bounds))
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(bounds) {
			below[bounds[i]] = count
		}
	}
	return count, float64(h.sum.Load()) / 1e9, below
}
