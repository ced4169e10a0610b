package report

import (
	"slices"

	"sluice/internal/perf/timeline"
)

// summary is the headline numbers. Those whose figures nobody reports are left
// out.
type summary struct {
	Requests     *requests           `json:"requests,omitempty"`
	Failed       *classes            `json:"failed,omitempty"`
	ClientErrors *classes            `json:"client_errors,omitempty"`
	Response     map[string]spread   `json:"response_seconds,omitempty"` // by window
	Overhead     map[string]spread   `json:"overhead_seconds,omitempty"`
	FirstEvent   map[string]spread   `json:"first_event_seconds,omitempty"`
	Cache        *cached             `json:"cache,omitempty"`
	Saved        map[string]*float64 `json:"saved,omitempty"`
	Memory       *memory             `json:"memory,omitempty"`
	GC           *collection         `json:"gc,omitempty"`
	Connections  *connections        `json:"connections,omitempty"`
}

// classes counts requests by how they went wrong.
type classes struct {
	Total   map[string]float64            `json:"total"`
	Windows map[string]map[string]float64 `json:"windows"`
}

type memory struct {
	Resident *float64 `json:"resident_bytes,omitempty"`
	Heap     *float64 `json:"heap_bytes,omitempty"`
	Cache    *float64 `json:"cache_bytes,omitempty"`
	Limit    *float64 `json:"limit_bytes,omitempty"`
	Used     *float64 `json:"used_ratio,omitempty"`
}

type collection struct {
	Cycles *float64           `json:"cycles,omitempty"`
	CPU    map[string]float64 `json:"cpu_ratio,omitempty"`
	Pause  map[string]spread  `json:"pause_seconds,omitempty"`
}

type connections struct {
	Clients *float64           `json:"clients,omitempty"`
	Open    *float64           `json:"upstream_open,omitempty"`
	Idle    *float64           `json:"upstream_idle,omitempty"`
	Waiting *float64           `json:"upstream_waiting,omitempty"`
	Reuse   map[string]float64 `json:"reuse_ratio,omitempty"`
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
		Requests: z.requests(), Failed: z.classes("requests_failed_total"), ClientErrors: z.classes("client_errors_total"), Response: z.spreads("request_duration_seconds"), Overhead: z.spreads("request_overhead_seconds"),
		FirstEvent: z.spreads("stream_first_event_seconds"),
	}
	if hits := z.ratios("cache_hit_ratio"); len(hits) > 0 {
		s.Cache = &cached{hits}
	}
	s.Saved = make(map[string]*float64)
	if v := z.total("tokens_saved_total", ""); v != nil {
		s.Saved["tokens"] = v
	}
	if v := z.total("cache_requests_total", "result", "hit", "hit_l2", "coalesced"); v != nil {
		s.Saved["upstream_calls"] = v
	}
	s.Memory = part(memory{
		z.total("process_resident_bytes", ""), z.total("go_heap_live_bytes", ""), z.total("cache_bytes", ""),
		z.total("process_memory_limit_bytes", ""), z.total("process_memory_used_ratio", ""),
	})
	if cycles := z.total("go_gc_cycles_total", ""); cycles != nil {
		s.GC = &collection{cycles, z.ratios("go_gc_cpu_ratio"), z.spreads("go_gc_pause_seconds")}
	}
	s.Connections = z.connections()
	return s
}

// part is a part of the summary, nil where nothing is known of it.
func part[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

func (z *summarizer) connections() *connections {
	c := connections{
		Clients: z.total("client_connections_open", ""), Open: z.total("upstream_connections_open", ""),
		Idle: z.total("upstream_connections_idle", ""), Waiting: z.total("upstream_pool_waiting", ""),
	}
	if c.Clients == nil && c.Open == nil {
		return nil
	}
	c.Reuse = z.ratios("upstream_connection_reuse_ratio")
	return &c
}

// classes gives a counter by its label class.
func (z *summarizer) classes(name string) *classes {
	of := z.timeline.Values(name, "class")
	if len(of) == 0 {
		return nil
	}
	out := &classes{make(map[string]float64), make(map[string]map[string]float64)}
	for _, class := range of {
		if n := z.total(name, "class", class); n != nil {
			out.Total[class] = *n
		}
		for _, w := range z.windows {
			if s, ok := z.timeline.Stats(name, map[string]string{"class": class}, w.Span); ok && s.Seconds > 0 {
				if out.Windows[w.Name] == nil {
					out.Windows[w.Name] = make(map[string]float64)
				}
				out.Windows[w.Name][class] = s.Count
			}
		}
	}
	return out
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
func (z *summarizer) spreads(name string) map[string]spread {
	out := make(map[string]spread)
	for _, w := range z.windows {
		if s, ok := z.timeline.Stats(name, nil, w.Span); ok {
			if shown, ok := window(&s).(spread); ok {
				out[w.Name] = shown
			}
		}
	}
	return out
}

// ratios gives the windows of a ratio, over all labels.
func (z *summarizer) ratios(name string) map[string]float64 {
	out := make(map[string]float64)
	for _, w := range z.windows {
		if v := z.value(name, w); v != nil {
			out[w.Name] = *v
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
