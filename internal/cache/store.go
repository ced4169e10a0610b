package cache

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"sluice/internal/memory"
	"sluice/internal/monotonic"
)

// store is the first level: what is in memory. Eviction is W-TinyLFU's
// (Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy", 2017).
//
// Expiry is ours: an expired entry stays until the next sweep, since a client
// may take a stale reply.
type store struct {
	entries *otter.Cache[Key, *entry]
	least   uint32 // what an entry counts at least, so that MaxSize holds too
	all     uint64 // what their weights may come to where memory is not scarce
	account *memory.Account
	clock   monotonic.Clock

	bytes                            atomic.Int64
	evicted, replaced, expired, gone atomic.Uint64 // gone: purged
	freed                            atomic.Int64  // bytes of those that expired
	wasted                           [origins]atomic.Uint64
	crowded                          chan struct{} // has an eviction been necessary

	ids ids // of the entries

	// mu keeps a reply that was asked for before a purge from being stored after
	// it. Storing holds it for reading, a purge for writing.
	mu            sync.RWMutex
	purges, ended atomic.Uint64 // ended: ids that were forgotten
	forgotten     forgotten
}

// generation is how many purges there were, and how many ids were forgotten.
type generation struct{ purges, ended uint64 }

func newStore(cfg Config, c monotonic.Clock, account *memory.Account) (*store, error) {
	s := &store{clock: c, account: account, crowded: make(chan struct{}, 1)}
	s.least = uint32(max(cfg.MaxBytes/int64(cfg.MaxSize), 1))
	if int64(cfg.MaxSize) > cfg.MaxBytes {
		return nil, fmt.Errorf("max_size: %d entries do not fit into %d bytes", cfg.MaxSize, cfg.MaxBytes)
	}
	entries, err := otter.New(&otter.Options[Key, *entry]{
		MaximumWeight: s.most(cfg),
		// Executor stays a goroutine for each write: worked in at once, as a writer would,
		// writes leave the policy a fifth fewer hits in a flood (TestFloodKeepsHot).
		Weigher: func(_ Key, e *entry) uint32 { return max(uint32(e.size()), s.least) },
		OnAtomicDeletion: func(d otter.DeletionEvent[Key, *entry]) {
			s.count(-d.Value.size())
			s.ids.remove(d.Value.id, d.Key)
			if !d.Value.used.Swap(true) { // it can be of no use any more
				s.wasted[d.Value.origin].Add(1)
			}
			switch d.Cause {
			case otter.CauseOverflow:
				s.evicted.Add(1)
				select {
				case s.crowded <- struct{}{}:
				default:
				}
			case otter.CauseReplacement:
				s.replaced.Add(1)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	s.entries, s.all = entries, s.most(cfg)
	return s, nil
}

// most is what the entries' weights may come to: a whole number of the least weight,
// so that MaxSize entries fit and one more does not.
func (s *store) most(cfg Config) uint64 { return uint64(s.least) * uint64(cfg.MaxSize) }

// bound lowers that to so many bytes.
func (s *store) bound(bytes int64) {
	s.entries.SetMaximum(min(s.all, uint64(bytes)))
}

// count notes that there are n bytes more.
func (s *store) count(n int64) {
	s.bytes.Add(n)
	if n > 0 {
		s.account.Hold(n)
	} else {
		s.account.Give(-n)
	}
}

// get gives the entry of a key, expired or not.
func (s *store) get(key Key) *entry {
	e, _ := s.entries.GetIfPresent(key)
	return e
}

// generation is what a call notes when it begins, for put.
func (s *store) generation() generation { return generation{s.purges.Load(), s.ended.Load()} }

// put stores an entry unless there was a purge since gen, or its id was
// forgotten. also is called with it, under the same condition.
func (s *store) put(key Key, e *entry, gen generation, also func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.purges.Load() != gen.purges || e.id != (Key{}) && (s.forgotten.has(e.id) || s.ended.Load()-gen.ended > maxForgotten) {
		return false
	}
	s.count(e.size())
	s.ids.add(e.id, key) // before it can go again
	s.entries.Set(key, e)
	if also != nil {
		also()
	}
	return true
}

// purge forgets what p names and returns how many entries that were.
func (s *store) purge(p Purge) (n int) {
	s.mu.Lock()
	s.purges.Add(1)
	s.mu.Unlock()
	if p.Model == "" && p.Key != (Key{}) {
		if _, ok := s.entries.Invalidate(p.Key); ok {
			n = 1
		}
	} else {
		n, _ = s.remove(context.Background(), func(e *entry) bool { return p.Model == "" || e.head.Value().model == p.Model })
	}
	s.gone.Add(uint64(n))
	return n
}

// forget drops the entries of an id, which is not stored again, and gives their
// places.
func (s *store) forget(id Key) (places []Place) {
	s.mu.Lock()
	s.ended.Add(1)
	s.forgotten.add(id)
	s.mu.Unlock()
	for _, key := range s.ids.of(id) {
		s.entries.ComputeIfPresent(key, func(e *entry) (*entry, otter.ComputeOp) {
			if e.id != id {
				return e, otter.CancelOp
			}
			places = append(places, Place{Model: e.head.Value().model, Key: key})
			return nil, otter.InvalidateOp
		})
	}
	s.gone.Add(uint64(len(places)))
	return places
}

// isForgotten reports whether an id was forgotten lately.
func (s *store) isForgotten(id Key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.forgotten.has(id)
}

// sweep drops what expired and returns how many entries that were.
func (s *store) sweep(ctx context.Context) (n int, bytes int64) {
	now := s.clock.Now()
	n, bytes = s.remove(ctx, func(e *entry) bool { return e.until <= now })
	s.expired.Add(uint64(n))
	s.freed.Add(bytes)
	return n, bytes
}

// remove takes out those entries, until ctx is done.
func (s *store) remove(ctx context.Context, which func(*entry) bool) (n int, bytes int64) {
	for key, e := range s.entries.All() {
		if ctx.Err() != nil {
			break
		}
		if !which(e) {
			continue
		}
		// One that took its place in the meantime stays.
		s.entries.ComputeIfPresent(key, func(old *entry) (*entry, otter.ComputeOp) {
			if old != e {
				return old, otter.CancelOp
			}
			n++
			bytes += e.size()
			return nil, otter.InvalidateOp
		})
	}
	return n, bytes
}

// named is an entry and its key.
type named struct {
	key Key
	*entry
}

// hottest lists the entries, those with the most hits first, and of those with
// as many the ones that the eviction policy would keep longest.
func (s *store) hottest() []named {
	all := make([]named, 0, s.entries.EstimatedSize())
	for e := range s.entries.Hottest() {
		all = append(all, named{e.Key, e.Value})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].hits.Load() > all[j].hits.Load() })
	return all
}
