package memory

import (
	"slices"
	"sort"
	"sync"
	"time"

	"sluice/internal/perf"
)

// Objects knows of everything large that is held: whose it is and since when. The
// zero value is ready for use, by several goroutines; a nil one knows nothing.
type Objects struct {
	mu    sync.Mutex
	all   map[*Object]struct{}
	bytes int64
}

// Object is something large that is held.
type Object struct {
	Owner
	Bytes int64
	Since time.Time
}

// Add notes an object of n bytes, until Remove.
func (l *Objects) Add(o Owner, n int64) *Object {
	if l == nil {
		return nil
	}
	obj := &Object{Owner: o, Bytes: n, Since: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*Object]struct{})
	}
	l.all[obj] = struct{}{}
	l.bytes += n
	return obj
}

// Remove forgets an object, or nil, that is not held any more.
func (l *Objects) Remove(obj *Object) {
	if l == nil || obj == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[obj]; ok {
		delete(l.all, obj)
		l.bytes -= obj.Bytes
	}
}

// Sum is how many objects there are, and their bytes.
func (l *Objects) Sum() (count int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all), l.bytes
}

// Largest lists the n largest, the largest first, and of equal ones the oldest.
func (l *Objects) Largest(n int) []Object {
	l.mu.Lock()
	list := make([]Object, 0, len(l.all))
	for obj := range l.all {
		list = append(list, *obj)
	}
	l.mu.Unlock()
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return a.Bytes > b.Bytes || a.Bytes == b.Bytes && a.Since.Before(b.Since)
	})
	return slices.Clip(list[:min(n, len(list))])
}

// Figures implements perf.Source.
func (l *Objects) Figures(r perf.Reporter) {
	count, bytes := l.Sum()
	r.Gauge("memory_large_objects", "Things of more than 1 MiB each that are held: bodies, replies, messages.", float64(count))
	r.Gauge("memory_large_bytes", "Bytes of those.", float64(bytes))
}
