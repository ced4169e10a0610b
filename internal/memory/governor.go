package memory

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Options are what a Governor works with. All may be left out.
type Options struct {
	Logger *slog.Logger

	// Cached is how many bytes of what can be had again are held: replies in memory.
	// Bound bounds them from now on; what is above goes at once, what is used least
	// first. Both may be called from any goroutine.
	Cached func() int64
	Bound  func(bytes int64)

	// Tasks lists what else is to be done every Config.CleanupInterval.
	Tasks func() []Task
}

// Governor is the one authority over the process's memory. It finds out how much
// there may be, sets the garbage collector's pace and limit by it, has a Budget from
// which everything that is held is reserved, and says how scarce memory is. The zero
// value has no bounds and is always Normal. Its methods are safe for concurrent use.
type Governor struct {
	Budget  Budget
	Buffers Buffers
	Objects Objects

	o      Options
	root   string // "/" but in tests
	began  int64  // GOMEMLIMIT as the process began with it
	userGC bool   // GOGC is the user's
	level  atomic.Int32

	mu      sync.Mutex
	cfg     Config
	limit   Limit
	runtime int64 // GOMEMLIMIT as it is
	bound   int64 // of what is cached; 0 before the first

	gc    collector // Run's
	tasks maintenance

	shed     atomic.Uint64
	returned atomic.Int64
	reported int64       // of returned, by the task heap: maintenance's own
	collect  atomic.Bool // when there is little to do, also where that was done before
}

// New makes the Governor of this process. Nothing is bounded before Use.
func New(o Options) *Governor {
	g := &Governor{o: o, root: "/", began: noLimit, userGC: os.Getenv("GOGC") != "", runtime: noLimit}
	if os.Getenv("GOMEMLIMIT") != "" { // else what is set may be another Governor's
		g.began = debug.SetMemoryLimit(-1)
	}
	if g.o.Logger == nil {
		g.o.Logger = slog.New(slog.DiscardHandler)
	}
	g.gc.percent = normalPercent
	g.Budget.reclaim = g.reclaim
	g.Buffers.Account, g.Buffers.Large = g.Budget.Account("buffers"), &g.Objects
	g.Buffers.Events = g.Budget.Account("events")
	g.Buffers.Events.AtMost(eventsShare)
	g.Buffers.Heads = g.Budget.Account("heads")
	g.Buffers.Heads.AtMost(headsShare)
	return g
}

// Use takes another configuration up, which has been validated.
func (g *Governor) Use(cfg Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg = cfg
	before := g.limit
	g.limit = findLimit(g.root, cfg.Limit, g.began)
	runtime, budget := g.limit.plan()
	if !managed {
		runtime, budget = noLimit, 0
	}
	if runtime != g.runtime {
		debug.SetMemoryLimit(runtime)
		g.runtime = runtime
	}
	g.Budget.Resize(budget)
	if before.Bytes > 0 && g.limit != before {
		g.tell()
	}
	g.bind()
}

// tell logs what holds. g.mu is held.
func (g *Governor) tell() {
	if g.limit.Bytes > 0 && g.limit.Bytes < leastLimit {
		g.o.Logger.Warn("the gateway may use less memory than it needs for anything but small requests", "limit", g.limit.Bytes, "by", g.limit.Source, "least", leastLimit)
	}
	g.o.Logger.Info("memory is bounded", "limit", g.limit.Bytes, "by", g.limit.Source, "budget", g.Budget.Size())
}

// Level is how scarce memory is.
func (g *Governor) Level() Level { return Level(g.level.Load()) }

// headsShare is how much of the budget what comes of clients that are not known yet may
// take: they need no key.
const headsShare = 0.15

// eventsShare is how much of the budget large events of streams may take that have not
// come as a whole: upstreams could fill all of it by ending none.
const eventsShare = 0.25

// SetLevel has memory be so scarce until the next look.
func (g *Governor) SetLevel(l Level) { g.level.Store(int32(l)) }

// lookEvery is the time between two looks.
const lookEvery = time.Second

// Admit says whether a call that begins may: nil, or the answer.
func (g *Governor) Admit(p llm.Priority) error {
	switch l := g.Level(); {
	case l < High, l == High && p >= llm.PriorityNormal:
		return nil
	}
	g.shed.Add(1)
	return scarce()
}

// Run watches until ctx is done, and leaves the collector as Go has it.
func (g *Governor) Run(ctx context.Context) {
	defer func() {
		if !g.userGC {
			debug.SetGCPercent(normalPercent)
		}
		debug.SetMemoryLimit(g.began)
	}()
	g.mu.Lock()
	g.tell()
	g.mu.Unlock()
	g.maintain(ctx) // nothing is due yet, but all tasks are known and in the figures
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { every(ctx, lookEvery, g.maintain) }) // which may take longer than a look can wait
	every(ctx, lookEvery, func(context.Context) { g.look(time.Now()) })
}

// every calls f until ctx is done.
func every(ctx context.Context, d time.Duration, f func(context.Context)) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f(ctx)
	}
}

// maintain does what is due.
func (g *Governor) maintain(ctx context.Context) {
	g.mu.Lock()
	interval := g.cfg.CleanupInterval
	g.mu.Unlock()
	tasks := []Task{{"buffers", g.dropBuffers}, {"heap", g.askHeap}}
	if g.o.Tasks != nil {
		tasks = append(g.o.Tasks(), tasks...)
	}
	g.tasks.do(ctx, time.Now(), interval, tasks)
}

// dropBuffers leaves the buffers that are kept to the collector; nobody knows how many.
func (g *Governor) dropBuffers(context.Context) (things int, bytes int64) {
	g.Buffers.Drop()
	return 0, 0
}

