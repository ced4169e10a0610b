package perf

import (
	"cmp"
	"math"
	"slices"
)

// Bucket counts the values of one of a Histogram's buckets, whose upper bound is
// 2^(Index/2^Schema).
type Bucket struct {
	Index int16
	Count uint64
}

// Distribution is what a Histogram has counted, or some of it. Its size depends
// on how far its values are spread and not on how many there are. It is not
// modified.
type Distribution struct {
	Count   uint64
	Sum     float64
	Zero    uint64   // values at or below ZeroThreshold
	Buckets []Bucket // by Index, without empty ones
}

// Distribution returns what h has counted so far. Values that come meanwhile are
// in it or not.
func (h *Histogram) Distribution() Distribution {
	d := Distribution{Sum: h.sum(), Zero: h.zero.Load()}
	d.Count = d.Zero
	n := 0
	for o := range h.octaves {
		if h.octaves[o].Load() != nil {
			n += steps
		}
	}
	if n == 0 {
		return d
	}
	d.Buckets = make([]Bucket, 0, n)
	for o := range h.octaves {
		p := h.octaves[o].Load()
		if p == nil {
			continue
		}
		for i := range p {
			if c := p[i].Load(); c > 0 {
				d.Buckets = append(d.Buckets, Bucket{int16((lowest+o)<<Schema + i + 1), c})
				d.Count += c
			}
		}
	}
	return d
}

// Since returns what came after an earlier Distribution of the same Histogram.
func (d Distribution) Since(before Distribution) Distribution {
	out := Distribution{Count: d.Count - before.Count, Sum: d.Sum - before.Sum, Zero: d.Zero - before.Zero}
	if out.Count == 0 {
		return out
	}
	j := 0
	for _, b := range d.Buckets {
		for j < len(before.Buckets) && before.Buckets[j].Index < b.Index {
			j++
		}
		if j < len(before.Buckets) && before.Buckets[j].Index == b.Index {
			b.Count -= before.Buckets[j].Count
		}
		if b.Count > 0 {
			out.Buckets = append(out.Buckets, b)
		}
	}
	return out
}

// Merge returns the values of both.
func (d Distribution) Merge(other Distribution) Distribution {
	if other.Count == 0 {
		return d
	}
	if d.Count == 0 {
		return other
	}
	out := Distribution{
		Count: d.Count + other.Count, Sum: d.Sum + other.Sum, Zero: d.Zero + other.Zero,
		Buckets: make([]Bucket, 0, max(len(d.Buckets), len(other.Buckets))+8),
	}
	a, b := d.Buckets, other.Buckets
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0].Index, b[0].Index); {
		case c < 0:
			out.Buckets, a = append(out.Buckets, a[0]), a[1:]
		case c > 0:
			out.Buckets, b = append(out.Buckets, b[0]), b[1:]
		default:
			out.Buckets = append(out.Buckets, Bucket{a[0].Index, a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	out.Buckets = append(append(out.Buckets, a...), b...)
	return out
}

// Mean is the arithmetic mean, NaN of nothing.
func (d Distribution) Mean() float64 { return d.Sum / float64(d.Count) }

// Quantile is the least value that a part q of all values does not exceed, within
// MaxError of the exact one; q is in [0, 1]. It is NaN of nothing.
func (d Distribution) Quantile(q float64) float64 {
	if d.Count == 0 {
		return math.NaN()
	}
	rank := max(uint64(math.Ceil(q*float64(d.Count))), 1)
	seen := d.Zero
	if rank <= seen {
		return 0
	}
	for _, b := range d.Buckets {
		if seen += b.Count; rank <= seen {
			return middle(b.Index)
		}
	}
	return d.Max() // values that came while they were counted
}

// Max is the greatest value, within MaxError. It is NaN of nothing.
func (d Distribution) Max() float64 {
	switch {
	case d.Count == 0:
		return math.NaN()
	case len(d.Buckets) == 0:
		return 0
	}
	return middle(d.Buckets[len(d.Buckets)-1].Index)
}

// middle is the value of a bucket that is nearest, in proportion, to all others.
func middle(index int16) float64 { return math.Exp2((float64(index) - 0.5) / steps) }

// Below counts the values that do not exceed each of some bounds, which rise. A
// bound is taken for the bucket bound next to it.
func (d Distribution) Below(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	for i, bound := range bounds {
		last := int16(math.Round(math.Log2(bound) * steps))
		n, _ := slices.BinarySearchFunc(d.Buckets, last, func(b Bucket, i int16) int {
			if b.Index <= i {
				return -1
			}
			return 1
		})
		out[i] = d.Zero
		for _, b := range d.Buckets[:n] {
			out[i] += b.Count
		}
	}
	return out
}
