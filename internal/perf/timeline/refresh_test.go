package timeline

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// What ended just before is known after Refresh, and counted once.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		var h perf.Histogram
		f := start(t, nil, func(r perf.Reporter) {
			r.Counter("n_total", "", n)
			r.Ratio("n_ratio", "", n/2, n)
			r.Histogram("n_seconds", "", &h)
		})
		defer f.stop()
		for i := range 5 {
			pass(300 * time.Millisecond)
			n += 2
			h.Observe(time.Millisecond)
			h.Observe(time.Second)
			f.Refresh()
			want := uint64(2 * (i + 1))
			f.expect(t, "n_total", StatCount, time.Minute, float64(want), want)
			f.expect(t, "n_ratio", StatValue, time.Minute, 0.5, want)
			f.expect(t, "n_seconds", StatCount, time.Minute, float64(want), want)
			f.expect(t, "n_seconds", StatMean, time.Hour, 0.5005, want)
			rate, _, _ := f.Read("n_total", nil, StatRate, time.Hour)
			if d := 0.3 * float64(i+1); !near(rate, float64(want)/d) {
				t.Errorf("%g per second in %g s", rate, d)
			}
		}
		pass(time.Minute)
		f.Refresh()
		f.expect(t, "n_total", StatCount, time.Minute, 10, 10)
		pass(5 * time.Second)
		f.expect(t, "n_total", StatCount, time.Minute, 0, 0)
		f.expect(t, "n_seconds", StatCount, time.Hour, 10, 10)
	})
}

// However often somebody refreshes, the windows at a tick are those of a timeline
// that nobody does.
func TestRefreshChangesNoWindow(t *testing.T) {
	testkit.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		var n float64
		var h perf.Histogram
		figures := func(r perf.Reporter) {
			r.Counter("n_total", "", n)
			r.Ratio("n_ratio", "", n/2, n)
			r.Histogram("n_seconds", "", &h)
		}
		f, g := start(t, nil, figures), start(t, nil, figures)
		defer f.stop()
		defer g.stop()
		for range 4000 {
			for range r.IntN(3) {
				pass(500 * time.Millisecond)
				n++
				h.Observe(time.Duration(r.IntN(1e9)))
				f.Refresh()
			}
			pass(time.Until(time.Now().Truncate(step).Add(step)))
			got, want := f.Snapshot(Windows()...), g.Snapshot(Windows()...)
			for _, figures := range [][]Figure{got, want} {
				for i := range figures[2].Series {
					figures[2].Series[i].Sum = 0 // added up in another order
					for j := range figures[2].Series[i].Windows {
						figures[2].Series[i].Windows[j].Distribution.Sum = 0
					}
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v\nwant %+v", got, want)
			}
		}
	})
}

// Any number of readers at once cost two samples.
func TestRefreshIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		slow := time.Duration(0)
		f := start(t, nil, func(r perf.Reporter) {
			r.Counter("n_total", "", n)
			time.Sleep(slow)
		})
		defer f.stop()
		n, slow = 7, 100*time.Millisecond
		passed.Add(1)
		before := f.begun.Load()
		var readers sync.WaitGroup
		for i := range 100 {
			readers.Go(func() {
				time.Sleep(time.Duration(i+1) * time.Millisecond / 2)
				f.Refresh()
				f.expect(t, "n_total", StatCount, time.Minute, 7, 7)
			})
		}
		readers.Wait()
		if made := f.begun.Load() - before; made > 2 {
			t.Errorf("%d samples", made)
		}
	})
}

// What was counted before Start is in no window, also where Run comes later; a
// timeline that was not started has nothing to refresh.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 5.0
		reg := perf.New()
		reg.Register("test", &source{func(r perf.Reporter) { r.Counter("n_total", "", n) }})
		line, err := New(reg, Options{Config: Default()})
		if err != nil {
			t.Fatal(err)
		}
		if line.Refresh(); len(line.Snapshot()) != 0 {
			t.Error("it sampled before it was started")
		}
		line.Start()
		n = 8
		time.Sleep(time.Second)
		f := run(line)
		defer f.stop()
		f.Refresh()
		f.expect(t, "n_total", StatCount, time.Minute, 3, 3)
	})
}

// Whoever asks right after the start waits for what an earlier process left, but
// not for ever.
func TestHistoryWaitsForItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := start(t, in(dir), busy)
		pass(time.Minute)
		f.stop()
		o := Options{Config: Default()}
		in(dir)(&o)
		line, err := New(perf.New(), o)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, points := line.History(); len(points) != 0 || time.Since(begun) != restoreWait {
			t.Errorf("%d points after %v", len(points), time.Since(begun))
		}
		var asked sync.WaitGroup
		asked.Go(func() {
			if _, points := line.History(); len(points) != 1 {
				t.Errorf("%d points", len(points))
			}
		})
		synctest.Wait()
		g := run(line)
		asked.Wait()
		g.stop()
	})
}
