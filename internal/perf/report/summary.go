package report

import (
	"slices"

	"sluice/internal/perf/timeline"
)

// summary is the headline numbers. Those whose figures nobody reports are left
// out.
type summary struct {
	Requests   *requests           `json:"requests,omitempty"`
	Response   map[string]any      `json:"response_seconds,omitempty"` // spreads by window
	Overhead   map[string]any      `json:"overhead_seconds,omitempty"`
	FirstEvent map[string]any      `json:"first_event_seconds,omitempty"`
	Cache      *cached             `json:"cache,omitempty"`
	Saved      map[string]*float64 `json:"saved,omitempty"`
}

type requests struct {
	Total    float64                   `json:"total"`
	InFlight *float64                  `json:"in_flight,omitempty"`
	Windows  map[string]requestsWindow `json:"windows"`
}

type requestsWindow struct {
	rate
	ErrorRatio *float64           `json:"error_ratio,omitempty"`
	ByStatus   map[string]float64 `json:"by_status"`
}

type cached struct {
	HitRatio map[string]float64 `json:"hit_ratio"`
}

// summarizer reads the figures that the summary is of.
type summarizer struct {
	timeline *timeline.Timeline
	windows  []timeline.Window
	figures  map[string]*timeline.Figure
}

func (z *summarizer) summary() summary {
	s := summary{
		Requests: z.requests(), Response: z.spreads("request_duration_seconds"), Overhead: z.spreads("request_overhead_seconds"),
		FirstEvent: z.spreads("stream_first_event_seconds"),
	}
	for _, w := range z.windows {
		if v := z.value("cache_hit_ratio", w); v != nil {
			if s.Cache == nil {
				s.Cache = &cached{make(map[string]float64)}
			}
			s.Cache.HitRatio[w.Name] = *v
		}
	}
	s.Saved = make(map[string]*float64)
	if v := z.total("tokens_saved_total", ""); v != nil {
		s.Saved["tokens"] = v
	}
	if v := z.total("cache_requests_total", "result", "hit", "hit_l2", "coalesced"); v != nil {
		s.Saved["upstream_calls"] = v
	}
	return s
}

func (z *summarizer) requests() *requests {
	const name = "requests_total"
	all := z.total(name, "")
	if all == nil {
		return nil
	}
	out := &requests{Total: *all, InFlight: z.total("requests_in_flight", ""), Windows: make(map[string]requestsWindow)}
	for _, w := range z.windows {
		s, ok := z.timeline.Stats(name, nil, w.Span)
		if !ok || s.Seconds == 0 {
			continue
		}
		shown := requestsWindow{rate{s.Count, round(s.Count / s.Seconds)}, z.value("request_error_ratio", w), make(map[string]float64)}
		for _, status := range z.timeline.Values(name, "status") {
			if s, ok := z.timeline.Stats(name, map[string]string{"status": status}, w.Span); ok {
				shown.ByStatus[status] = s.Count
			}
		}
		out.Windows[w.Name] = shown
	}
	return out
}

// spreads gives the windows of a histogram, over all labels.
func (z *summarizer) spreads(name string) map[string]any {
	out := make(map[string]any)
	for _, w := range z.windows {
		if s, ok := z.timeline.Stats(name, nil, w.Span); ok && s.Kind == timeline.Histogram {
			if shown := window(&s); shown != nil {
				out[w.Name] = shown
			}
		}
	}
	return out
}

// value is a ratio over all labels.
func (z *summarizer) value(name string, w timeline.Window) *float64 {
	if v, _, ok := z.timeline.Read(name, nil, timeline.StatValue, w.Span); ok {
		v = round(v)
		return &v
	}
	return nil
}

// total adds up the totals, or values, of the series that have one of values for
// label; with "" of all. It is nil where there are none.
func (z *summarizer) total(name, label string, values ...string) (sum *float64) {
	f := z.figures[name]
	if f == nil {
		return nil
	}
	for _, s := range f.Series {
		of := label == ""
		for i := 0; i < len(s.Labels); i += 2 {
			of = of || s.Labels[i] == label && slices.Contains(values, s.Labels[i+1])
		}
		if !s.Live || !of {
			continue
		}
		if sum == nil {
			sum = new(float64)
		}
		*sum += s.Value
	}
	return sum
}
