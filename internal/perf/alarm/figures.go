package alarm

import (
	"fmt"
	"slices"

	"sluice/internal/perf"
)

// Figures implements perf.Source.
func (s *Set) Figures(r perf.Reporter) {
	s.mu.Lock()
	firing := make(map[string]float64, len(s.raises))
	for _, a := range s.alarms {
		if a.raised() {
			firing[a.watch.name]++
		}
	}
	for _, w := range s.watches {
		r.Gauge("alarm_firing", "Alarms that are raised, by name: one for each value of the label of a rule that has one.", firing[w.name], "alarm", w.name)
		r.Counter("alarm_raised_total", "Alarms that were raised, by name.", float64(s.raises[w.name]), "alarm", w.name)
	}
	s.mu.Unlock()
	for _, h := range s.hooks {
		h.report(r)
	}
}

// Examine implements perf.Examined: an alarm that is raised is a component that is
// degraded, and so is a webhook that does not take its messages.
func (s *Set) Examine(report func(perf.Condition)) {
	for _, c := range s.conditions() {
		report(c)
	}
	for _, h := range s.hooks {
		h.examine(report)
	}
}

func (s *Set) conditions() (list []perf.Condition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.alarms {
		if !a.raised() {
			continue
		}
		name := "alarm/" + a.watch.name
		if a.of != "" {
			name += "/" + a.of
		}
		list = append(list, perf.Condition{Component: name, State: perf.Degraded, Error: a.cause, Advice: a.watch.advice})
	}
	return list
}

func (h *hook) report(r perf.Reporter) {
	for _, row := range [...]struct {
		result string
		n      uint64
	}{{"delivered", h.delivered.Load()}, {"failed", h.failed.Load()}, {"dropped", h.dropped.Load()}, {"merged", h.merged.Load()}} {
		r.Counter("webhook_deliveries_total", "Alarms that were to be told by what became of it: dropped is for want of room or at the end, merged is told by a later change.",
			float64(row.n), "webhook", h.name, "result", row.result)
	}
	r.Histogram("webhook_seconds", "Time of one try to deliver.", &h.seconds, "webhook", h.name)
}

func (h *hook) examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "webhook/" + h.name}
	h.mu.Lock()
	if h.trouble != "" {
		c.State, c.Error = perf.Degraded, h.trouble
		c.Advice = "Check the url and secret of the webhook, and that its server runs. Alarms are in the log and on the dashboard meanwhile."
	}
	h.mu.Unlock()
	report(c)
}

// newHooks makes the webhooks of a valid configuration. They are called by their
// host, and by a number where several have the same.
func newHooks(cfg Config, o Options) (list []*hook) {
	for _, w := range cfg.Webhooks {
		h := newHook(w, cfg.DashboardURL, o)
		host := h.name
		for n := 2; slices.ContainsFunc(list, func(b *hook) bool { return b.name == h.name }); n++ {
			h.name = fmt.Sprintf("%s#%d", host, n)
		}
		list = append(list, h)
	}
	return list
}
