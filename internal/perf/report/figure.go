package report

import (
	"strconv"
	"strings"

	"sluice/internal/perf/timeline"
)

// figure is a figure as it stands in the report.
type figure struct {
	Kind   string   `json:"kind"`
	Unit   string   `json:"unit"`
	Help   string   `json:"help"`
	Series []series `json:"series"`
}

// series has the fields of its figure's kind: value of a gauge, total of a
// counter, count and sum of a histogram, windows of all but gauges.
type series struct {
	Labels  map[string]string `json:"labels"`
	Value   *float64          `json:"value,omitempty"`
	Total   *float64          `json:"total,omitempty"`
	Count   *uint64           `json:"count,omitempty"`
	Sum     *float64          `json:"sum,omitempty"`
	Windows map[string]any    `json:"windows,omitempty"` // rate, spread or share
}

// rate is a counter's window.
type rate struct {
	Count     float64 `json:"count"`
	PerSecond float64 `json:"per_second"`
}

// spread is a histogram's window.
type spread struct {
	Count     uint64  `json:"count"`
	PerSecond float64 `json:"per_second"`
	Mean      float64 `json:"mean"`
	P50       float64 `json:"p50"`
	P90       float64 `json:"p90"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
}

// share is a ratio's window.
type share struct {
	Value float64 `json:"value"`
	Whole float64 `json:"whole"`
}

// unit is the unit that a figure's name tells.
func unit(name string) string {
	name = strings.TrimSuffix(name, "_total")
	for _, u := range [...]string{"seconds", "bytes", "ratio", "tokens"} {
		if strings.HasSuffix(name, "_"+u) || name == u {
			return u
		}
	}
	return ""
}

func show(f *timeline.Figure, windows []timeline.Window) figure {
	out := figure{Kind: f.Kind.String(), Unit: unit(f.Name), Help: f.Help, Series: make([]series, 0, len(f.Series))}
	for i := range f.Series {
		s := &f.Series[i]
		shown := series{Labels: make(map[string]string, len(s.Labels)/2)}
		for j := 0; j < len(s.Labels); j += 2 {
			shown.Labels[s.Labels[j]] = s.Labels[j+1]
		}
		if s.Live {
			switch f.Kind {
			case timeline.Counter:
				shown.Total = &s.Value
			case timeline.Gauge:
				shown.Value = &s.Value
			case timeline.Histogram:
				shown.Count, shown.Sum = &s.Count, &s.Sum
			}
		}
		for j := range windows {
			if w := window(&s.Windows[j]); w != nil {
				if shown.Windows == nil {
					shown.Windows = make(map[string]any, len(windows))
				}
				shown.Windows[windows[j].Name] = w
			}
		}
		if s.Live || shown.Windows != nil {
			out.Series = append(out.Series, shown)
		}
	}
	return out
}

// window gives what is known of a window, nil for nothing.
func window(s *timeline.Stats) any {
	switch {
	case s.Seconds == 0:
	case s.Kind == timeline.Counter:
		return rate{s.Count, round(s.Count / s.Seconds)}
	case s.Kind == timeline.Ratio && s.Whole > 0:
		return share{round(s.Count / s.Whole), s.Whole}
	case s.Kind == timeline.Histogram && s.Distribution.Count > 0:
		d := &s.Distribution
		q := func(q float64) float64 { return round(d.Quantile(q)) }
		return spread{d.Count, round(s.Count / s.Seconds), round(d.Mean()), q(0.5), q(0.9), q(0.95), q(0.99), round(d.Max())}
	}
	return nil
}

// round keeps six digits: what is left out is less than the error of quantiles,
// and rates are no better known.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		return v
	}
	return r
}
