package cache

import (
	"sync/atomic"

	"sluice/internal/perf"
)

// figures counts what the cache does. Each request that may be answered from
// memory counts once in the first line.
type figures struct {
	hits, hits2, misses, coalesced, bypassed, refused atomic.Uint64

	stale   atomic.Uint64 // of the hits
	damaged atomic.Uint64 // entries of the second level that are none
	items   [3]atomic.Uint64

	failed atomic.Uint64 // calls ahead

	loaded, used, gained [origins]atomic.Uint64
}

// Examine implements perf.Examined.
func (c *Cache) Examine(report func(perf.Condition)) {
	if c.hot != nil {
		c.hot.examine(report)
	}
}

// Figures implements perf.Source.
func (c *Cache) Figures(r perf.Reporter) {
	f := &c.figures
	const requests = "Calls by what the cache had to do with them."
	for _, row := range [...]struct {
		n      *atomic.Uint64
		result string
	}{
		{&f.hits, "hit"}, {&f.hits2, "hit_l2"}, {&f.misses, "miss"}, {&f.coalesced, "coalesced"}, {&f.bypassed, "bypass"}, {&f.refused, "not_cached"},
	} {
		r.Counter("cache_requests_total", requests, float64(row.n.Load()), "result", row.result)
	}
	r.Counter("cache_stale_total", "Hits whose reply had expired, which the client allowed.", float64(f.stale.Load()))
	for i, level := range [...]string{"hit", "hit_l2", "miss"} {
		r.Counter("cache_items_total", "Inputs of embeddings by where their vectors came from.", float64(f.items[i].Load()), "result", level)
	}
	r.Counter("cache_l2_damaged_total", "Entries of the second level that were damaged or foreign.", float64(f.damaged.Load()))

	s := c.store
	r.Gauge("cache_entries", "Replies in memory.", float64(s.entries.EstimatedSize()))
	r.Gauge("cache_bytes", "Bytes of the replies in memory.", float64(s.bytes.Load()))
	const evictions = "Replies that left memory, by cause: no room, a newer one in its place, expired, purged."
	for _, row := range [...]struct {
		n     *atomic.Uint64
		cause string
	}{{&s.evicted, "capacity"}, {&s.replaced, "replaced"}, {&s.expired, "expired"}, {&s.gone, "purged"}} {
		r.Counter("cache_evictions_total", evictions, float64(row.n.Load()), "cause", row.cause)
	}
	for o := restored; o < origins; o++ {
		kind := o.String()
		r.Counter("cache_preload_loaded_total", "Replies loaded before they were asked for, by why.", float64(f.loaded[o].Load()), "kind", kind)
		r.Counter("cache_preload_used_total", "Of these, those that were then of use.", float64(f.used[o].Load()), "kind", kind)
		r.Counter("cache_preload_hits_total", "Hits that they gave.", float64(f.gained[o].Load()), "kind", kind)
	}
	c.ahead.report(r)
	if c.hot != nil {
		c.hot.report(r)
	}
}
