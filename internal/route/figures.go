package route

import (
	"math"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Figures reports the Router's figures.
func (r *Router) Figures(p perf.Reporter) {
	p.Counter("route_fallbacks_total", "Requests sent to a fallback model.", float64(r.fallbacks.Load()))
	p.Counter("route_unavailable_total", "Requests refused because no upstream could be asked.", float64(r.unavailable.Load()))
	p.Counter("route_unknown_models_total", "Requests for models that no upstream serves.", float64(r.notFounds.Load()))
	for _, s := range []llm.CacheStatus{llm.CacheHit, llm.CacheMiss, llm.CacheStale} {
		p.Counter("route_model_list_replies_total", "Replies from the upstreams' model lists, by what the cache had to do with them.",
			float64(r.listReplies[s].Load()), "cache", strings.ToLower(s.String()))
	}
	for _, up := range r.ups {
		var failures, known float64
		for o := range outcomes {
			n := float64(up.results[o].Load())
			p.Counter("route_requests_total", "Requests sent to an upstream, by what became of them.", n, "upstream", up.Name, "outcome", o.String())
			if works, shows := o.healthy(); shows {
				known += n
				if !works {
					failures += n
				}
			}
		}
		p.Ratio("route_failure_ratio", "Part of the requests sent to an upstream, those sent again included, that it failed: outcomes failed, unreachable, timeout and cut, of all but busy, lacking, cancelled and internal.",
			failures, known, "upstream", up.Name)
		p.Gauge("route_in_flight", "Requests under way at the upstream, streams for as long as they run.", float64(up.load.inFlight.Load()), "upstream", up.Name)
		up.balance(p)
		p.Gauge("route_breaker_state", "State of the circuit breaker of the upstream's connections: 0 closed, 1 half open, 2 open.",
			float64(up.breaker.state()), "upstream", up.Name)
		var labels []string
		for _, c := range up.circuits.known(r.clock.Now()) {
			label := perf.Label(c.model)
			if slices.Contains(labels, label) { // they differ where it was cut or mended
				continue
			}
			labels = append(labels, label)
			p.Gauge("route_model_breaker_state", "State of the circuit breaker of one model of an upstream, of models that failed in the last minutes: 0 closed, 1 half open, 2 open.",
				float64(c.breaker.state()), "upstream", up.Name, "model", label)
		}
	}
	for o := rejected; o <= cut; o++ {
		p.Counter("route_retries_total", "Requests sent again, to any upstream, by what had happened before.",
			float64(r.retries[o].Load()), "cause", o.String())
	}
	for _, h := range r.Health() {
		p.Gauge("route_failures_in_a_row", "Requests that could not be sent to the upstream, for want of a connection, since one could.", float64(h.Failures), "upstream", h.Upstream)
		p.Gauge("route_models", "Models that the upstream serves.", float64(h.Models), "upstream", h.Upstream)
	}
}

// balance reports how the upstream was chosen, where there are others.
func (up *upstream) balance(p perf.Reporter) {
	r := up.router
	if len(r.ups) == 1 {
		return
	}
	for _, c := range r.cfg.causes() {
		p.Counter("route_picks_total", "Requests sent to the upstream that others could have been sent too, by why it was chosen.",
			float64(up.load.picks[c].Load()), "upstream", up.Name, "cause", c.String())
	}
	if r.cfg.Balance == balanceWeighted {
		return
	}
	now := r.clock.Now()
	p.Counter("route_ejections_total", "How often a model of the upstream was left alone because it failed far more often than elsewhere.",
		float64(up.load.ejections.Load()), "upstream", up.Name)
	p.Gauge("route_slow_start_ratio", "Part of its weight with which the upstream is chosen, less than 1 while it starts slowly.",
		started(&up.load.back, now, r.cfg.SlowStart), "upstream", up.Name)
	var labels []string
	for _, m := range up.load.replicas.known(now) {
		label := perf.Label(m.model)
		if slices.Contains(labels, label) { // they differ where it was cut or mended
			continue
		}
		labels = append(labels, label)
		for reply, e := range m.latest() {
			p.Gauge("route_first_event_seconds", "Time to the first event by which the upstream is compared with others that serve the model, a peak-EWMA: of the size of requests that was answered last, and of models asked for in the last minutes.",
				math.Float64frombits(e.value.Load()), "upstream", up.Name, "model", label, "reply", reply)
		}
	}
}

// causes are the reasons that there can be.
func (c Config) causes() []cause {
	switch c.Balance {
	case balanceWeighted:
		return []cause{byWeight}
	case balanceLeastLoaded:
		return []cause{byTwoChoices, ejected}
	default:
		return []cause{byTwoChoices, byPrefix, bounded, outlying, ejected}
	}
}

// Health is how an upstream does, judged by the requests that it got.
type Health struct {
	Upstream string
	// Breaker is "closed" while connections are made, "open" while none are, and
	// "half-open" while single requests try whether it is back.
	Breaker string
	// RetryIn is how long the breaker stays open.
	RetryIn time.Duration
	// Failures is how many requests in a row could not be sent.
	Failures int
	// Failing are the models that failed in the last minutes and are not asked
	// for, or fail most of their calls.
	Failing []ModelHealth
	// Models is how many models are known; ListError why they could not be
	// read last time.
	Models    int
	ListError error
}

// ModelHealth is how one model of an upstream does; see Health.
type ModelHealth struct {
	Model, Breaker string
	RetryIn        time.Duration
	Failures       int
	Ejected        bool       // it is not asked because others fail less
	Fault          *llm.Error // of the last call that failed, without its reply
}

// Health tells how each upstream does, in the order of the configuration.
func (r *Router) Health() []Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Health, len(r.ups))
	for i, up := range r.ups {
		out[i] = Health{
			Upstream:  up.Name,
			Breaker:   stateName(up.breaker.state()),
			RetryIn:   up.breaker.left(),
			Failures:  int(up.breaker.failures.Load()),
			Failing:   up.failing(),
			Models:    len(up.models),
			ListError: up.listErr,
		}
	}
	return out
}

func (up *upstream) failing() (list []ModelHealth) {
	for _, c := range up.circuits.known(up.router.clock.Now()) {
		if state := c.breaker.state(); state != closed || c.mostFail() {
			list = append(list, ModelHealth{
				Model: c.model, Breaker: stateName(state), RetryIn: c.breaker.left(),
				Failures: int(c.breaker.failures.Load()), Ejected: c.breaker.ejected.Load(), Fault: c.fault.Load(),
			})
		}
	}
	return list
}

func stateName(state int) string {
	return [...]string{closed: "closed", halfOpen: "half-open", open: "open"}[state]
}
