package route

import "sync/atomic"

// prefixes remembers which upstreams have had which beginnings, the ones used last
// of each small bucket. Nobody waits for anybody: whoever meets another there may
// read or leave something wrong, which costs a cache's miss upstream and no more.
type prefixes struct {
	buckets atomic.Pointer[[numBuckets]bucket] // nil while nothing is known
	tick    atomic.Uint32                      // the time, in requests
}

const (
	numBuckets = 1 << 14
	bucketSize = 4
)

// bucket is 96 bytes, so that all of them are 1.5 MiB.
type bucket struct {
	hash, had [bucketSize]atomic.Uint64 // had: a set of upstreams, by load.bit
	used      [bucketSize]atomic.Uint32
}

func (ps *prefixes) bucket(hash uint64) *bucket {
	all := ps.buckets.Load()
	if all == nil {
		return nil
	}
	return &all[hash%numBuckets]
}

// had gives the upstreams that have had the beginning of that hash.
func (ps *prefixes) had(hash uint64) uint64 {
	if b := ps.bucket(hash); b != nil {
		for i := range b.hash {
			if b.hash[i].Load() == hash {
				return b.had[i].Load()
			}
		}
	}
	return 0
}

// learn takes in that an upstream has a conversation.
func (ps *prefixes) learn(p *prefix, bit uint64) {
	if ps.buckets.Load() == nil {
		ps.buckets.CompareAndSwap(nil, new([numBuckets]bucket))
	}
	now := ps.tick.Add(1)
	for _, m := range p.marks[:p.n] {
		b := ps.bucket(m.hash)
		at, oldest := -1, 0
		for i := range b.hash {
			if b.hash[i].Load() == m.hash {
				at = i
				break
			}
			if now-b.used[i].Load() > now-b.used[oldest].Load() {
				oldest = i
			}
		}
		if at < 0 {
			at = oldest
			b.had[at].Store(bit)
			b.hash[at].Store(m.hash)
		} else if had := b.had[at].Load(); had&bit == 0 {
			b.had[at].Or(bit)
		}
		b.used[at].Store(now)
	}
}

// beginning gives the beginning of the call's conversation for a model, nil where
// there is none or nothing goes by it.
func (c *call) beginning(model string) *prefix {
	if b := c.router.cfg.Balance; b != balanceAuto && b != balancePrefix {
		return nil
	}
	if c.prefix == nil {
		var ok bool
		if c.prefix, ok = c.router.beginnings.Get().(*prefix); !ok {
			c.prefix = new(prefix)
		}
	} else if c.prefix.model == model {
		return c.prefix
	}
	*c.prefix = prefix{model: model}
	if !c.prefix.read(&c.req, model) {
		c.drop()
		return nil
	}
	return c.prefix
}

// stays has the call's conversation known at the upstream that answers it. One that
// refused it has nothing of it.
func (c *call) stays(up *upstream) {
	c.router.prefixes.learn(c.prefix, up.load.bit)
	c.drop()
}

// drop gives back what was looked at of the conversation.
func (c *call) drop() {
	if c.prefix != nil {
		c.prefix.model = "" // it may be a piece of a large request
		c.router.beginnings.Put(c.prefix)
		c.prefix = nil
	}
}
