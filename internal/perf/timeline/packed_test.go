package timeline

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"sluice/internal/perf"
)

// Packing loses nothing, and merging what was packed is merging.
func TestPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := new(merger)
	for n := range 300 {
		var want perf.Distribution
		for range r.IntN(4) {
			var h perf.Histogram
			for range r.IntN(n + 1) {
				switch r.IntN(3) {
				case 0:
					h.Observe(0)
				case 1:
					h.Observe(time.Duration(r.ExpFloat64() * 1e8))
				default:
					h.ObserveCount(1 << r.IntN(30)) // to beyond the greatest bucket
				}
			}
			d := h.Distribution()
			want = want.Merge(d)
			p, _ := pack(d, nil)
			m.add(p)
		}
		got := m.drain()
		if !near(got.Sum, want.Sum) {
			t.Fatalf("sum %g, want %g", got.Sum, want.Sum)
		}
		got.Sum = want.Sum
		if len(got.Buckets)+len(want.Buckets) > 0 && !reflect.DeepEqual(got.Buckets, want.Buckets) || got.Count != want.Count || got.Zero != want.Zero {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
	if *m != (merger{}) {
		t.Error("something is left")
	}
}
