package timeline

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

// A window has all of its span and at most a slot more, wherever in its slots
// something happened.
func TestWindowsSlide(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 17 * time.Minute, 3*time.Hour + 11*time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var n float64
			var h perf.Histogram
			f := start(t, nil, func(r perf.Reporter) {
				r.Counter("n_total", "", n)
				r.Ratio("n_ratio", "", n/2, n)
				r.Histogram("n_seconds", "", &h)
			})
			defer f.stop()
			pass(wait) // an odd number of seconds: between two samples
			n = 6
			for range 6 {
				h.Observe(100 * time.Millisecond)
			}
			for age := time.Duration(0); age < 80*time.Minute; age += 2 * time.Second {
				pass(2 * time.Second) // age: since the sample that saw it first
				for _, w := range []struct{ span, slot time.Duration }{
					{20 * time.Second, step}, {time.Minute, step}, {2 * time.Minute, 30 * time.Second}, {5 * time.Minute, 30 * time.Second},
					{20 * time.Minute, 5 * time.Minute}, {time.Hour, 5 * time.Minute},
				} {
					got, samples, ok := f.Read("n_total", nil, StatCount, w.span)
					p99, _, some := f.Read("n_seconds", nil, StatP99, w.span)
					ratio, whole, known := f.Read("n_ratio", nil, StatValue, w.span)
					switch {
					case age < w.span && (got != 6 || samples != 6 || !near(p99, 0.1) || ratio != 0.5 || whole != 6):
						t.Fatalf("%v after: the window of %v has %g, P99 %g, ratio %g", age, w.span, got, p99, ratio)
					case age >= w.span+w.slot && (got != 0 || !ok || some || known):
						t.Fatalf("%v after: the window of %v still has %g", age, w.span, got)
					}
				}
			}
		})
	}
}

// What is in a window includes the newest slots, which no longer slot has taken
// up yet; a rate is over the time that was looked at.
func TestPartialSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		f := start(t, nil, func(r perf.Reporter) { r.Counter("n_total", "", n) })
		defer f.stop()
		f.expect(t, "n_total", StatRate, time.Hour, -1, 0) // no time has passed
		for i := range 3000 {
			n += 4 // 2 per second
			pass(step)
			for _, w := range Windows() {
				rate, samples, ok := f.Read("n_total", nil, StatRate, w.Span)
				most := uint64(4 * (i + 1))
				if !ok || !near(rate, 2) || samples > most || samples < min(most, uint64(2*w.Span.Seconds())) {
					t.Fatalf("after %d samples, %s: %g per second of %d, %v", i+1, w.Name, rate, samples, ok)
				}
			}
		}
	})
}

// A source that is replaced begins at zero: what it has is new. One that leaves
// takes its values with it; what it did stays until the windows are over.
func TestSourceIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, part, h, there := 10.0, 4.0, new(perf.Histogram), true
		h.Observe(time.Second)
		h.Observe(time.Minute)
		f := start(t, nil, func(r perf.Reporter) {
			if there {
				r.Counter("n_total", "", n)
				r.Ratio("n_ratio", "", part, n)
				r.Histogram("n_seconds", "", h)
				r.Gauge("n", "", n)
			}
		})
		defer f.stop()
		pass(step)
		f.expect(t, "n_total", StatCount, time.Minute, 0, 0) // before the first sample
		f.expect(t, "n_seconds", StatP50, time.Minute, -1, 0)
		n, part, h = 3, 3, new(perf.Histogram)
		h.Observe(time.Millisecond) // as many values, in other buckets
		h.Observe(time.Minute)
		pass(step)
		f.expect(t, "n_total", StatCount, time.Minute, 3, 3)
		f.expect(t, "n_ratio", StatValue, time.Minute, 1, 3)
		f.expect(t, "n_seconds", StatP50, time.Minute, 0.001, 2)
		f.expect(t, "n", StatValue, time.Minute, 3, 1)
		there = false
		pass(step)
		f.expect(t, "n", StatValue, time.Minute, -1, 0)
		f.expect(t, "n_seconds", StatCount, time.Minute, 2, 2)
		for _, g := range f.Snapshot() {
			for _, s := range g.Series {
				if s.Live || s.Value != 0 || s.Count != 0 {
					t.Errorf("%s left and has a value: %+v", g.Name, s)
				}
			}
		}
		// Another one with the same sum is another one all the same.
		there, h = true, new(perf.Histogram)
		h.Observe(30 * time.Second)
		h.Observe(30*time.Second + time.Millisecond)
		pass(step)
		f.expect(t, "n_seconds", StatCount, time.Minute, 4, 4)
		there = false
		pass(step)
		there = true // it comes back as it was: nothing is new
		pass(step)
		f.expect(t, "n_seconds", StatCount, time.Minute, 4, 4)
		there = false
		pass(70 * time.Minute)
		if got := f.Snapshot(); len(got) != 0 {
			t.Errorf("not forgotten: %+v", got)
		}
	})
}