// askHeap has the heap be collected, and memory go back to the system, as soon as there is
// little to do. What it tells is what went back since it was asked last.
func (g *Governor) askHeap(context.Context) (things int, bytes int64) {
	returned := g.returned.Load()
	bytes, g.reported = returned-g.reported, returned
	g.collect.Store(true)
	return 0, bytes
}

// look is called by Run alone.
func (g *Governor) look(now time.Time) {
	g.mu.Lock()
	limit, runtime, cfg := g.limit.Bytes, g.runtime, g.cfg
	g.mu.Unlock()
	g.gc.look(now, g.cached(), runtime, g.userGC || !managed)
	g.mu.Lock()
	g.bind() // first: what is cached has not to make anything scarce
	g.mu.Unlock()
	g.assess(now, float64(cfg.Threshold), limit, runtime)
	g.Budget.relieve()
	if managed && g.gc.idle(g.collect.Load()) {
		g.collect.Store(false)
		g.giveBack()
	}
}

// giveBack gives back what a burst left behind.
func (g *Governor) giveBack() {
	n := g.gc.giveBack()
	program, err := ReleaseProgram()
	if err != nil {
		g.o.Logger.Debug("the program's pages are kept", "error", err)
	}
	g.returned.Add(n + program)
	g.o.Logger.Debug("memory given back to the system", "bytes", n, "of_the_program", program)
}

func (g *Governor) cached() int64 {
	if g.o.Cached == nil {
		return 0
	}
	return g.o.Cached()
}

// told is how many large things are named when memory becomes scarcer.
const told = 5

// assess sets the level.
func (g *Governor) assess(now time.Time, threshold float64, limit, runtime int64) {
	used := 0.0
	if size := g.Budget.Size(); size > 0 {
		used = float64(g.Budget.Used()) / float64(size)
	}
	if runtime < noLimit { // what is live beside what is reserved
		live := func() float64 { return float64(g.gc.bytes(heapLive)) / float64(runtime) }
		if used < threshold && live() >= threshold-back {
			g.gc.fresh(now)
		}
		used = max(used, live())
	}
	before := g.Level()
	next := before.next(used, threshold)
	if next == before {
		return
	}
	g.level.Store(int32(next))
	if next > before {
		g.Buffers.Drop()
	}
	log := g.o.Logger.Info
	if next >= High {
		log = g.o.Logger.Warn
	}
	if next > before {
		for _, obj := range g.Objects.Largest(told) {
			log("memory is held by something large", "part", obj.Part, "request_id", obj.ID, "bytes", obj.Bytes, "since", now.Sub(obj.Since).Round(time.Millisecond))
		}
	}
	log("memory is "+map[bool]string{true: "scarcer", false: "less scarce"}[next > before], "level", next, "before", before, "used", used, "limit", limit)
}

const (
	// cachedShare is how much of the budget what is cached may take, and freeShare
	// how much it leaves free of what work does not: it goes before memory is scarce.
	cachedShare, freeShare = 0.5, 0.25
	// leastCached is how much it is left, in bytes.
	leastCached = 1 << 20
	// regrow is how much of the budget its bound rises by in a look.
	regrow = 1. / 64
)

// bind bounds what is cached to what work leaves. g.mu is held.
func (g *Governor) bind() {
	size := g.Budget.Size()
	if g.o.Bound == nil || size == 0 {
		return
	}
	work := g.Budget.Used() - g.cached()
	most := min(1-freeShare, float64(g.cfg.Threshold)-back) // it makes nothing scarce
	want := min(int64(float64(size)*min(cachedShare, most)), int64(float64(size)*most)-work)
	want = max(want, leastCached)
	if g.bound > 0 { // what was reclaimed was needed, so it is not taken back at once
		want = min(want, g.bound+int64(float64(size)*regrow))
	}
	g.bound = want
	g.o.Bound(want) // each time: a reload may have brought another cache
}

// reclaim has n bytes of what is cached given back.
func (g *Governor) reclaim(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := g.cached()
	if g.o.Bound == nil || held-leastCached < n { // it would be lost for nothing
		return
	}
	g.bound = max(min(held, g.bound)-n, leastCached)
	g.o.Bound(g.bound)
}

// Examine implements perf.Examined.
func (g *Governor) Examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "process/pressure"}
	if l := g.Level(); l >= High {
		c.State = perf.Degraded
		c.Error = "memory is scarce (" + l.String() + "): " + map[Level]string{High: "calls of low priority are refused", Critical: "only calls that have begun go on"}[l]
		c.Advice = "Give the process more memory (memory.limit_bytes, or the container's), or lower server.max_connections, server.max_body_bytes or stream.buffer_bytes. What holds it: memory_reserved_bytes."
	}
	report(c)
}

// Figures implements perf.Source.
func (g *Governor) Figures(r perf.Reporter) {
	g.mu.Lock()
	limit, runtime := g.limit.Bytes, g.runtime
	g.mu.Unlock()
	if limit > 0 {
		r.Gauge("memory_limit_bytes", "Memory that the process may use.", float64(limit))
	}
	if runtime < noLimit {
		r.Gauge("memory_runtime_limit_bytes", "What the Go runtime keeps to of it: GOMEMLIMIT.", float64(runtime))
	}
	r.Gauge("memory_level", "How scarce memory is: 0 normal, 1 elevated, 2 high, 3 critical.", float64(g.Level()))
	r.Counter("memory_shed_total", "Calls that were refused because memory is scarce.", float64(g.shed.Load()))
	r.Counter("memory_returned_bytes_total", "Bytes that were given back to the system when there was little to do.", float64(g.returned.Load()))
	g.Budget.Figures(r)
	g.Buffers.Figures(r)
	g.Objects.Figures(r)
	g.tasks.Figures(r)
}
