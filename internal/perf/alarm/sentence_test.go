package alarm

import (
	"testing"
	"time"
)

// Whoever gets a message knows no names of figures: it says what, where, how much,
// against what, since when.
func TestSentence(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		rule  Rule
		of    string
		value float64
		want  string
	}{
		{Rule{Figure: "upstream_wait_seconds", Each: "upstream", Stat: "p95", Above: quantity("20s")}, "openai", 23.1,
			"The P95 of the time that requests wait for the reply at upstream “openai” over the last 5 minutes is 23.1 s, above the threshold of 20 s since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "cache_hit_ratio", Window: time.Hour, Below: quantity("30%")}, "", 0.123,
			"The part of look-ups that the cache answers over the last hour is 12.3 %, below the threshold of 30 % since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "requests_in_flight", Above: quantity("500")}, "", 512,
			"The number of requests under way is 512, above the threshold of 500 since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "requests_total", Stat: "count", Below: quantity("1"), Labels: map[string]string{"operation": "chat"}}, "", 0,
			"The number of requests with operation “chat” over the last 5 minutes is 0, below the threshold of 1 since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "requests_total", Stat: "rate", Window: time.Minute, Above: quantity("50")}, "", 40,
			"The rate of requests over the last minute is 40 per second, no longer above the threshold of 50 per second, as it was since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "process_memory_used_ratio", Window: time.Minute, Above: quantity("90%")}, "", 0.95,
			"The part of the memory limit that is used is 95 %, above the threshold of 90 % since 2026-01-02 03:04:05 UTC."},
		{Rule{Figure: "novel_bytes", Window: 2 * time.Hour, Stat: "max", Above: quantity("1GiB")}, "", 2 << 30,
			"The greatest novel size over the last 2 hours is 2 GiB, above the threshold of 1 GiB since 2026-01-02 03:04:05 UTC."},
	} {
		w := newRule(c.rule, true)
		a := &alarm{watch: w, of: c.of, labels: w.labelsOf(c.of), known: true, value: c.value, judged: true, threshold: w.threshold, clear: w.clear, began: began}
		if got := a.message(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	// The built-in rules' figures have words, which are no names.
	for _, r := range BuiltIn() {
		if got := figureWords(r.Figure); got == figureWords("x_" + r.Figure)[2:] {
			t.Errorf("%s is called %s", r.Figure, got)
		}
	}
}
