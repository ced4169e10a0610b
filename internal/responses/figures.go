package responses

import (
	"sync/atomic"

	"sluice/internal/perf"
)

type figures struct {
	kept, found, foundShared, missing  atomic.Uint64
	tooLarge, noMemory, unfinished     atomic.Uint64
	evicted, expired, deleted, dropped atomic.Uint64 // dropped: not stored in the second level
}

// Figures implements perf.Source.
func (r *Responses) Figures(p perf.Reporter) {
	f := &r.store.figures
	n, bytes := r.store.held()
	p.Gauge("responses_entries", "Replies of the Responses API that are kept in memory.", float64(n))
	p.Gauge("responses_bytes", "What they and their conversations take.", float64(bytes))
	p.Counter("responses_kept_total", "Replies of the Responses API that were kept.", float64(f.kept.Load()))
	const unkept = "Replies that were to be kept and were not: the conversation is too large, there was no memory, or the reply was not finished."
	for cause, v := range map[string]*atomic.Uint64{"size": &f.tooLarge, "memory": &f.noMemory, "unfinished": &f.unfinished} {
		p.Counter("responses_unkept_total", unkept, float64(v.Load()), "cause", cause)
	}
	const looked = "Replies that were asked for by their id: found in memory, in the second level, or not at all."
	for result, v := range map[string]*atomic.Uint64{"memory": &f.found, "second_level": &f.foundShared, "missing": &f.missing} {
		p.Counter("responses_lookups_total", looked, float64(v.Load()), "result", result)
	}
	for cause, v := range map[string]*atomic.Uint64{"capacity": &f.evicted, "expired": &f.expired, "deleted": &f.deleted} {
		p.Counter("responses_evictions_total", "Replies that memory let go of.", float64(v.Load()), "cause", cause)
	}
	if r.level != nil {
		p.Counter("responses_redis_dropped_total", "Replies that were not stored in the second level.", float64(f.dropped.Load()))
		r.level.client.Report(p, "responses_redis")
		p.Histogram("responses_redis_seconds", "Round trips to the second level for replies that are kept.", &r.level.took)
	}
}

// Examine implements perf.Examined.
func (r *Responses) Examine(report func(perf.Condition)) {
	if r.level != nil {
		report(r.level.client.Condition("responses/redis", "Check that the server of cache.redis_url runs and answers within cache.redis_timeout. "+
			"Until then previous_response_id is known by the machine alone that gave the reply."))
	}
}
