package alarm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// message says in one sentence what is wrong, where, how far from the threshold,
// and since when: it stands in the log, in messages, in health and on the dashboard.
func (a *alarm) message() string {
	w := a.watch
	var b strings.Builder
	b.WriteString("The ")
	b.WriteString(statWords(w.stat))
	b.WriteString(figureWords(w.figure))
	for _, label := range slices.Sorted(maps.Keys(a.labels)) {
		fmt.Fprintf(&b, " %s %s “%s”", map[bool]string{true: "at", false: "with"}[label == "upstream"], label, a.labels[label])
	}
	if !a.known {
		return b.String() + " is not known any more: " + a.note + "."
	}
	if w.stat != statValue || w.unit == share && w.figure != memoryUsed {
		b.WriteString(" over the last " + windowWords(w.window))
	}
	value := func(v float64) string {
		if w.stat == statRate {
			return w.unit.format(v) + " per second"
		}
		return w.unit.format(v)
	}
	b.WriteString(" is " + value(a.value) + ", ")
	crossed := w.verdict(a.value, a.threshold, a.clear) == crossed
	if !crossed {
		b.WriteString("no longer ")
	}
	b.WriteString(w.direction + " the threshold of " + value(a.threshold))
	if !a.began.IsZero() {
		b.WriteString(map[bool]string{true: " since ", false: ", as it was since "}[crossed] + a.began.UTC().Format("2006-01-02 15:04:05") + " UTC")
	}
	if w.kind == kindAnomaly {
		b.WriteString("; usual is " + value(a.usual))
	}
	return b.String() + "."
}

// statWords begins what a statistic is of.
func statWords(stat string) string {
	switch stat {
	case statValue:
		return ""
	case statCount:
		return "number of "
	case statRate:
		return "rate of "
	case "max":
		return "greatest "
	case "mean":
		return "mean "
	}
	return strings.ToUpper(stat) + " of the "
}

const memoryUsed = "process_memory_used_ratio"

// figureWords says what a figure is. Those that built-in and usual rules name have
// words of their own; of others it is the name, without its unit.
func figureWords(figure string) string {
	switch figure {
	case "route_failure_ratio":
		return "part of calls that failed"
	case "request_error_ratio", "model_request_error_ratio", "upstream_request_error_ratio":
		return "part of requests that failed"
	case "request_duration_seconds", "model_request_duration_seconds", "upstream_request_duration_seconds":
		return "response time"
	case "request_overhead_seconds", "model_request_overhead_seconds", "upstream_request_overhead_seconds":
		return "time that the gateway itself adds to a request"
	case "upstream_wait_seconds":
		return "time that requests wait for the reply"
	case "stream_first_event_seconds", "model_first_event_seconds":
		return "time to a stream's first event"
	case memoryUsed:
		return "part of the memory limit that is used"
	case "leak_verdict":
		return "verdict on leaks (1 suspected, 2 found)"
	case "cache_hit_ratio":
		return "part of look-ups that the cache answers"
	case "requests_in_flight":
		return "number of requests under way"
	}
	name := strings.TrimSuffix(figure, "_total")
	if short, ok := strings.CutSuffix(name, "_bytes"); ok {
		name = short + "_size"
	}
	return strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", " ")
}

// windowWords writes a window as it is spoken.
func windowWords(d time.Duration) string {
	switch n := int(d / time.Minute); {
	case d == time.Hour:
		return "hour"
	case d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case n == 1:
		return "minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}
