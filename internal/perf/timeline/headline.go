package timeline

import (
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxHeadlines bounds the figures of a point. Those that come first by name are
// in it.
const maxHeadlines = 512

// headline is a figure of a point. Its name is the figure's, with ".rate",
// ".p50", ".p99" or ".count" where the figure itself is not one number.
type headline struct {
	name  string
	value float64
}

// freed is what clean-up tasks freed since the last report, by the counter's name
// without "_total", and of one with labels by their values too where that is anything.
type freed = headline

// tell makes a point of the history and a line in the log.
func (t *Timeline) tell(now time.Time) {
	list, gone := t.headlines(now.Sub(t.reported))
	t.reported = now
	t.history.add(now, list)
	t.log.Info("performance", line(list, gone)...)
}

// headlines sums up, over labels, what every figure did in the time since the
// last report: ratios; histograms of durations that observed something; counters
// that are not zero, per second; and gauges as they are. They are sorted by name.
func (t *Timeline) headlines(since time.Duration) (list []headline, gone []freed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := t.clock.back(since)
	m := new(merger)
	for _, name := range slices.Sorted(maps.Keys(t.figures)) {
		f := t.figures[name]
		if f.kind == Counter {
			gone = f.freed(gone)
		}
		count, whole, total := f.sinceReport()
		var values []float64
		switch f.kind {
		case Counter:
			if total > 0 {
				values = []float64{count / since.Seconds()}
			}
		case Ratio:
			if whole > 0 {
				values = []float64{count / whole}
			}
		case Histogram:
			if count > 0 && f.headlines != nil {
				d := measure(Histogram, f.series, over, m).Distribution
				values = []float64{count, d.Quantile(0.5), d.Quantile(0.99)}
			}
		case Gauge:
			if s := measure(Gauge, f.series, over, m); s.Gauges > 0 {
				values = []float64{s.Value}
			}
		}
		for i, v := range values {
			list = append(list, headline{f.headlines[i], v})
		}
	}
	return list, gone
}

// freed adds to gone what the counter says was freed since the last report.
func (f *figure) freed(gone []freed) []freed {
	short := strings.TrimSuffix(f.name, "_total")
	if !strings.HasSuffix(short, "_freed") && !strings.HasSuffix(short, "_freed_bytes") {
		return gone
	}
	at := len(gone)
	gone = append(gone, freed{short, 0})
	for _, s := range f.series {
		gone[at].value += s.reported
		if s.reported == 0 || len(s.labels) == 0 {
			continue
		}
		name := short
		for i := 1; i < len(s.labels); i += 2 {
			name += "." + s.labels[i]
		}
		gone = append(gone, freed{name, s.reported})
	}
	return gone
}

// sinceReport gives what is new in all series, which is nothing from then on, and
// the total of counters.
func (f *figure) sinceReport() (count, whole, total float64) {
	for _, s := range f.series {
		count, whole, total = count+s.reported, whole+s.reportedWhole, total+s.value
		s.reported, s.reportedWhole = 0, 0
	}
	return count, whole, total
}

// line gives the attributes of the report in the log: those headlines that tell
// most, all ratios, and what was freed.
func line(list []headline, gone []freed) (attrs []any) {
	values := make(map[string]float64, len(list))
	for _, h := range list {
		values[h.name] = h.value
	}
	put := func(name string, value float64) { attrs = append(attrs, readable(name, value)) }
	for _, name := range [...]string{
		"requests_total.rate", "request_error_ratio",
		"request_duration_seconds.p50", "request_duration_seconds.p99", "request_overhead_seconds.p99",
		"process_resident_bytes", "go_heap_live_bytes",
	} {
		if v, ok := values[name]; ok {
			put(name, v)
		}
	}
	for _, h := range list {
		if strings.HasSuffix(h.name, "_ratio") && h.name != "request_error_ratio" {
			put(h.name, h.value)
		}
	}
	for _, f := range gone {
		put(f.name, f.value)
	}
	return attrs
}

// readable keeps four digits of a number, and whole numbers as they are.
func readable(name string, v float64) slog.Attr {
	if n := int64(v); v == float64(n) {
		return slog.Int64(name, n)
	}
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		r = v
	}
	return slog.Float64(name, r)
}
