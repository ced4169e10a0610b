package route

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/monotonic"
)

const (
	// maxCooling bounds how long a Retry-After is obeyed before one request
	// asks again, so that an upstream's slip does not switch it off for years.
	maxCooling = 5 * time.Minute
	// maxCooled bounds the models that are remembered for one upstream: their
	// names may come from clients.
	maxCooled = 1024
)

// noModel stands for the requests that name no model. None is named so.
const noModel = ""

// cooling remembers what an upstream asked not to be asked for, by model. While
// there is nothing it costs one atomic load a request.
type cooling struct {
	clock monotonic.Clock
	last  atomic.Int64 // when nothing is left, on clock

	mu    sync.Mutex
	until map[string]time.Duration
}

func (c *cooling) start(model string, d time.Duration) {
	d = min(d, maxCooling)
	if d <= 0 || len(model) > maxModelName {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	if c.until == nil || now >= time.Duration(c.last.Load()) {
		c.until = make(map[string]time.Duration)
	}
	if _, there := c.until[model]; !there && len(c.until) >= maxCooled {
		return
	}
	until := max(c.until[model], now+d)
	c.until[strings.Clone(model)] = until // it may be a piece of a large request
	c.last.Store(max(c.last.Load(), int64(until)))
}

// left is how long a model of the upstream is not to be asked for.
func (c *cooling) left(model string) time.Duration {
	last := time.Duration(c.last.Load())
	if last == 0 {
		return 0
	}
	now := c.clock.Now()
	if now >= last {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.until[model]-now, 0)
}
