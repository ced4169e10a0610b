package timeline

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// recentEvery is the time between two recent points.
	recentEvery = 5 * step
	// recentKept is how far they go back.
	recentKept = 10 * time.Minute
	// maxRecent bounds the figures of one. Those that come first by name are in it.
	maxRecent = 256
)

// Follow says whether the last minutes of a figure are kept, and by which label:
// each of its values by itself, or with "" all series together.
type Follow func(figure string) (label string, ok bool)

// recent is the points of the last minutes, closer together than the history's.
type recent struct {
	follow Follow // nil for none

	mu     sync.Mutex
	points []Point
}

// Recent gives what followed figures did in the last ten minutes, from the oldest
// point on, and the time between two of them. A figure by a label is named
// FIGURE{LABEL="VALUE"}, with what headlines have behind it.
func (t *Timeline) Recent() (interval time.Duration, points []Point) {
	r := &t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, p := range r.points {
		if age := now.Sub(p.Time); age >= 0 && age <= recentKept {
			points = append(points, p)
		}
	}
	return recentEvery, points
}

// remember makes a recent point, at every fifth tick.
func (t *Timeline) remember(now time.Time) {
	if t.recent.follow == nil {
		return
	}
	t.mu.RLock()
	due := t.clock.ticks%uint64(recentEvery/step) == 0
	var list []headline
	if due {
		list = t.followed()
	}
	t.mu.RUnlock()
	if !due {
		return
	}
	p := point(now, list[:min(len(list), maxRecent)])
	r := &t.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points = slices.DeleteFunc(r.points, func(q Point) bool { return !q.Time.Before(p.Time) || p.Time.Sub(q.Time) > recentKept })
	r.points = append(r.points, p.sharing(r.points))
}

// followed gives the headlines of what is followed: rates since the last recent
// point; percentiles and ratios over the last minute, since ten seconds may hold
// too little of a quiet figure. t.mu is held.
func (t *Timeline) followed() (list []headline) {
	over, lately, m := t.clock.back(recentEvery), t.clock.back(time.Minute), new(merger)
	for _, name := range slices.Sorted(maps.Keys(t.figures)) {
		label, ok := t.recent.follow(name)
		if !ok {
			continue
		}
		f := t.figures[name]
		groups := map[string][]*series{"": f.series}
		if label != "" {
			groups = f.by(label)
		}
		for _, value := range slices.Sorted(maps.Keys(groups)) {
			as := name
			if label != "" {
				as += "{" + label + `="` + value + `"}`
			}
			span := over
			if f.kind == Histogram || f.kind == Ratio {
				span = lately
			}
			list = sumUp(list, f, as, measure(f.kind, groups[value], span, m))
		}
	}
	return list
}

// by groups series by a label's value; those without it are in none.
func (f *figure) by(label string) map[string][]*series {
	groups := make(map[string][]*series)
	for _, s := range f.series {
		if v, ok := s.label(label); ok {
			groups[v] = append(groups[v], s)
		}
	}
	return groups
}

// sumUp adds what a point has of stats, under the names of the history's points.
func sumUp(list []headline, f *figure, as string, s Stats) []headline {
	put := func(suffix string, v float64) { list = append(list, headline{as + suffix, v}) }
	switch {
	case f.kind == Counter && s.Seconds > 0:
		put(".rate", s.Count/s.Seconds)
	case f.kind == Ratio && s.Whole > 0:
		put("", s.Count/s.Whole)
	case f.kind == Gauge && s.Gauges > 0:
		put("", s.Value)
	case f.kind == Histogram && s.Count > 0 && strings.HasSuffix(f.name, "_seconds"):
		put(".p50", s.Distribution.Quantile(0.5))
		put(".p99", s.Distribution.Quantile(0.99))
	}
	return list
}
