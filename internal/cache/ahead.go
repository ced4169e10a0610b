package cache

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"sluice/internal/cache/successor"
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// ahead loads replies before they are asked for: hot ones anew before they
// expire, and those that tend to follow what was asked for. It takes them from
// the second level, and from upstreams only where the configuration allows
// that, under a budget.
//
// Without a second level, and where upstreams are not asked ahead, there is
// nowhere to load from. It then learns nothing, and successors is nil.
type ahead struct {
	c          *Cache
	successors *successor.Model
	sources    *otter.Cache[Key, *source]
	seed       maphash.Seed
	wanted     chan Key // what will probably be asked for next
	budget     *rate.Limiter
}

// source is how the reply of a key can be had.
type source struct {
	model string
	req   *llm.Request // nil where no upstream is asked ahead
	size  uint32
}

const (
	// aheadEvery is the time between two looks for entries that expire soon.
	aheadEvery = time.Second
	// soon is the part of its life, one in so many, that a hot entry has left
	// when it is loaded anew.
	soon = 10
	// hot is how many hits make an entry worth that.
	hot = 2
	// maxWanted bounds what waits to be loaded; more is not loaded.
	maxWanted = 64
	// maxSource bounds a request that is remembered, in bytes.
	maxSource = 64 << 10
	// perSource is about what one takes besides its request, in bytes.
	perSource = 256
)

func newAhead(c *Cache) *ahead {
	return &ahead{
		c: c, seed: maphash.MakeSeed(), wanted: make(chan Key, maxWanted),
		budget: rate.NewLimiter(rate.Limit(float64(c.cfg.Preload.Budget)/60), c.cfg.Preload.Budget),
	}
}

// enable has it learn. It is called before the first request.
func (a *ahead) enable() (err error) {
	a.sources, err = otter.New(&otter.Options[Key, *source]{
		MaximumWeight: uint64(max(a.c.cfg.MaxBytes/16, 4*perSource)),
		Weigher:       func(_ Key, s *source) uint32 { return s.size },
	})
	if err != nil {
		return fmt.Errorf("make table of requests: %w", err)
	}
	a.successors = successor.New(4 * a.c.cfg.MaxSize)
	return nil
}

// follow learns what was asked for, and has what probably follows loaded.
func (a *ahead) follow(l *lookup) {
	key := l.own()
	if !l.look || a.successors == nil {
		return
	}
	if _, known := a.sources.GetIfPresent(key); !known {
		a.sources.Set(key, a.source(l))
	}
	likely := a.successors.Observe(l.likely[:0], maphash.String(a.seed, l.req.Tenant), key)
	for _, next := range likely {
		if e := a.c.store.get(next); e != nil && e.until > a.c.clock.Now() {
			continue
		}
		select {
		case a.wanted <- next:
		default: // there is enough to do
		}
	}
}

// source remembers how a reply can be had again.
func (a *ahead) source(l *lookup) *source {
	s := &source{model: strings.Clone(l.model), size: perSource}
	if !a.c.cfg.Preload.Completions || len(l.req.Body) > maxSource {
		return s
	}
	r := l.req
	copied := &llm.Request{
		Op: r.Op, ID: "ahead", Tenant: strings.Clone(r.Tenant), Method: strings.Clone(r.Method),
		Path: strings.Clone(r.Path), RawQuery: strings.Clone(r.RawQuery),
		Model: strings.Clone(r.Model), ModelSpan: r.ModelSpan, Stream: r.Stream,
		Body: slices.Clone(r.Body), BodyLen: r.BodyLen,
	}
	for _, f := range r.Header {
		if !unkeyed(f.Name) {
			copied.Header = append(copied.Header, llm.Field{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)})
		}
	}
	s.req = copied
	s.size += uint32(len(copied.Body) + 64*len(copied.Header))
	return s
}

// run loads until ctx is done.
func (a *ahead) run(ctx context.Context) {
	if a.successors == nil {
		return
	}
	tick := time.NewTicker(aheadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-a.wanted:
			if s, ok := a.sources.GetIfPresent(key); ok {
				a.load(ctx, key, s.model, predicted)
			}
		case <-tick.C:
			a.renew(ctx)
		}
	}
}

// renew loads the hot entries anew that expire soon, the hottest first.
func (a *ahead) renew(ctx context.Context) {
	now := a.c.clock.Now()
	var due []named
	for key, e := range a.c.store.entries.All() {
		if left := e.until - now; left > 0 && left <= (e.until-e.born)/soon && e.hits.Load() >= hot && !e.renewed.Swap(true) {
			due = append(due, named{key, e})
		}
	}
	sort.Slice(due, func(i, j int) bool { return due[i].hits.Load() > due[j].hits.Load() })
	for _, e := range due {
		if ctx.Err() != nil {
			return
		}
		a.load(ctx, e.key, e.head.Value().model, refreshed)
	}
}

// load puts the reply of a key into memory, unless one is there that is as
// fresh.
func (a *ahead) load(ctx context.Context, key Key, model string, why origin) {
	c := a.c
	if c.scarce() {
		return
	}
	gen := c.store.generation()
	there := c.store.get(key)
	if why == predicted && there != nil && there.until > c.clock.Now() {
		return
	}
	if c.second != nil {
		found := make([]Found, 1)
		if c.second.Get(ctx, []Place{{Model: model, Key: key}}, found) == nil {
			e := c.received(key, found[0])
			if e != nil && (there == nil || e.until > there.until+aheadEvery) {
				e.origin = why
				if c.store.put(key, e, gen, nil) {
					c.figures.loaded[why].Add(1)
				}
				return
			}
		}
	}
	if s, ok := a.sources.GetIfPresent(key); ok && s.req != nil && a.budget.Allow() {
		a.ask(ctx, key, s.req, why)
	}
}

// ask gets a reply from the upstream. A failure is as good as not having asked.
func (a *ahead) ask(ctx context.Context, key Key, req *llm.Request, why origin) {
	s := a.c.stage.Load()
	if s == nil {
		return
	}
	own := *req
	own.Turn = new(llm.Turn) // somebody may come for whom it is urgent
	l := a.c.borrow(s, &own)
	defer a.c.release(l)
	if !l.identify() || l.own() != key { // another configuration than then
		return
	}
	l.origin = why
	f, r := l.flight(l.keys.sharedKey(key, &own))
	if r != nil { // somebody asks for it just now
		r.leave()
		return
	}
	if err := f.fly(ctx, nowhere{}, loading{l}); err != nil {
		a.c.figures.failed.Add(1)
	}
}

// loading is a call that the cache makes for itself.
type loading struct{ *lookup }

// call implements caller.
func (l loading) call(ctx context.Context, f *flight) error {
	f.keeper = l.lookup
	return l.stage.next.Serve(ctx, l.req, f)
}

// nowhere takes a reply that only the cache wants.
type nowhere struct{}

func (nowhere) Start(*llm.Head) error  { return nil }
func (nowhere) Send([]llm.Event) error { return nil }

func (a *ahead) report(r perf.Reporter) {
	var stats successor.Stats
	if a.successors != nil {
		stats = a.successors.Stats()
	}
	r.Counter("cache_preload_predicted_total", "Replies that were expected to be asked for next.", float64(stats.Predicted))
	r.Counter("cache_preload_failures_total", "Calls ahead to upstreams that failed.", float64(a.c.figures.failed.Load()))
}
