package gather

import (
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// counts are what a Batcher counts. Those that are no Histogram are guarded by its mu.
type counts struct {
	alone, shared      uint64 // calls
	items, sharedItems uint64
	extra              [3]uint64 // calls, by why they were made
	left               [2]uint64 // callers, by when they left
	late               uint64
	full               uint64 // calls that could not wait
	cancelled          uint64 // shared calls
	waiting            [classes]int

	size, wait perf.Histogram
}

// Why an item is in one more call, and when a caller leaves.
const (
	refusedCall = iota
	incomplete
	failedCall
)

const (
	beforeSent = iota
	whileSent
)

// Priorities are told apart by class.
const (
	low = iota
	normal
	high
	classes
)

func classOf(p llm.Priority) int {
	switch {
	case p >= llm.PriorityHigh:
		return high
	case p <= llm.PriorityLow:
		return low
	default:
		return normal
	}
}

// Figures implements perf.Source.
func (b *Batcher[I, R]) Figures(r perf.Reporter) {
	b.mu.Lock()
	c, lanes := &b.counts, len(b.lanes)
	alone, shared, items, sharedItems, extra, left := c.alone, c.shared, c.items, c.sharedItems, c.extra, c.left
	late, full, cancelled, waiting := c.late, c.full, c.cancelled, c.waiting
	inFlight, limit, window := 0, 0, 0.0
	for _, l := range b.lanes {
		inFlight += l.inFlight
	}
	for _, p := range b.paces {
		limit, window = max(limit, p.limit()), max(window, p.window().Seconds())
	}
	b.mu.Unlock()

	const calls = "Calls of operations whose items can share one, as they went to an upstream: of one caller's items (alone), of several callers' (shared)."
	r.Counter("batch_calls_total", calls, float64(alone), "kind", "alone")
	r.Counter("batch_calls_total", calls, float64(shared), "kind", "shared")
	r.Counter("batch_items_total", "Items of these calls.", float64(items-sharedItems), "kind", "alone")
	r.Counter("batch_items_total", "Items of these calls.", float64(sharedItems), "kind", "shared")
	r.Ratio("batch_shared_ratio", "Part of the items that shared a call with another caller's.", float64(sharedItems), float64(items))
	r.Histogram("batch_size", "Items of calls that callers shared.", &c.size)
	r.Histogram("batch_wait_seconds", "Time that items gathered, of those that did.", &c.wait)
	const more = "Calls made once more, by why: one with several callers' items was refused, failed with a status of 500, or its reply was incomplete."
	r.Counter("batch_extra_calls_total", more, float64(extra[refusedCall]), "cause", "refused")
	r.Counter("batch_extra_calls_total", more, float64(extra[incomplete]), "cause", "incomplete")
	r.Counter("batch_extra_calls_total", more, float64(extra[failedCall]), "cause", "failed")
	const dropped = "Callers whose items gathered and were not answered, by why: past their deadline before they were sent, the client left before they were, or while they were."
	r.Counter("batch_dropped_total", dropped, float64(late), "cause", "deadline")
	r.Counter("batch_dropped_total", dropped, float64(left[beforeSent]), "cause", "left")
	r.Counter("batch_dropped_total", dropped, float64(left[whileSent]), "cause", "left_late")
	r.Counter("batch_cancelled_total", "Shared calls that were cancelled because all their callers had left.", float64(cancelled))
	r.Counter("batch_full_total", "Calls that went alone because as many items as may waited.", float64(full))
	for i, class := range [...]string{"low", "normal", "high"} {
		r.Gauge("batch_waiting", "Items that gather, by priority: low is 0 to 2, high 8 and 9.", float64(waiting[i]), "priority", class)
	}
	r.Gauge("batch_lanes", "Kinds of calls whose items are under way or gather.", float64(lanes))
	r.Gauge("batch_in_flight", "Calls under way whose items could share one.", float64(inFlight))
	if b.opts.Strategy == Adaptive {
		r.Gauge("batch_limit", "Calls that upstreams may have under way before items gather, the largest such limit in force.", float64(limit))
		r.Gauge("batch_window_seconds", "Longest that items gather while calls are under way, of all models.", window)
	}
}
