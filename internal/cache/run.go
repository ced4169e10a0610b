package cache

import (
	"context"
	"sync"
	"time"
)

// crowdedEvery is the least time between two sweeps because memory is full.
const crowdedEvery = time.Second

// Run makes room where memory is full, writes the hot set and loads ahead, until ctx
// is done. It writes the hot set once more before it returns.
func (c *Cache) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	tasks.Go(func() { c.ahead.run(ctx) })
	tasks.Go(func() { c.attend(ctx) })
	tasks.Wait()
}

func (c *Cache) attend(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Preload.HotSetInterval)
	defer tick.Stop()
	var failure error
	for {
		select {
		case <-ctx.Done():
			c.finish(failure)
			return
		case <-tick.C:
			if c.hot != nil {
				failure = c.save(failure)
			}
		case <-c.store.crowded:
			c.store.sweep(ctx)
			select { // those that come meanwhile are one
			case <-ctx.Done():
			case <-time.After(crowdedEvery):
			}
		}
	}
}

// Tidy clears out what has expired, until ctx is done, and tells how much.
func (c *Cache) Tidy(ctx context.Context) (things int, bytes int64) { return c.store.sweep(ctx) }

// finish writes the hot set for the last time.
func (c *Cache) finish(failure error) {
	if c.hot == nil {
		return
	}
	_ = c.save(failure)
	if err := c.hot.close(); err != nil {
		c.log.Warn("unlock state directory", "error", err)
	}
}
