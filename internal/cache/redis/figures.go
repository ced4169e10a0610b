package redis

import (
	"sync/atomic"

	"sluice/internal/perf"
)

type figures struct {
	get, put      perf.Histogram
	hits, misses  atomic.Uint64
	dropped       atomic.Uint64
	subscriptions atomic.Uint64
}

// Figures reports the Level's figures.
func (l *Level) Figures(p perf.Reporter) {
	l.client.Report(p, "cache_l2")
	const seconds, what = "cache_l2_seconds", "Round trips to the second level."
	p.Histogram(seconds, what, &l.figures.get, "operation", "get")
	p.Histogram(seconds, what, &l.figures.put, "operation", "put")
	hits, misses := float64(l.figures.hits.Load()), float64(l.figures.misses.Load())
	p.Counter("cache_l2_hits_total", "Replies that the second level had.", hits)
	p.Counter("cache_l2_misses_total", "Replies that the second level was asked for and had not.", misses)
	p.Ratio("cache_l2_hit_ratio", "Part of the replies asked for that the second level had.", hits, hits+misses)
	p.Counter("cache_l2_dropped_total", "Replies that were not stored in the second level: it was down or full, or they came too fast.",
		float64(l.figures.dropped.Load()))
	p.Counter("cache_l2_subscriptions_total", "Subscriptions to the purges of other machines: the first, and one after each break.",
		float64(l.figures.subscriptions.Load()))
}
