// Package perf collects the figures of all parts of Sluice and shows them.
//
// A part keeps its own counters, as atomics beside its own code, and
// implements Source to report them. perf knows none of the parts: a new one
// joins by registering itself, and is then in /metrics, in /v1/performance, on
// the dashboard, and within reach of alarms.
package perf

// Source is a part of Sluice that has figures to report. Figures is called
// from any goroutine, every few seconds, and does not block. What a part does
// not have it does not report: a figure that is always zero says something else.
type Source interface {
	Figures(r Reporter)
}

// Reporter takes figures. Names are Prometheus names without the "sluice_"
// prefix, in base units (seconds, bytes); a counter's name ends in "_total", one
// of what a clean-up task freed in "_freed_bytes_total" or "_freed_total", a
// ratio's in "_ratio". labels are name, value pairs with a bounded set of values.
type Reporter interface {
	Counter(name, help string, value float64, labels ...string)
	Gauge(name, help string, value float64, labels ...string)
	Histogram(name, help string, h *Histogram, labels ...string)

	// Ratio takes a part of a whole, such as the hits of all look-ups. Both are
	// counters, so that the ratio is known over any time. Prometheus gets none:
	// it has the counters.
	Ratio(name, help string, part, whole float64, labels ...string)
}
