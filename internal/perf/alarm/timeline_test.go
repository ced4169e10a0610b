package alarm_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
	"sluice/internal/perf/alarm"
	"sluice/internal/perf/timeline"
)

// upstream is a source with the figures of one upstream.
type upstream struct {
	mu            sync.Mutex
	failed, total float64
}

func (u *upstream) answer(failed, total float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed, u.total = u.failed+failed, u.total+total
}

func (u *upstream) Figures(r perf.Reporter) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r.Ratio("route_failure_ratio", "Errors.", u.failed, u.total, "upstream", "east")
	r.Gauge("process_memory_used_ratio", "Memory.", 0.95)
}

// TestWithTimeline has the built-in rules read a real timeline, of a registry
// that has the alarms themselves as a source.
func TestWithTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, up := perf.New(), &upstream{}
		reg.Register("upstream", up)
		line, err := timeline.New(reg, timeline.Options{Config: timeline.Default()})
		if err != nil {
			t.Fatal(err)
		}
		set := alarm.New(alarm.Default(), alarm.Options{Reader: line, Logger: slog.New(slog.DiscardHandler)})
		reg.Register("alarms", set)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { line.Run(ctx) })
		done.Go(func() { set.Run(ctx) })

		states := func() (list []string) {
			for _, s := range set.Status() {
				list = append(list, s.Name+" "+s.Labels["upstream"]+" "+s.State)
			}
			return list
		}
		expect := func(want ...string) {
			t.Helper()
			got := states()
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("got %q, want %q", got, want)
					return
				}
			}
		}
		time.Sleep(3 * time.Second)
		up.answer(10, 100)
		time.Sleep(time.Minute)
		expect("gateway_overhead  inactive", "leak  inactive", "memory  firing", "upstream_errors east firing")
		up.answer(0, 1000)
		time.Sleep(2 * time.Minute)
		expect("gateway_overhead  inactive", "leak  inactive", "memory  firing", "upstream_errors east inactive")
		cancel()
		done.Wait()
	})
}
