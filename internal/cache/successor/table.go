package successor

import "hash/maphash"

// none stands for no slot.
const none = -1

// table finds the slot of a key. It has a fixed number of slots, which are
// numbered from 0 and chained in buckets. Its hash is seeded, so that nobody
// can choose keys that meet in one bucket.
type table[K comparable] struct {
	seed    maphash.Seed
	buckets []int32 // the first slot of each chain
	chain   []int32 // the next slot of the same bucket
	keys    []K
}

func newTable[K comparable](size int) table[K] {
	t := table[K]{seed: maphash.MakeSeed(), buckets: make([]int32, size), chain: make([]int32, size), keys: make([]K, size)}
	for i := range t.buckets {
		t.buckets[i] = none
	}
	return t
}

func (t *table[K]) bucket(key K) *int32 {
	return &t.buckets[maphash.Comparable(t.seed, key)%uint64(len(t.buckets))]
}

func (t *table[K]) find(key K) int32 {
	slot := *t.bucket(key)
	for slot != none && t.keys[slot] != key {
		slot = t.chain[slot]
	}
	return slot
}

// put gives a free slot to a key that has none.
func (t *table[K]) put(key K, slot int32) {
	first := t.bucket(key)
	t.keys[slot], t.chain[slot] = key, *first
	*first = slot
}

// drop frees a slot that is taken.
func (t *table[K]) drop(slot int32) {
	at := t.bucket(t.keys[slot])
	for *at != slot {
		at = &t.chain[*at]
	}
	*at = t.chain[slot]
}

// list orders slots by the time of their last use. Each slot is on one list of
// those that share links.
type list struct{ newest, oldest int32 }

type link struct{ newer, older int32 }

var empty = list{none, none} //nolint:gochecknoglobals // a constant in all but syntax

func (l *list) push(links []link, slot int32) {
	links[slot] = link{none, l.newest}
	if l.newest == none {
		l.oldest = slot
	} else {
		links[l.newest].newer = slot
	}
	l.newest = slot
}

func (l *list) remove(links []link, slot int32) {
	k := links[slot]
	if k.newer == none {
		l.newest = k.older
	} else {
		links[k.newer].older = k.older
	}
	if k.older == none {
		l.oldest = k.newer
	} else {
		links[k.older].newer = k.newer
	}
}
