package main

import (
	"container/heap"
	"encoding/binary"

	"github.com/maypok86/otter/v2"

	"sluice/internal/cache/successor"
)

const (
	// defaultSize is the cache's default number of entries.
	defaultSize = 2000
	// weight is what an entry counts in a cache of that size and 128 MiB, its
	// default, unless it is longer than most replies.
	weight = 128 << 20 / defaultSize
)

// minHits counts the hits of L. Bélády's MIN (1966), which no cache beats that
// loads only what is asked for: it evicts the key whose next use is farthest,
// which may be the one that has just been asked for.
func minHits(t *trace, capacity int) (hits int) {
	next, never := nextUses(t), int32(len(t.requests))
	cached := make([]bool, t.distinct)
	held := 0
	var ends farthest // the next uses of the cached keys, and some past ones
	for i, key := range t.requests {
		if cached[key] {
			hits++
			cached[key] = false
			held--
		}
		if next[i] == never {
			continue
		}
		cached[key] = true
		held++
		heap.Push(&ends, next[i])
		if held > capacity {
			cached[t.requests[heap.Pop(&ends).(int32)]] = false
			held--
		}
	}
	return hits
}

// nextUses is where the key of each request is asked for next; the length of
// the trace stands for never.
func nextUses(t *trace) []int32 {
	next := make([]int32, len(t.requests))
	at := make([]int32, t.distinct)
	for i := range at {
		at[i] = int32(len(t.requests))
	}
	for i := len(t.requests) - 1; i >= 0; i-- {
		key := t.requests[i]
		next[i], at[key] = at[key], int32(i)
	}
	return next
}

// farthest is a heap with the largest number on top.
type farthest []int32

func (h farthest) Len() int           { return len(h) }
func (h farthest) Less(i, j int) bool { return h[i] > h[j] }
func (h farthest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *farthest) Push(x any)        { *h = append(*h, x.(int32)) }
func (h *farthest) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// lruHits counts the hits of a cache that evicts what was used least recently.
func lruHits(t *trace, capacity int) (hits int) {
	// A ring of the cached keys; the entry after the last key's is its head.
	head := int32(t.distinct)
	newer, older := make([]int32, t.distinct+1), make([]int32, t.distinct+1)
	newer[head], older[head] = head, head
	cached := make([]bool, t.distinct)
	held := 0
	unlink := func(key int32) {
		newer[older[key]], older[newer[key]] = newer[key], older[key]
	}
	for _, key := range t.requests {
		switch {
		case cached[key]:
			hits++
			unlink(key)
		case held == capacity:
			oldest := newer[head]
			unlink(oldest)
			cached[oldest] = false
		default:
			held++
		}
		cached[key] = true
		last := older[head]
		newer[last], older[key] = key, last
		newer[key], older[head] = head, key
	}
	return hits
}

// preloads is what loading ahead did.
type preloads struct{ loaded, used int }

// entry is what is stored for a key.
type entry struct{ ahead bool } // loaded ahead and not used so far

// tinyLFUHits counts the hits of the cache's own policy, W-TinyLFU, set up as
// the cache sets it up but for its maintenance, which is done at once and not
// beside the requests. What differs from run to run is the seed of the hashes
// that it counts uses by. With a model, what it predicts is loaded ahead.
func tinyLFUHits(t *trace, capacity int, model *successor.Model) (hits int, ahead preloads) {
	cache := otter.Must(&otter.Options[successor.Key, *entry]{
		MaximumWeight: uint64(capacity) * weight,
		Weigher:       func(successor.Key, *entry) uint32 { return weight },
		Executor:      func(fn func()) { fn() },
	})
	defer cache.StopAllGoroutines()
	var predicted []successor.Key
	for _, n := range t.requests {
		var key successor.Key
		binary.BigEndian.PutUint32(key[:], uint32(n))
		if e, ok := cache.GetIfPresent(key); ok {
			hits++
			if e.ahead {
				e.ahead = false
				ahead.used++
			}
		} else {
			cache.Set(key, &entry{})
		}
		if model == nil {
			continue
		}
		predicted = model.Observe(predicted[:0], 0, key)
		for _, p := range predicted {
			if _, ok := cache.GetEntryQuietly(p); !ok {
				cache.Set(p, &entry{ahead: true})
				ahead.loaded++
			}
		}
	}
	return hits, ahead
}
