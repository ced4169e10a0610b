package traffic

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// unused is how long nobody asked for a label before another may take its place:
// longer than any window that figures are shown over.
const unused = 2 * time.Hour

// key is what a series is told apart by.
type key struct {
	op   llm.Operation
	name string
}

// entry is a series and when it was used last.
type entry[T any] struct {
	used   atomic.Int64 // Unix seconds
	series T
}

// table holds a bounded number of series. Finding one takes no lock and no
// memory; only making one does.
type table[T any] struct {
	most int

	mu      sync.Mutex // of those who make
	entries atomic.Pointer[map[key]*entry[T]]
}

// get finds the series of a key, or makes it if it may and there is room; else it
// returns nil.
func (t *table[T]) get(k key, now time.Time, make bool) *T {
	at := now.Unix()
	if m := t.entries.Load(); m != nil {
		if e := (*m)[k]; e != nil {
			if e.used.Load() != at { // else many would write the same place
				e.used.Store(at)
			}
			return &e.series
		}
	}
	if !make {
		return nil
	}
	return t.add(k, at, t.most)
}

// add makes the series of a key, if there are fewer than most.
func (t *table[T]) add(k key, at int64, most int) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[key]*entry[T])
	if before := t.entries.Load(); before != nil {
		if e := (*before)[k]; e != nil { // another request was first
			return &e.series
		}
		if len(*before) >= most && !t.spare(*before, at) {
			return nil
		}
		maps.Copy(m, *before)
	}
	if len(m) >= most {
		maps.DeleteFunc(m, func(_ key, e *entry[T]) bool { return stale(e, at) })
	}
	e := new(entry[T])
	e.used.Store(at)
	k.name = strings.Clone(k.name) // the request's own memory is used again
	m[k] = e
	t.entries.Store(&m)
	return &e.series
}

// spare reports whether a full table has a series that nobody uses.
func (t *table[T]) spare(m map[key]*entry[T], at int64) bool {
	for _, e := range m {
		if stale(e, at) {
			return true
		}
	}
	return false
}

func stale[T any](e *entry[T], at int64) bool { return at-e.used.Load() > int64(unused/time.Second) }

// each visits the series in no particular order.
func (t *table[T]) each(visit func(key, *T)) {
	if m := t.entries.Load(); m != nil {
		for k, e := range *m {
			visit(k, &e.series)
		}
	}
}
