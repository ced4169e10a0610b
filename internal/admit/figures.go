package admit

import (
	"fmt"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/priority"
)

// Figures implements perf.Source.
func (l *Limiter) Figures(r perf.Reporter) {
	l.mu.Lock()
	limit, inFlight, refused, cuts, relearnt := l.control.limit, l.inFlight, l.refused, l.control.cuts, l.control.relearnt
	var depth [3]int
	for p := range llm.Priority(priority.Levels) {
		depth[classOf(p)] += l.queue.At(p)
	}
	l.mu.Unlock()
	r.Gauge("admit_limit", "Calls that an upstream is asked at once at most, now.", float64(limit), "upstream", l.name)
	r.Gauge("admit_in_flight", "Calls of an upstream under way that count towards its limit.", float64(inFlight), "upstream", l.name)
	for i, n := range depth {
		r.Gauge("admit_queue_depth", "Calls that wait for their turn at an upstream, by priority: low is up to 2, high from 8 on.", float64(n), "upstream", l.name, "priority", [...]string{"low", "normal", "high"}[i])
	}
	r.Histogram("admit_wait_seconds", "Time that calls waited for their turn at an upstream, of those that did and had it.", &l.wait, "upstream", l.name)
	for i, n := range refused {
		r.Counter("admit_refused_total", "Calls that an upstream was not asked, by cause.", float64(n), "upstream", l.name, "cause", cause(i).String())
	}
	r.Counter("admit_limit_cuts_total", "Times that the limit of an upstream came down because first events took too long.", float64(cuts), "upstream", l.name)
	r.Counter("admit_limit_restored_total", "Times that the limit of an upstream went back up because fewer calls at once were answered no sooner.", float64(relearnt), "upstream", l.name)
}

// lately is how many calls came, and how many of them were refused for what the upstream
// has to do, in this period and in the one before.
type lately struct {
	since         time.Duration // on the clock
	came, refused [2]uint64
}

// period is how long the past is that health tells of, at least.
const period = 15 * time.Second

// at gives it as of now.
func (r *lately) at(now time.Duration) *lately {
	switch past := now - r.since; {
	case past >= 2*period:
		*r = lately{since: now}
	case past >= period:
		r.since += period
		r.came, r.refused = [2]uint64{0, r.came[0]}, [2]uint64{0, r.refused[0]}
	}
	return r
}

// Examine implements perf.Examined: whether calls are refused.
func (l *Limiter) Examine(report func(perf.Condition)) {
	l.mu.Lock()
	r := l.lately.at(l.clock.Now())
	refused, came, limit := r.refused[0]+r.refused[1], r.came[0]+r.came[1], l.control.limit
	l.mu.Unlock()
	found := perf.Condition{Component: "upstream/" + l.name + "/admission"}
	if refused > 0 {
		found.State = perf.Degraded
		found.Error = fmt.Sprintf("%d calls of %d were refused lately (%.0f %%), at a limit of %d at once", refused, max(came, refused), 100*float64(refused)/float64(max(came, refused)), limit)
		found.Advice = "There are more calls than the upstream copes with. Ask less of it, or have another upstream serve its models; raise admit.max_concurrency where that is set and it can take more."
	}
	report(found)
}

func classOf(p llm.Priority) int {
	switch {
	case p >= llm.PriorityHigh:
		return 2
	case p <= llm.PriorityLow:
		return 0
	default:
		return 1
	}
}
