package translate

import (
	"sync"

	"sluice/internal/dialect"
	"sluice/internal/perf"
)

// maxNames bounds the names of losses that are counted one by one: clients choose some.
const maxNames = 64

// losses count what was not carried, by name.
type losses struct {
	mu     sync.Mutex
	counts map[string]uint64
}

// count counts the names, and gives them as Head.Lossy has them.
func (l *losses) count(lost *dialect.Losses) string {
	names := lost.Names()
	if len(names) == 0 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = make(map[string]uint64)
	}
	for _, name := range names {
		if _, ok := l.counts[name]; !ok && len(l.counts) >= maxNames {
			name = "other"
		}
		l.counts[name]++
	}
	return lost.String()
}

// Figures implements perf.Source.
func (h *Handler) Figures(r perf.Reporter) {
	l := &h.lost
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.counts {
		r.Counter("translation_lost_total", "Replies to requests of which something was not carried over, by its name as in X-Sluice-Lossy. Of more than 64 names the rest is other.",
			float64(n), "upstream", h.o.Name, "name", name)
	}
}
