package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/internal/perf/timeline"
)

// digest writes the summary as a person reads it in a few seconds: what happened in
// each window, and then what is so now.
func digest(b *strings.Builder, s *summary, windows []timeline.Window, raised []string) {
	head := []string{"SUMMARY", ""}
	for _, w := range windows {
		head = append(head, "last "+w.Name)
	}
	rows := [][]string{head}
	row := func(title, part string, cell func(w string) string) {
		cells, known := []string{title, part}, false
		for _, w := range windows {
			text := cell(w.Name)
			cells, known = append(cells, text), known || text != ""
		}
		if known {
			rows = append(rows, cells)
		}
	}
	if q := s.Requests; q != nil {
		row("Requests", "", func(w string) string {
			if v, ok := q.Windows[w]; ok {
				return scale(v.Count, "") + " (" + scale(v.PerSecond, "") + "/s)"
			}
			return ""
		})
	}
	row("Failed", "", func(w string) string { return failedIn(s, w) })
	row("Client's errors", "", func(w string) string {
		if s.ClientErrors == nil || s.ClientErrors.Windows[w] == nil {
			return ""
		}
		return scale(sum(s.ClientErrors.Windows[w]), "")
	})
	for _, h := range []struct {
		title string
		of    map[string]spread
	}{{"Response time", s.Response}, {"Gateway's own time", s.Overhead}} {
		title := h.title
		for _, p := range []struct {
			name string
			of   func(spread) float64
		}{
			{"P50", func(d spread) float64 { return d.P50 }}, {"P90", func(d spread) float64 { return d.P90 }},
			{"P95", func(d spread) float64 { return d.P95 }}, {"P99", func(d spread) float64 { return d.P99 }},
		} {
			row(title, p.name, func(w string) string {
				if d, ok := h.of[w]; ok {
					return scale(p.of(d), "seconds")
				}
				return ""
			})
			title = ""
		}
	}
	if s.Cache != nil {
		row("Cache hits", "", percentIn(s.Cache.HitRatio))
	}
	if s.Connections != nil {
		row("Connections reused", "", percentIn(s.Connections.Reuse))
	}
	table(b, rows, 2)
	table(b, append([][]string{{"NOW", ""}}, present(s, raised)...), leftAll)
}

// failedIn is how many requests failed in a window, and which part of all.
func failedIn(s *summary, w string) string {
	if s.Failed == nil || s.Failed.Windows[w] == nil {
		return ""
	}
	text := scale(sum(s.Failed.Windows[w]), "")
	if s.Requests != nil {
		if ratio := s.Requests.Windows[w].ErrorRatio; ratio != nil {
			text += " (" + scale(*ratio, "ratio") + ")"
		}
	}
	return text
}

func percentIn(of map[string]float64) func(w string) string {
	return func(w string) string {
		if v, ok := of[w]; ok {
			return scale(v, "ratio")
		}
		return ""
	}
}

// present gives the rows of what is so now, or since the start.
func present(s *summary, raised []string) (rows [][]string) {
	row := func(title string, parts ...string) {
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
		if len(parts) > 0 {
			rows = append(rows, []string{title, strings.Join(parts, ", ")})
		}
	}
	if q := s.Requests; q != nil {
		row("Requests", amount(&q.Total, "", " since the start"), amount(q.InFlight, "", " under way"))
	}
	if s.Failed != nil {
		row("Failed since the start", byClass(s.Failed.Total))
	}
	if s.ClientErrors != nil {
		row("Client's errors since the start", byClass(s.ClientErrors.Total))
	}
	if m := s.Memory; m != nil {
		limit := ""
		if m.Limit != nil && m.Used != nil {
			limit = scale(*m.Used, "ratio") + " of the limit of " + scale(*m.Limit, "bytes") + " used"
		}
		row("Memory", amount(m.Resident, "bytes", ""), amount(m.Heap, "bytes", " live in the heap"), amount(m.Cache, "bytes", " of replies in the cache"), limit)
	}
	if c := s.Connections; c != nil {
		row("Connections", amount(c.Clients, "", " from clients"), amount(c.Open, "", " to upstreams"), amount(c.Idle, "", " of these idle"), amount(c.Waiting, "", " calls waiting for one"))
	}
	if len(raised) == 0 {
		row("Alarms", "none raised")
	}
	for _, message := range raised {
		row("Alarm", message)
	}
	return rows
}

// amount writes a number with what it is of, "" where it is not known.
func amount(v *float64, unit, of string) string {
	if v == nil {
		return ""
	}
	return scale(*v, unit) + of
}

// byClass lists those classes that there were, the most frequent first.
func byClass(of map[string]float64) string {
	classes := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b)) })
	var list []string
	for _, c := range classes {
		if of[c] > 0 {
			list = append(list, fmt.Sprintf("%s %s", scale(of[c], ""), strings.ReplaceAll(c, "_", " ")))
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

func sum(of map[string]float64) (n float64) {
	for _, v := range of {
		n += v
	}
	return n
}
