package leak

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
)

// Options are what a Watch needs.
type Options struct {
	// Read fills in a Reading. It is called every Period and after each collection of
	// garbage, from any goroutine, and takes some microseconds.
	Read   func(*Reading)
	Logger *slog.Logger
}

// Watch looks for leaks of the process. It is a perf.Source and perf.Examined.
type Watch struct {
	opts Options

	ended atomic.Bool // of Run

	mu       sync.Mutex
	since    collections // since the last step
	growth   [Quantities]Growth
	sites    []Site
	found    [Quantities]uint64 // leaks
	profiles uint64

	// Of Run alone.
	detector      *detector
	older, newer  profile
	renewed       time.Duration // when newer was taken; 0 for not yet
	compared      time.Duration
	leakedAt      time.Duration // when goroutines that nothing wakes were looked for
	leakedEver    bool
	leakedRoutine []Site
}

// New makes a Watch. Nothing is read before Run.
func New(o Options) *Watch { return &Watch{opts: o, detector: newDetector()} }

const (
	// renewEvery is the time between two profiles of a process in which nothing leaks:
	// what grows is compared with one that is so old at least.
	renewEvery = 10 * time.Minute
	// compareEvery is the time between two profiles of one in which something does.
	compareEvery = time.Minute
)

// Run reads and tests until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	start := time.Now()
	w.hook()
	defer w.ended.Store(true)
	t := time.NewTicker(Period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		w.step(time.Since(start))
	}
}

// hook has a reading taken after the next collection and each one after that: what the
// heap holds goes with the load at that moment, which changes faster than readings come.
func (w *Watch) hook() {
	type sentinel *byte // a pointer, so that it is collected apart from others
	runtime.AddCleanup(new(sentinel), func(w *Watch) {
		if w.ended.Load() {
			return
		}
		w.hook()
		var r Reading
		w.opts.Read(&r)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.since.add(&r)
	}, w)
}

// step takes one reading.
func (w *Watch) step(now time.Duration) {
	var r Reading
	w.opts.Read(&r)
	w.mu.Lock()
	c := w.since
	w.since = collections{}
	w.mu.Unlock()
	w.detector.observe(now, &r, &c)
	growth := w.detector.growth
	worst := worstOf(&growth)
	switch {
	case worst == None && now >= settling && (w.renewed == 0 || now-w.renewed >= renewEvery):
		w.older, w.newer, w.renewed = w.newer, takeProfile(), now
		w.count()
	case worst > None && now-w.compared >= compareEvery:
		w.compared = now
		w.compare(now, &growth)
	}
	w.mu.Lock()
	before := w.growth
	w.growth = growth
	for q := range Quantities {
		if growth[q].Verdict == Leak && before[q].Verdict != Leak {
			w.found[q]++
		}
	}
	if worst == None {
		w.sites = nil
	}
	sites := w.sites
	w.mu.Unlock()
	for q := range Quantities {
		w.tell(q, before[q].Verdict, &growth[q], sites)
	}
}

func worstOf(growth *[Quantities]Growth) (worst Verdict) {
	for i := range growth {
		worst = max(worst, growth[i].Verdict)
	}
	return worst
}

func (w *Watch) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiles++
}

// compare finds the sites that grew.
func (w *Watch) compare(now time.Duration, growth *[Quantities]Growth) {
	p := takeProfile()
	before := &w.older
	if before.routines == nil {
		before = &w.newer
	}
	sites := p.since(before)
	if growth[Goroutines].Verdict == Leak && (!w.leakedEver || now-w.leakedAt >= renewEvery) {
		w.leakedEver, w.leakedAt, w.leakedRoutine = true, now, leakedGoroutines()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiles++
	w.sites = append(slices.Clone(w.leakedRoutine), sites...)
}

// tell logs what is new about a quantity.
func (w *Watch) tell(q Quantity, before Verdict, g *Growth, sites []Site) {
	switch {
	case g.Verdict == before:
	case g.Verdict == Leak:
		w.opts.Logger.Warn("something leaks", "quantity", q.String(), "growth", g.say(q), "sites", say(q, sites))
	case g.Verdict == Suspected && before == None:
		w.opts.Logger.Info("something may leak", "quantity", q.String(), "growth", g.say(q), "sites", say(q, sites))
	case g.Verdict == None && before == Leak:
		w.opts.Logger.Info("a leak has ended", "quantity", q.String())
	}
}

// say tells of a growth in words.
func (g *Growth) say(q Quantity) string {
	unit, per := "", 1.0
	if q == Heap || q == ObjectBytes {
		unit, per = " KiB", 1024
	}
	text := fmt.Sprintf("%.1f%s a minute", g.PerMinute/per, unit)
	if g.PerThousand != 0 {
		text += fmt.Sprintf(", %.1f%s per 1,000 requests", g.PerThousand/per, unit)
	}
	return text + fmt.Sprintf(", in the last %v", g.Over.Round(time.Minute))
}

// say lists the sites of a quantity. A descriptor or a connection does not say who opened
// it: what else grew may.
func say(q Quantity, sites []Site) string {
	kind := q.String()
	if q == Clients || q == Upstreams {
		kind = Goroutines.String()
	}
	var own, others []string
	for _, s := range sites {
		if s.Kind == kind {
			own = append(own, s.String())
		} else {
			others = append(others, s.String())
		}
	}
	switch {
	case len(sites) == 0:
		return "no site in the program has grown as yet"
	case len(own) > 0 && (q == Goroutines || q == Heap):
		return strings.Join(own, "; ")
	}
	return strings.Join(append(own, others...), "; ")
}

// Examine implements perf.Examined.
func (w *Watch) Examine(report func(perf.Condition)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := perf.Condition{Component: "process/leaks"}
	var list []string
	for q := range Quantities {
		if g := &w.growth[q]; g.Verdict == Leak {
			c.State = perf.Degraded
			list = append(list, fmt.Sprintf("%s: %s, which the load does not explain; %s", q, g.say(q), say(q, w.sites)))
		}
	}
	if c.State != perf.Healthy {
		c.Error = strings.Join(list, ". ")
		c.Advice = "Something is not given back, which is a fault of Sluice. Save GET /debug/pprof/goroutine and /debug/pprof/heap, report it with them, and restart it before it is short of memory or file descriptors."
	}
	report(c)
}

// Figures implements perf.Source.
func (w *Watch) Figures(r perf.Reporter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for q := range Quantities {
		g := &w.growth[q]
		r.Gauge("leak_verdict", "Whether a quantity grows without more load: 0 no, 1 it may, 2 it leaks.", float64(g.Verdict), "quantity", q.String())
		r.Gauge("leak_growth_per_minute", "Growth of a quantity that leaks or may, in its own unit; 0 where none does.", g.PerMinute, "quantity", q.String())
		r.Gauge("leak_growth_per_thousand_requests", "The same for each thousand requests.", g.PerThousand, "quantity", q.String())
		r.Counter("leaks_found_total", "Times that a quantity was found to leak.", float64(w.found[q]), "quantity", q.String())
	}
	r.Counter("leak_profiles_total", "Profiles of heap, goroutines and files that were taken to name what leaks.", float64(w.profiles))
}
