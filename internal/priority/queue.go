// Package priority is a queue in which those of higher priority go first.
//
// It promises that nobody starves: every turnOf-th turn is that of whoever has waited
// longest, whatever its priority, and where that one would have gone anyway, of the
// lowest priority that waits. So any item goes within a bounded number of turns, and
// one of high priority is kept back by at most one in so many. Every operation
// takes constant time, removing from the middle and raising included: under load many
// give up.
package priority

import "sluice/internal/llm"

const (
	// Levels are how many priorities there are: 0 to Levels-1.
	Levels = 10
	// turnOf is which turn is no turn of the highest priority.
	turnOf = 10
)

// Item is a place in a Queue. It is in one at most.
type Item[T any] struct {
	Value T

	links  [2]links[T] // among those of its priority, and among all
	queued bool
	level  llm.Priority
}

// links are those of an item in one list.
type links[T any] struct{ next, prev *Item[T] }

// Which of an item's links a list is made of.
const (
	byLevel = iota
	byAge
)

// Queued reports whether the item is in a queue.
func (it *Item[T]) Queued() bool { return it.queued }

// Queue holds items. Its zero value is empty. It is not safe for concurrent use.
type Queue[T any] struct {
	lists [Levels]list[T] // of each priority, in the order in which they came to have it
	all   list[T]         // in the order in which they came
	turns uint64
}

// list is items in an order.
type list[T any] struct {
	first, last *Item[T]
	n           int
}

func (l *list[T]) push(it *Item[T], by int) {
	it.links[by].prev = l.last
	if l.last != nil {
		l.last.links[by].next = it
	} else {
		l.first = it
	}
	l.last = it
	l.n++
}

func (l *list[T]) remove(it *Item[T], by int) {
	at := &it.links[by]
	if at.prev != nil {
		at.prev.links[by].next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		at.next.links[by].prev = at.prev
	} else {
		l.last = at.prev
	}
	*at = links[T]{}
	l.n--
}

// Len is how many items there are.
func (q *Queue[T]) Len() int { return q.all.n }

// At is how many there are of a priority.
func (q *Queue[T]) At(p llm.Priority) int { return q.lists[min(p, Levels-1)].n }

// Ahead is how many would go before another of a priority, as far as those who wait
// now can tell.
func (q *Queue[T]) Ahead(p llm.Priority) (n int) {
	for level := p; level < Levels; level++ {
		n += q.lists[level].n
	}
	if top := q.top(); p < top {
		// Those below the highest have a turn in so many, however many come above.
		n = min(n, int(turnOf-1-q.turns%turnOf)+turnOf*(q.all.n-q.lists[top].n))
	}
	return n
}

// top is the highest priority that waits, 0 where none does.
func (q *Queue[T]) top() llm.Priority {
	for p := llm.Priority(Levels - 1); p > 0; p-- {
		if q.lists[p].n > 0 {
			return p
		}
	}
	return 0
}

// Push puts an item last among those of its priority.
func (q *Queue[T]) Push(it *Item[T], p llm.Priority) {
	it.queued, it.level = true, min(p, Levels-1)
	q.lists[it.level].push(it, byLevel)
	q.all.push(it, byAge)
}

// Raise puts an item last among those of a higher priority. It keeps its age, so that
// it goes no later for it. One that has that priority, or is in no queue, stays where
// it is.
func (q *Queue[T]) Raise(it *Item[T], p llm.Priority) {
	if p = min(p, Levels-1); !it.queued || p <= it.level {
		return
	}
	q.lists[it.level].remove(it, byLevel)
	it.level = p
	q.lists[p].push(it, byLevel)
}

// Pop removes the item whose turn it is, nil when there is none.
func (q *Queue[T]) Pop() *Item[T] {
	if q.all.n == 0 {
		return nil
	}
	q.turns++
	next := q.lists[q.top()].first
	if q.turns%turnOf == 0 {
		if oldest := q.all.first; oldest != next {
			next = oldest
		} else {
			next = q.lowest()
		}
	}
	q.Remove(next)
	return next
}

// lowest is the first of the lowest priority that waits.
func (q *Queue[T]) lowest() *Item[T] {
	p := 0
	for q.lists[p].n == 0 {
		p++
	}
	return q.lists[p].first
}

// Least gives the item that came last among those of the lowest priority, nil when
// that is no lower than p.
func (q *Queue[T]) Least(p llm.Priority) *Item[T] {
	for level := range min(p, Levels) {
		if last := q.lists[level].last; last != nil {
			return last
		}
	}
	return nil
}

// Remove takes an item out. It is false where the item is in no queue.
func (q *Queue[T]) Remove(it *Item[T]) bool {
	if !it.queued {
		return false
	}
	q.lists[it.level].remove(it, byLevel)
	q.all.remove(it, byAge)
	it.queued = false
	return true
}
