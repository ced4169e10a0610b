package timeline

import (
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

// Each window forgets what is longer ago than its span and a slot, and no sooner
// than its span.
func TestWindowsSlide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n float64
		var h perf.Histogram
		f := start(t, nil, func(r perf.Reporter) {
			r.Counter("n_total", "", n)
			r.Ratio("n_ratio", "", n/2, n)
			r.Histogram("n_seconds", "", &h)
		})
		defer f.stop()
		pass(time.Second) // what happens, happens between two samples
		pass(17 * time.Minute)
		n = 6
		for range 6 {
			h.Observe(100 * time.Millisecond)
		}
		for at := time.Second; at < 80*time.Minute; at += 2 * time.Second {
			pass(2 * time.Second)
			for _, w := range []struct{ span, slot time.Duration }{
				{20 * time.Second, step}, {time.Minute, step}, {2 * time.Minute, 30 * time.Second}, {5 * time.Minute, 30 * time.Second},
				{20 * time.Minute, 5 * time.Minute}, {time.Hour, 5 * time.Minute},
			} {
				got, samples, ok := f.Read("n_total", nil, StatCount, w.span)
				p99, _, some := f.Read("n_seconds", nil, StatP99, w.span)
				ratio, whole, known := f.Read("n_ratio", nil, StatValue, w.span)
				age := at + 1*time.Second // of what happened, at most
				switch {
				case age <= w.span-step && (got != 6 || samples != 6 || !near(p99, 0.1) || ratio != 0.5 || whole != 6):
					t.Fatalf("%v after: the window of %v has %g, P99 %g, ratio %g", at, w.span, got, p99, ratio)
				case age > w.span+w.slot+step && (got != 0 || !ok || some || known):
					t.Fatalf("%v after: the window of %v still has %g", at, w.span, got)
				}
			}
		}
	})
}
