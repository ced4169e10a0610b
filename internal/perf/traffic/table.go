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
	known  bool         // its name was when it was made
	series T
}

// table holds a bounded number of series. Finding one takes no lock and no
// memory; only making one does.
type table[T any] struct {
	most int // of those whose names are known, and of the others

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
	return t.add(k, at, false)
}

// add makes the series of a key, if there is room among those of its kind.
func (t *table[T]) add(k key, at int64, known bool) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	var m map[key]*entry[T]
	if before := t.entries.Load(); before != nil {
		if e := (*before)[k]; e != nil { // another request was first
			return &e.series
		}
		full, spare := t.full(*before, at, known)
		if full && !spare {
			return nil
		}
		m = maps.Clone(*before)
		if full {
			maps.DeleteFunc(m, func(_ key, e *entry[T]) bool { return e.known == known && stale(e, at) })
		}
	}
	if m == nil {
		m = make(map[key]*entry[T])
	}
	e := &entry[T]{known: known}
	e.used.Store(at)
	k.name = strings.Clone(k.name) // the request's own memory is used again
	m[k] = e
	t.entries.Store(&m)
	return &e.series
}

// full reports whether there are as many series of a kind as there may be, and
// whether one of them is spare, as nobody uses it.
func (t *table[T]) full(m map[key]*entry[T], at int64, known bool) (full, spare bool) {
	n := 0
	for _, e := range m {
		if e.known == known {
			n++
			spare = spare || stale(e, at)
		}
	}
	return n >= t.most, spare
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
