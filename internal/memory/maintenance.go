package memory

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sluice/internal/perf"
)

// Task is one piece of maintenance: it lets go of what nobody needs any more. It is done
// every memory.cleanup_interval, a tenth more or less, at a time of its own, so that many
// gateways, and many tasks of one, do not all do so at once.
type Task struct {
	Name string // no other has

	// Do says how many things it let go of and how many bytes that were, as far as it
	// knows. It ends soon after ctx does: what is left is for the next time.
	Do func(ctx context.Context) (things int, bytes int64)
}

// mostTime bounds a task.
const mostTime = time.Second

// maintenance does tasks one after another, so that they never take more than one
// processor from requests.
type maintenance struct {
	mu  sync.Mutex
	all map[string]*upkeep
}

// upkeep is what became of a task.
type upkeep struct {
	due       time.Time
	runs, cut uint64
	things    uint64
	bytes     int64
	took      time.Duration
	interval  time.Duration // that due is reckoned by
}

// jittered is d, a tenth more or less.
func jittered(d time.Duration) time.Duration {
	return d*9/10 + rand.N(d/5)
}

// do does those tasks that are due, until ctx is done.
func (m *maintenance) do(ctx context.Context, now time.Time, interval time.Duration, tasks []Task) {
	for _, t := range m.due(now, interval, tasks) {
		if ctx.Err() != nil {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, mostTime)
		began := time.Now()
		things, bytes := t.Do(bounded)
		cut := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		m.mu.Lock()
		u := m.all[t.Name]
		u.runs++
		u.things += uint64(max(things, 0))
		u.bytes += max(bytes, 0)
		u.took += time.Since(began)
		if cut {
			u.cut++
		}
		m.mu.Unlock()
	}
}

// due lists the tasks whose time has come, and sets their next one. A task that is new,
// and any after the interval was changed, is due in an interval from now.
func (m *maintenance) due(now time.Time, interval time.Duration, tasks []Task) []Task {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = make(map[string]*upkeep)
	}
	return slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool {
		u := m.all[t.Name]
		if u == nil {
			u = new(upkeep)
			m.all[t.Name] = u
		}
		wait := u.interval != interval || now.Before(u.due)
		if !wait || u.interval != interval {
			u.due, u.interval = now.Add(jittered(interval)), interval
		}
		return wait
	})
}

// Figures implements perf.Source.
func (m *maintenance) Figures(r perf.Reporter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.all)) {
		u := m.all[name]
		r.Counter("maintenance_runs_total", "Times that a task of maintenance was done.", float64(u.runs), "task", name)
		r.Counter("maintenance_cut_short_total", "Times that it took more than a second and was cut short.", float64(u.cut), "task", name)
		r.Counter("maintenance_seconds_total", "Time that it took.", u.took.Seconds(), "task", name)
		r.Counter("maintenance_freed_total", "Things that it let go of.", float64(u.things), "task", name)
		r.Counter("maintenance_freed_bytes_total", "Bytes that it let go of, as far as it knows.", float64(u.bytes), "task", name)
	}
}
