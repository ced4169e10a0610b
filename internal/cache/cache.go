package cache

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"unique"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/monotonic"
)

// Options are what a Cache needs besides its configuration.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// StateDir is the directory that the hot set is kept in, "" for none.
	StateDir string
	// Aside gives what else is to be kept with the hot set, for Restored. It is
	// called when the hot set is written. nil keeps nothing.
	Aside func() []byte

	// Before is the cache whose entries this one is going to take, with TakeOver,
	// instead of those of the hot set; nil for none.
	Before *Cache

	// Account is where replies in memory are reserved, and Shared what is recorded for
	// those who share a call. nil is without bound.
	Account, Shared *memory.Account
	// Scarce reports whether memory is scarce: then nothing is loaded ahead, and little
	// recorded. nil is never.
	Scarce func() bool
}

// Cache holds replies. It outlives the chains whose stages use it. Its methods
// are safe for concurrent use.
type Cache struct {
	cfg     Config
	log     *slog.Logger
	clock   monotonic.Clock
	store   *store
	second  SecondLevel // nil for none
	flights flights
	lookups sync.Pool // of *lookup
	keyers  sync.Pool // of *keyer
	figures figures
	ahead   *ahead
	hot     *hotSet // nil without a state directory
	before  *Cache  // to take over from; nil for none
	scarce  func() bool
	head    atomic.Pointer[unique.Handle[head]] // the last that was stored

	stage atomic.Pointer[stage] // by which the cache itself asks
}

// New makes a Cache of a configuration that has been validated, with what the
// state directory holds. It asks no upstream and writes nothing; Run does its
// background work.
func New(cfg Config, o Options) (*Cache, error) {
	c := &Cache{cfg: cfg, log: o.Logger, clock: monotonic.New(), before: o.Before}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if o.Before != nil {
		c.clock = o.Before.clock
	}
	var err error
	if c.store, err = newStore(cfg, c.clock, o.Account); err != nil {
		return nil, err
	}
	if o.Scarce == nil {
		o.Scarce = func() bool { return false }
	}
	c.scarce = o.Scarce
	c.flights = flights{
		account: o.Shared, scarce: o.Scarce,
		clock: c.clock, joinable: max(cfg.MaxEntryBytes, minJoinable), budget: max(cfg.MaxBytes/2, minJoinable),
		underWay: make(map[Key]*flight),
	}
	c.ahead = newAhead(c)
	if cfg.Preload.Completions {
		if err := c.ahead.enable(); err != nil {
			return nil, err
		}
	}
	if o.StateDir != "" {
		c.hot = newHotSet(o.StateDir, cfg.Preload.HotSetBytes, o.Aside)
		if o.Before == nil {
			c.restore()
		}
	}
	return c, nil
}

// Attach adds a second level. It is called before the first request, and not
// with nil.
func (c *Cache) Attach(second SecondLevel) error {
	c.second = second
	if c.ahead.successors != nil {
		return nil
	}
	return c.ahead.enable()
}

// Stage makes the chain's stage in front of next. groups is asked about models. Where the chain
// is strict, it refuses requests of which something would be lost, and what an upstream was asked
// without a part of its request (llm.Head.Lossy) answers none of its.
func (c *Cache) Stage(next llm.Handler, groups llm.Groups, strict bool) llm.Handler {
	return &stage{cache: c, next: next, groups: groups, strict: strict}
}

// Use makes a handler that Stage returned the one by which the cache asks for
// what it loads ahead. nil ends that.
func (c *Cache) Use(handler llm.Handler) {
	s, _ := handler.(*stage)
	c.stage.Store(s)
}

// Bound bounds the replies in memory to so many bytes, or max_bytes where that is
// less, from now on. What is above goes at once, what is used least first.
func (c *Cache) Bound(bytes int64) { c.store.bound(bytes) }

// Close gives back the memory. Nothing may be asked of the cache after it.
func (c *Cache) Close() { c.store.entries.InvalidateAll() }

// Purge forgets replies, here and on the machines that share the second level.
// n is how many were in memory here. After an error those elsewhere may still
// be there.
func (c *Cache) Purge(ctx context.Context, p Purge) (n int, err error) {
	n = c.Forget(p)
	if c.second != nil {
		err = c.second.Purge(ctx, p)
	}
	return n, err
}

// Forget is Purge for this machine alone. Calls under way are joined no more
// and their replies not kept.
func (c *Cache) Forget(p Purge) (n int) {
	if p.ID != (Key{}) {
		return len(c.forgetID(p.ID))
	}
	n = c.store.purge(p)
	c.flights.forget()
	c.discard(nil)
	return n
}

// discard removes the hot set, where when is nil or says so of the ids in it.
func (c *Cache) discard(when func(ids map[Key]struct{}) bool) {
	if c.hot == nil {
		return
	}
	if err := c.hot.discard(when); err != nil {
		c.log.Warn("the hot set cannot be removed; a restart may bring back what was forgotten", "dir", c.hot.dir, "error", err)
	}
}

// Bytes is how many bytes of replies are in memory.
func (c *Cache) Bytes() int64 { return c.store.bytes.Load() }

// TakeOver brings in the entries of Options.Before, the hottest last, so that they
// are the last to go, and has that cache write no hot set any more. What is purged
// meanwhile stays away. Without Before, and when it was called, it does nothing.
func (c *Cache) TakeOver() {
	before := c.before
	if before == nil {
		return
	}
	c.before = nil // which may go when its last request has ended
	gen := c.store.generation()
	all := before.store.hottest()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].size() <= c.cfg.MaxEntryBytes+overhead {
			c.store.put(all[i].key, all[i].copied(), gen, nil)
		}
	}
	before.retire()
}

// retire ends the writing of the hot set: another cache has taken over.
func (c *Cache) retire() {
	if c.hot == nil {
		return
	}
	if err := c.hot.close(); err != nil {
		c.log.Warn("unlock state directory", "error", err)
	}
}
