package ratelimit

import "sluice/internal/perf"

// Figures implements perf.Source.
func (l *Limits) Figures(r perf.Reporter) {
	r.Gauge("rate_limit_keys", "API keys that have a limit of requests or tokens a minute.", float64(len(l.keys)))
	r.Counter("rate_limit_admitted_total", "Calls of limited API keys that were admitted.", float64(l.admitted.Load()))
	for c := range causes {
		r.Counter("rate_limit_refused_total", "Calls of limited API keys that were refused, by cause: the limit that was reached, size (more than the limit allows at once), redis (it did not answer).",
			float64(l.refused[c].Load()), "cause", c.String())
	}
	const tokens, what = "rate_limit_tokens_total", "Tokens of limited API keys' calls that have ended, as estimated when they came and as counted in the end."
	r.Counter(tokens, what, float64(l.estimated.Load()), "count", "estimated")
	r.Counter(tokens, what, float64(l.used.Load()), "count", "used")
	if l.store != nil {
		r.Counter("rate_limit_unshared_total", "Calls that this machine admitted by its own count alone, because Redis did not answer.", float64(l.alone.Load()))
		l.store.Figures(r)
	}
}

// Examine implements perf.Examined.
func (l *Limits) Examine(report func(perf.Condition)) {
	if l.store != nil {
		l.store.Examine(report)
	}
}