// Series merge: counters, ratios and histograms add up, of gauges the greatest
// holds. What a figure does not have is not known.
func TestRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		a, b := new(perf.Histogram), new(perf.Histogram)
		f := start(t, nil, func(r perf.Reporter) {
			for i, h := range []*perf.Histogram{a, b} {
				label := []string{"all", "yes", "up", string(rune('a' + i))}
				by := float64(i + 1)
				r.Counter("n_total", "", n*by, label...)
				r.Ratio("n_ratio", "", n, n*by, label...)
				r.Histogram("n_seconds", "", h, label...)
				r.Gauge("n", "", -by, label...)
			}
			r.Gauge("nan", "", math.NaN())
			r.Counter("negative_total", "", -1)
			r.Ratio("infinite_ratio", "", 1, math.Inf(1))
			r.Counter("n", "", 5) // a counter where it is a gauge
			r.Gauge("twice", "", 1)
			r.Gauge("twice", "", 2)
			r.Gauge("odd", "", 7, "label without a value")
		})
		defer f.stop()
		n = 10
		for i := range 100 {
			a.Observe(time.Duration(i+1) * time.Millisecond)
			b.Observe(time.Duration(i+101) * time.Millisecond)
		}
		pass(10 * time.Second)
		up := func(v string) map[string]string { return map[string]string{"up": v} }
		for _, c := range []struct {
			figure  string
			labels  map[string]string
			stat    string
			want    float64 // less than -5: none
			samples uint64
		}{
			{"n_total", nil, StatCount, 30, 30},
			{"n_total", nil, StatRate, 3, 30},
			{"n_total", up("b"), StatCount, 20, 20},
			{"n_total", map[string]string{"up": "b", "all": "yes"}, StatCount, 20, 20},
			{"n_total", map[string]string{"up": "b", "all": "no"}, StatCount, -9, 0},
			{"n_total", up("c"), StatCount, -9, 0},
			{"n_total", map[string]string{"other": ""}, StatCount, -9, 0},
			{"n_total", nil, StatP99, -9, 30},
			{"n_total", nil, StatValue, -9, 30},
			{"n_ratio", nil, StatValue, 20.0 / 30, 30},
			{"n_ratio", up("b"), StatValue, 0.5, 20},
			{"n_ratio", nil, StatCount, -9, 30},
			{"n_seconds", nil, StatCount, 200, 200},
			{"n_seconds", nil, StatRate, 20, 200},
			{"n_seconds", nil, StatMean, 0.1005, 200},
			{"n_seconds", nil, StatP50, 0.1, 200},
			{"n_seconds", nil, StatP90, 0.18, 200},
			{"n_seconds", nil, StatP95, 0.19, 200},
			{"n_seconds", nil, StatP99, 0.198, 200},
			{"n_seconds", nil, StatMax, 0.2, 200},
			{"n_seconds", up("a"), StatMax, 0.1, 100},
			{"n_seconds", nil, "p42", -9, 200},
			{"n_seconds", nil, StatValue, -9, 200},
			{"n", nil, StatValue, -1, 2},
			{"n", up("b"), StatValue, -2, 1},
			{"n", nil, StatRate, -9, 2},
			{"nan", nil, StatValue, -9, 0},
			{"negative_total", nil, StatCount, -9, 0},
			{"infinite_ratio", nil, StatValue, -9, 0},
			{"twice", nil, StatValue, 2, 1},
			{"odd", nil, StatValue, 7, 1},
			{"nobody", nil, StatValue, -9, 0},
		} {
			got, samples, ok := f.Read(c.figure, c.labels, c.stat, time.Minute)
			if ok != (c.want > -5) || ok && !near(got, c.want) || samples != c.samples {
				t.Errorf("%s%v %s: got %g of %d, %v; want %g of %d", c.figure, c.labels, c.stat, got, samples, ok, c.want, c.samples)
			}
		}
		if got := fmt.Sprint(f.Values("n_total", "up"), f.Values("n_total", "x"), f.Values("nobody", "up")); got != "[a b] [] []" {
			t.Error(got)
		}
		if f.dropped.Load() == 0 {
			t.Error("a figure of two kinds is not counted")
		}
	})
}

