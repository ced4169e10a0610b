package protobuf

import (
	"container/list"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/perf"
)

// Plans keeps the plans of the message types that were used last. It is safe
// for concurrent use.
type Plans struct {
	size int

	mu    sync.Mutex
	byKey map[planKey]*list.Element
	used  *list.List // of *planEntry, the last used first
	round uint64     // how often Tidy was called

	hits, misses, evicted, failed atomic.Uint64
	fallbacks                     fallbacks
}

type planKey struct {
	schema [32]byte // digest
	name   protoreflect.FullName
}

// planEntry is a plan, or one that is being made. The first who asks makes it
// and the others wait for him.
type planEntry struct {
	key  planKey
	seen uint64 // the round in which it was asked for last
	once sync.Once
	plan *Plan
	err  error
}

// NewPlans makes a cache for size plans, at least one.
func NewPlans(size int) *Plans {
	return &Plans{size: max(size, 1), byKey: make(map[planKey]*list.Element), used: list.New(),
		fallbacks: fallbacks{byType: make(map[protoreflect.FullName]uint64)}}
}

// Get gives the plan of the message type name of the schema with this digest,
// which it compiles if it has none. types are those of the schema. However many
// ask at a time, it is compiled once. What fails is not kept.
func (c *Plans) Get(schema [32]byte, types Types, name protoreflect.FullName) (*Plan, error) {
	e, found := c.entry(planKey{schema, name})
	if found {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	e.once.Do(func() {
		if e.plan, e.err = compileNamed(types, name); e.err != nil {
			c.failed.Add(1)
		} else {
			e.plan.fallbacks = &c.fallbacks
		}
		c.settle(e)
	})
	return e.plan, e.err
}

func compileNamed(types Types, name protoreflect.FullName) (*Plan, error) {
	mt, err := types.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("find message %q: %w", name, err)
	}
	return Compile(mt.Descriptor(), types)
}

// entry finds or adds an entry.
func (c *Plans) entry(key planKey) (e *planEntry, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.byKey[key]; at != nil {
		c.used.MoveToFront(at)
		e = at.Value.(*planEntry)
		e.seen = c.round
		return e, true
	}
	e = &planEntry{key: key, seen: c.round}
	c.byKey[key] = c.used.PushFront(e)
	return e, false
}

// settle makes room for an entry that was made, or forgets it if that failed:
// names that do not exist push no plan out.
func (c *Plans) settle(e *planEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err != nil {
		if at := c.byKey[e.key]; at != nil && at.Value == e {
			c.remove(at)
		}
		return
	}
	for c.used.Len() > c.size {
		c.remove(c.used.Back())
		c.evicted.Add(1)
	}
}

func (c *Plans) remove(at *list.Element) {
	e := c.used.Remove(at).(*planEntry)
	delete(c.byKey, e.key)
}

// Tidy forgets the plans that nobody asked for since Tidy was called last but one, and
// tells how many those were. One that is asked for again is compiled again.
func (c *Plans) Tidy() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round++
	for at := c.used.Back(); at != nil; at = c.used.Back() {
		if c.round-at.Value.(*planEntry).seen < 2 {
			break
		}
		c.remove(at)
		n++
	}
	return n
}

// Figures implements perf.Source.
func (c *Plans) Figures(r perf.Reporter) {
	const lookups = "Lookups of compiled message types."
	r.Counter("protobuf_plan_lookups_total", lookups, float64(c.hits.Load()), "result", "hit")
	r.Counter("protobuf_plan_lookups_total", lookups, float64(c.misses.Load()), "result", "miss")
	r.Counter("protobuf_plan_failures_total", "Message types that could not be compiled.", float64(c.failed.Load()))
	r.Counter("protobuf_plan_evictions_total", "Compiled message types that made room for others.", float64(c.evicted.Load()))
	c.fallbacks.report(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Gauge("protobuf_plans", "Compiled message types that are kept.", float64(c.used.Len()))
}
