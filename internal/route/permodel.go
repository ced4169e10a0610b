package route

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// perModel keeps what is known of models of one upstream. Finding something takes no
// lock and allocates nothing; a map is not changed once it can be seen. Names may come
// from clients: whoever adds one bounds how many there are.
type perModel[T any] struct {
	kept atomic.Pointer[map[string]*T]
	mu   sync.Mutex // of those who replace it
}

// all gives what there is, by model. It is not to be changed.
func (m *perModel[T]) all() map[string]*T {
	if kept := m.kept.Load(); kept != nil {
		return *kept
	}
	return nil
}

// find gives the model's, nil for none.
func (m *perModel[T]) find(model string) *T { return m.all()[model] }

// make gives the model's, a new one where there is none. For that, room makes room in a
// copy of all that there is, and false says that there is none: then it is nil, as it is
// for a name that is too long to be a model's.
func (m *perModel[T]) make(model string, room func(all map[string]*T) bool, fresh func(model string) *T) *T {
	if len(model) > maxModelName {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if is := m.find(model); is != nil { // another call was first
		return is
	}
	next := maps.Clone(m.all())
	if next == nil {
		next = make(map[string]*T)
	}
	if !room(next) {
		return nil
	}
	model = strings.Clone(model) // it may be a piece of a large request
	is := fresh(model)
	next[model] = is
	m.kept.Store(&next)
	return is
}