// Where the process had no CPU a slot is long, and counts as long as it was.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		var stall time.Duration
		f := start(t, nil, func(r perf.Reporter) {
			r.Counter("n_total", "", n)
			time.Sleep(stall)
		})
		defer f.stop()
		n = 100
		pass(step)
		stall = 10 * time.Minute // the sample after this one comes so much later
		pass(step)
		stall, n = 0, 700
		pass(10*time.Minute + 10*time.Second)
		rate, _, ok := f.Read("n_total", nil, StatRate, time.Minute)
		if !ok || rate > 1.1 {
			t.Errorf("got %g per second, %v", rate, ok)
		}
	})
}

// Memory has a bound, however many series there are and come and go; those that
// left make room.
func TestSeriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		round := 0
		f := start(t, nil, func(r perf.Reporter) {
			r.Gauge("first", "", 1)
			for i := range MaxSeries {
				r.Gauge("n", "", 1, "name", fmt.Sprint(round*MaxSeries+i))
			}
		})
		defer f.stop()
		for range 3 {
			pass(time.Minute)
			if got := f.count.Load(); got != MaxSeries {
				t.Errorf("%d series", got)
			}
			if f.dropped.Load() == 0 {
				t.Error("none is dropped")
			}
			f.expect(t, "n", StatValue, time.Minute, 1, MaxSeries-1)
			f.expect(t, "first", StatValue, time.Minute, 1, 1)
			round++
		}
	})
}

// It is read while it samples, and tells of itself.
func TestConcurrentReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h perf.Histogram
		f := start(t, nil, func(r perf.Reporter) { r.Histogram("n_seconds", "", &h) })
		defer f.stop()
		f.reg.Register("perf", f.Timeline)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for range 200 {
					h.Observe(time.Millisecond)
					f.Read("n_seconds", nil, StatP99, time.Hour)
					f.Snapshot(Windows()...)
					f.History()
					time.Sleep(step)
				}
			})
		}
		readers.Wait()
		pass(step)
		f.expect(t, "n_seconds", StatCount, time.Hour, 800, 800)
		f.expect(t, "timeline_series", StatValue, time.Minute, 4, 1)
		if _, samples, ok := f.Read("timeline_sample_duration_seconds", nil, StatMax, time.Minute); !ok || samples < 29 {
			t.Errorf("%d samples, %v", samples, ok)
		}
	})
}

func TestParseWindow(t *testing.T) {
	w, err := ParseWindow("5m")
	if err != nil || w != Windows()[1] {
		t.Error(w, err)
	}
	if _, err := ParseWindow("2m"); err == nil || err.Error() != `window "2m" is none of 1m, 5m, 1h` {
		t.Error(err)
	}
}
