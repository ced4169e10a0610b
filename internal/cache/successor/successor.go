// Package successor learns which entry of a cache tends to be asked for after
// which, so that it can be loaded ahead.
//
// A Model is a first-order Markov predictor, the graph of V. Padmanabhan and
// J. Mogul, Using Predictive Prefetching to Improve World Wide Web Latency
// (1996), after the probability graph of J. Griffioen and R. Appleton, Reducing
// File System Latency using a Predictive Approach (1994), with a look-ahead of
// one. Unlike theirs it is bounded: a key remembers its four likeliest
// successors, counts are aged by halving, and keys are forgotten.
//
// Contexts, such as tenants, share memory but nothing that was learnt: what one
// asks for changes no prediction for another, even where both ask for the same
// keys. A client that never asks for the same thing twice makes the model
// forget, but first of all its own keys: a full model takes from a context that
// holds at least as many as the one that asks.
package successor

import "sync"

// Key names an entry of the cache.
type Key = [32]byte

const (
	// maxContexts is how many contexts are remembered. A forgotten one loses
	// the key it asked for last at once, and its keys as others need the room.
	maxContexts = 1024
	// maxSuccessors is how many successors a key remembers.
	maxSuccessors = 4
	// maxFollowed is when a key's counts are halved.
	maxFollowed = 32
	// minCount is how often a successor has to have followed.
	minCount = 2
)

// Model is safe for concurrent use. Its memory is allocated by New: about 110
// bytes a key and 60 a context.
type Model struct {
	mu       sync.Mutex
	keys     table[place]
	nodes    []node
	byUse    []link // of the keys of a context
	contexts table[uint64]
	context  []context
	recent   []link // of the contexts
	order    list   // of the contexts
	largest  int32  // a context that holds many keys, if not the most
	stats    Stats
}

// place is a key as one context asks for it.
type place struct {
	context uint64
	key     Key
}

// ref names a key by its slot, as long as the slot has not changed hands.
type ref struct {
	slot int32
	turn uint32
}

type node struct {
	turn     uint32 // counts the keys that have had the slot
	owner    int32  // the slot of the key's context, or of what came after it
	followed uint8  // how often another key came next
	count    [maxSuccessors]uint8
	next     [maxSuccessors]ref // the newer ones first
}

type context struct {
	last ref // the key asked for last
	keys list
	held int // how many keys
}

// Stats are a Model's figures: the keys and contexts it knows, and how often
// it was told of a key, predicted one and forgot one.
type Stats struct {
	Keys, Contexts                 int
	Observed, Predicted, Forgotten uint64
}

// New makes a model that remembers size keys of all contexts together, at
// least one.
func New(size int) *Model {
	size = max(size, 1)
	m := &Model{
		keys: newTable[place](size), nodes: make([]node, size), byUse: make([]link, size),
		contexts: newTable[uint64](maxContexts), context: make([]context, maxContexts), recent: make([]link, maxContexts),
		order: empty,
	}
	for i := range m.context {
		m.context[i].keys = empty
	}
	return m
}

// Observe records that key was asked for in a context, such as a tenant, and
// appends to dst the keys that are likely to be asked for next: those that
// followed key there at least twice and at least half of the times that another
// key came next. These are two at most, the newer one first. Asking for the
// same key again, as a retry does, teaches nothing.
func (m *Model) Observe(dst []Key, context uint64, key Key) []Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Observed++
	c := m.enter(context)
	slot := m.touch(c, place{context, key})
	at := &m.context[c]
	if last := at.last; m.valid(last) && last.slot != slot {
		m.nodes[last.slot].follow(m, ref{slot, m.nodes[slot].turn})
	}
	at.last = ref{slot, m.nodes[slot].turn}
	return m.likely(dst, &m.nodes[slot])
}

// Stats returns the figures so far.
func (m *Model) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// valid reports whether r still names the key that it was made for. The zero
// ref does not, since turns count from 1.
func (m *Model) valid(r ref) bool { return r.turn != 0 && m.nodes[r.slot].turn == r.turn }

// enter finds the slot of a context, which may be that of the one that has
// been silent longest.
func (m *Model) enter(id uint64) int32 {
	c := m.contexts.find(id)
	switch {
	case c != none:
		m.order.remove(m.recent, c)
	case m.stats.Contexts < maxContexts:
		c = int32(m.stats.Contexts)
		m.stats.Contexts++
		m.contexts.put(id, c)
	default:
		c = m.order.oldest
		m.order.remove(m.recent, c)
		m.contexts.drop(c)
		m.contexts.put(id, c)
		m.context[c].last = ref{}
	}
	m.order.push(m.recent, c)
	return c
}

// touch finds the slot of a key that context c asks for, which may be that of
// one that it makes the model forget.
func (m *Model) touch(c int32, p place) int32 {
	slot := m.keys.find(p)
	switch {
	case slot != none: // of this context, but it may have had another slot
		m.disown(slot)
	case m.stats.Keys < len(m.nodes):
		slot = int32(m.stats.Keys)
		m.stats.Keys++
		m.keys.put(p, slot)
		m.nodes[slot].turn = 1
	default:
		slot = m.context[m.larger(c)].keys.oldest
		m.disown(slot)
		m.keys.drop(slot)
		m.keys.put(p, slot)
		m.nodes[slot] = node{turn: max(m.nodes[slot].turn+1, 1)}
		m.stats.Forgotten++
	}
	m.nodes[slot].owner = c
	m.context[c].keys.push(m.byUse, slot)
	m.context[c].held++
	m.larger(c)
	return slot
}

func (m *Model) disown(slot int32) {
	owner := &m.context[m.nodes[slot].owner]
	owner.keys.remove(m.byUse, slot)
	owner.held--
}

// larger is a context that holds as many keys as c does or more. It is the
// largest but for a while after that has shrunk.
func (m *Model) larger(c int32) int32 {
	if m.context[c].held > m.context[m.largest].held {
		m.largest = c
	}
	return m.largest
}

// follow counts that next came after n.
func (n *node) follow(m *Model, next ref) {
	if n.followed == maxFollowed {
		n.followed /= 2
		for i := range n.count {
			n.count[i] /= 2
		}
	}
	n.followed++
	// The one to replace is the oldest of those with the lowest count.
	lowest := maxSuccessors - 1
	for i := maxSuccessors - 1; i >= 0; i-- {
		if n.next[i] == next {
			n.count[i]++
			return
		}
		if !m.valid(n.next[i]) {
			n.count[i] = 0
		}
		if n.count[i] < n.count[lowest] {
			lowest = i
		}
	}
	copy(n.next[1:lowest+1], n.next[:lowest])
	copy(n.count[1:lowest+1], n.count[:lowest])
	n.next[0], n.count[0] = next, 1
}

// likely appends the keys that are likely to come after n.
func (m *Model) likely(dst []Key, n *node) []Key {
	for i, next := range n.next {
		if n.count[i] < minCount || 2*n.count[i] < n.followed || !m.valid(next) {
			continue
		}
		dst = append(dst, m.keys.keys[next.slot].key)
		m.stats.Predicted++
	}
	return dst
}
