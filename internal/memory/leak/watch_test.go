package leak

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(module()+"internal/memory/leak.neverWoken"))
}

// reported keeps figures by name and label.
type reported map[string]float64

func (r reported) Gauge(name, _ string, v float64, labels ...string) {
	r[strings.Join(append([]string{name}, labels[min(1, len(labels)):]...), " ")] = v
}
func (r reported) Counter(name, _ string, v float64, labels ...string) {
	r.Gauge(name, "", v, labels...)
}
func (r reported) Ratio(string, string, float64, float64, ...string)    {}
func (r reported) Histogram(string, string, *perf.Histogram, ...string) {}

func figuresOf(w *Watch) reported {
	r := reported{}
	w.Figures(r)
	return r
}

// TestWatch has goroutines leak and be found, named, told of, and forgotten when they are
// gone.
func TestWatch(t *testing.T) {
	var log testkit.Buffer
	var leaked atomic.Int64
	requests := uint64(0)
	w := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Read: func(r *Reading) {
		*r = Reading{Requests: requests, Goroutines: 50 + leaked.Load(), Files: 20, Heap: 5 << 20}
	}})
	condition := func() (c perf.Condition) {
		w.Examine(func(found perf.Condition) { c = found })
		return c
	}
	now := time.Duration(0)
	c := make(chan struct{})
	step := func(n int64) {
		now += Period
		requests += 1000
		for range n {
			go waitHere(c)
		}
		leaked.Add(n)
		w.step(now)
	}
	for range 60 {
		step(0)
	}
	if got := condition(); got.Component != "process/leaks" || got.State != perf.Healthy || got.Error != "" {
		t.Errorf("%+v", got)
	}
	if f := figuresOf(w); f["leak_verdict goroutines"] != 0 || f["leak_profiles_total"] != 1 {
		t.Errorf("%v", f)
	}
	for range 60 {
		step(10)
	}
	got := condition()
	if got.State != perf.Degraded || !strings.Contains(got.Error, "goroutines: 60.0 a minute, 10.0 per 1,000 requests") ||
		!strings.Contains(got.Error, "goroutines at "+module()+"internal/memory/leak.waitHere (profile_test.go:") || got.Advice == "" {
		t.Errorf("%+v", got)
	}
	f := figuresOf(w)
	if f["leak_verdict goroutines"] != 2 || f["leak_verdict files"] != 0 || f["leaks_found_total goroutines"] != 1 ||
		f["leak_growth_per_minute goroutines"] < 59 || f["leak_growth_per_thousand_requests goroutines"] > 10.1 {
		t.Errorf("%v", f)
	}
	if n := strings.Count(log.String(), "something leaks"); n != 1 || !strings.Contains(log.String(), "quantity=goroutines") {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	close(c)
	for range 120 {
		step(0)
	}
	if got := condition(); got.State != perf.Healthy || !strings.Contains(log.String(), "a leak has ended") {
		t.Errorf("%+v\n%s", got, log.String())
	}
}

// Run reads every ten seconds and after collections, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		w := New(Options{Logger: slog.New(slog.DiscardHandler), Read: func(*Reading) { reads++ }})
		w.ended.Store(true) // no collection of the test's reads
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		w.Run(ctx)
		if reads != 3 {
			t.Errorf("%d reads", reads)
		}
	})
}

func TestReadsAfterCollections(t *testing.T) {
	var reads atomic.Int64
	w := New(Options{Logger: slog.New(slog.DiscardHandler), Read: func(r *Reading) {
		reads.Add(1)
		r.Heap, r.InFlight = 1000, 3
	}})
	w.hook()
	defer w.ended.Store(true)
	testkit.Until(t, "two collections are seen", func() bool {
		runtime.GC()
		return reads.Load() >= 2
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.since.mean(); p.value != 1000 || p.load[perRequest] != 3 {
		t.Errorf("%+v", p)
	}
}

func BenchmarkObserve(b *testing.B) {
	w := newWorld(1, steadily(100))
	d := newDetector()
	for b.Loop() {
		r := w.read()
		d.observe(time.Duration(w.now*1e9), &r, &w.fresh)
	}
}

// Other sites are told of where those of the quantity itself do not name any code.
func TestSitesInWords(t *testing.T) {
	sites := []Site{{Kind: "goroutines", Function: "f", File: "f.go", Line: 3, Grew: 7}, {Kind: "heap_bytes", Function: "g", File: "g.go", Line: 4, Inner: "bytes.Clone", Grew: 2048}}
	for q, want := range map[Quantity]string{
		Goroutines: "+7 goroutines at f (f.go:3)",
		Heap:       "+2 KiB at g (g.go:4) in bytes.Clone",
		Files:      "+7 goroutines at f (f.go:3); +2 KiB at g (g.go:4) in bytes.Clone",
		Clients:    "+7 goroutines at f (f.go:3); +2 KiB at g (g.go:4) in bytes.Clone",
	} {
		if got := say(q, sites); got != want {
			t.Errorf("%v: %s", q, got)
		}
	}
	if got := say(Heap, nil); got == "" {
		t.Error("without sites nothing is said")
	}
}
