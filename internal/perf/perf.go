// Package perf collects the figures of all parts of Sluice and shows them.
//
// A part keeps its own counters, as atomics beside its own code, and
// implements Source to report them. perf knows none of the parts: a new one
// joins by registering itself.
package perf

// Source is a part of Sluice that has figures to report. Figures is called
// from any goroutine, at every scrape, and does not block.
type Source interface {
	Figures(r Reporter)
}

// Reporter takes figures. Names are Prometheus names without the "sluice_"
// prefix, in base units (seconds, bytes); a counter's name ends in "_total".
// labels are name, value pairs with a bounded set of values.
type Reporter interface {
	Counter(name, help string, value float64, labels ...string)
	Gauge(name, help string, value float64, labels ...string)
	Histogram(name, help string, h *Histogram, labels ...string)
}
