package leak

import (
	"flag"

	"math"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// days is how long each load is simulated.
var days = flag.Int("leak.days", 7, "days of each load that are simulated")

const day = 24 * time.Hour

// reloads has configurations swapped every so often, in seconds.
func (w *world) reloads(every float64) {
	next := every
	w.step = func(w *world) {
		w.extra *= 0.97 // the old chain's streams end
		if w.now > next {
			next = w.now + every*(0.5+w.Float64())
			w.extra += 12
			w.base += 100e3 * w.NormFloat64()
			w.pool = 0
		}
	}
}

func TestNoFalseAlarms(t *testing.T) {
	testkit.Simulation(t)
	for name, build := range map[string]func(seed uint64) *world{
		"idle":        func(s uint64) *world { return newWorld(s, steadily(0)) },
		"little":      func(s uint64) *world { return newWorld(s, steadily(0.3)) },
		"steady":      func(s uint64) *world { return newWorld(s, steadily(100)) },
		"much":        func(s uint64) *world { return newWorld(s, steadily(1500)) },
		"daily":       func(s uint64) *world { return newWorld(s, daily(100)) },
		"daily, much": func(s uint64) *world { return newWorld(s, daily(1000)) },
		"bursts":      func(s uint64) *world { return newWorld(s, bursty(20)) },
		"reloads":     func(s uint64) *world { w := newWorld(s, daily(50)); w.reloads(600); return w },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			n := build(1).alarms(newDetector(), time.Duration(*days)*day)
			t.Log(time.Since(begun), n)
			if n != ([Quantities]int{}) {
				t.Errorf("in %d days: %v", *days, n)
			}
		})
	}
	// What happens once after each start: a cache fills for hours, pools and tables fill.
	for name, build := range map[string]func(seed uint64) *world{
		"cache fills": func(s uint64) *world {
			w := newWorld(s, steadily(100))
			w.filling, w.full = 400, 1<<30
			return w
		},
		"cache fills fast": func(s uint64) *world {
			w := newWorld(s, daily(200))
			w.filling, w.full = 20e3, 512<<20
			return w
		},
		"warm-up": func(s uint64) *world {
			w := newWorld(s, steadily(100))
			w.step = func(w *world) {
				w.base = 12<<20 + 3<<20*(1-math.Exp(-w.now/60))
				w.extra = 20 * (1 - math.Exp(-w.now/60))
			}
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for s := range *days * 2 {
				if n := build(uint64(s)).alarms(newDetector(), 12*time.Hour); n != ([Quantities]int{}) {
					t.Errorf("start %d: %v", s, n)
				}
			}
		})
	}
}

// TestLeaksAreFound has 1 % of 100 requests a second leak, in a process that has run for
// an hour, and says how long it takes to find.
func TestLeaksAreFound(t *testing.T) {
	testkit.Simulation(t)
	const tenMinutes = 600
	for name, c := range map[string]struct {
		q      Quantity
		leaks  Reading
		within float64 // seconds
	}{
		"goroutines":           {Goroutines, Reading{Goroutines: 1}, tenMinutes},
		"files":                {Files, Reading{Files: 1}, tenMinutes},
		"objects":              {Objects, Reading{Objects: 1}, tenMinutes},
		"client connections":   {Clients, Reading{Clients: 1}, tenMinutes},
		"upstream connections": {Upstreams, Reading{Upstreams: 1}, tenMinutes},
		// Of the heap alone: what collections find varies by half a megabyte.
		"20 KiB": {Heap, Reading{Heap: 20 << 10}, 12 * 60},
		"10 KiB": {Heap, Reading{Heap: 10 << 10}, 30 * 60},
		"2 KiB":  {Heap, Reading{Heap: 2 << 10}, 3 * 3600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late, worst, sum := 0, 0.0, 0.0
			const worlds = 100
			for s := range worlds {
				w := newWorld(uint64(s), steadily(100))
				w.leaks, w.part, w.from = c.leaks, 0.01, 3600
				took := w.until(newDetector(), c.q)
				if took > c.within {
					late++
				}
				worst, sum = max(worst, took), sum+took
			}
			t.Logf("%d of %d later than %.0f s; mean %.0f s, worst %.0f s", late, worlds, c.within, sum/worlds, worst)
			if late > 0 {
				t.Errorf("late")
			}
		})
	}
}

// until is how many seconds it takes from the first leak until it is found.
func (w *world) until(d *detector, q Quantity) float64 {
	for {
		r := w.read()
		d.observe(time.Duration(w.now*1e9), &r, &w.fresh)
		if took := w.now - w.from; d.growth[q].Verdict == Leak || took > 3*3600 {
			return took
		}
	}
}
