package cache

import (
	"sync/atomic"

	"sluice/internal/perf"
)

// figures counts what the cache does. Each call of an operation whose replies may
// be kept counts once in the first line.
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
	const requests = "Calls by what the cache had to do with them: each counts once."
	for _, row := range [...]struct {
		n      *atomic.Uint64
		result string
	}{
		{&f.hits, "hit"}, {&f.hits2, "hit_l2"}, {&f.misses, "miss"}, {&f.coalesced, "coalesced"}, {&f.bypassed, "bypass"}, {&f.refused, "not_cached"},
	} {
		r.Counter("cache_requests_total", requests, float64(row.n.Load()), "result", row.result)
	}
	f.ratios(r)
	r.Counter("cache_stale_total", "Hits whose reply had expired, which the client allowed.", float64(f.stale.Load()))
	for i, level := range [...]string{"hit", "hit_l2", "miss"} {
		r.Counter("cache_items_total", "Inputs of embeddings by where their vectors came from.", float64(f.items[i].Load()), "result", level)
	}
	r.Counter("cache_l2_damaged_total", "Entries of the second level that were damaged or foreign.", float64(f.damaged.Load()))

	s := c.store
	r.Gauge("cache_entries", "Replies in memory.", float64(s.entries.EstimatedSize()))
	r.Gauge("cache_max_entries", "Replies that there may be in memory: cache.max_size.", float64(c.cfg.MaxSize))
	r.Gauge("cache_bytes", "Bytes of the replies in memory.", float64(s.bytes.Load()))
	r.Gauge("cache_max_bytes", "Bytes of replies that there may be in memory: cache.max_bytes.", float64(c.cfg.MaxBytes))
	const evictions = "Replies that left memory, by cause: no room, a newer one in its place, expired, purged."
	for _, row := range [...]struct {
		n     *atomic.Uint64
		cause string
	}{{&s.evicted, "capacity"}, {&s.replaced, "replaced"}, {&s.expired, "expired"}, {&s.gone, "purged"}} {
		r.Counter("cache_evictions_total", evictions, float64(row.n.Load()), "cause", row.cause)
	}
	r.Counter("cache_expired_total", "Replies that were taken out of memory because they had expired.", float64(s.expired.Load()))
	r.Counter("cache_expired_bytes_total", "Bytes of those.", float64(s.freed.Load()))
	for o := restored; o < origins; o++ {
		kind, used, wasted := o.String(), float64(f.used[o].Load()), float64(s.wasted[o].Load())
		r.Counter("cache_preload_loaded_total", "Replies loaded before they were asked for, by why.", float64(f.loaded[o].Load()), "kind", kind)
		r.Counter("cache_preload_used_total", "Replies loaded ahead that were then asked for, by why they were loaded.", used, "kind", kind)
		r.Counter("cache_preload_wasted_total", "Replies loaded ahead that left memory before they were asked for, by why they were loaded.", wasted, "kind", kind)
		r.Ratio("cache_preload_precision_ratio", "Part of the replies loaded ahead that was of use, of those of which that is known: used, or gone.", used, used+wasted, "kind", kind)
		r.Counter("cache_preload_hits_total", "Hits on replies loaded ahead, by why they were loaded.", float64(f.gained[o].Load()), "kind", kind)
	}
	c.ahead.report(r)
	if c.hot != nil {
		c.hot.report(r)
	}
}

// ratios reports how much the cache saved. A call that joined another one's is
// neither hit nor miss: it found nothing in memory and cost nothing.
func (f *figures) ratios(r perf.Reporter) {
	hits := float64(f.hits.Load() + f.hits2.Load())
	misses, coalesced := float64(f.misses.Load()), float64(f.coalesced.Load())
	r.Ratio("cache_hit_ratio", "Part of hits, in both levels, of hits and misses.", hits, hits+misses)
	r.Ratio("cache_saved_ratio", "Part of all calls that needed no upstream call of their own: hits and coalesced ones.", hits+coalesced,
		hits+misses+coalesced+float64(f.bypassed.Load()+f.refused.Load()))
	found := float64(f.items[0].Load() + f.items[1].Load())
	r.Ratio("cache_item_hit_ratio", "Part of the inputs of embeddings whose vector was there, in either level.", found, found+float64(f.items[2].Load()))
}
