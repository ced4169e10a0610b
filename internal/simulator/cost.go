package simulator

import (
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A service that runs a model works at so many calls at a time, for so long on a call
// and for so long on each of its items, some percent more or less. Further calls wait in
// line. What it does in a
// second then is workers · items / (call-cost + items · item-cost), whoever asks.

// crew is those who work at a model, of a number.
type crew struct {
	model   string
	workers int
}

// team is what a crew does: it is busy with as many calls as the channel holds, and has
// had so many.
type team struct {
	busy  chan struct{}
	calls atomic.Int64
}

// crews are all of them.
type crews struct {
	mu    sync.Mutex
	teams map[crew]*team
}

// maxCrews bounds those that are remembered. Past it all are forgotten, which a test of
// sane size never sees.
const maxCrews = 256

func (cs *crews) find(c crew) *team {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.teams[c]
	if t == nil {
		if len(cs.teams) >= maxCrews {
			clear(cs.teams)
		}
		t = &team{busy: make(chan struct{}, c.workers)}
		cs.teams[c] = t
	}
	return t
}

// spread is what the nth call takes of those that take d on average, by up to so many
// percent more or less. Multiples of the golden ratio are spread evenly from the first
// on, so that a few calls take as long on average as many do.
func spread(d time.Duration, percent int, n int64) time.Duration {
	_, part := math.Modf(float64(n) * math.Phi)
	return d + time.Duration(float64(d)*(2*part-1)*float64(percent)/100)
}

// work takes the time that the call costs, once a worker is there for it. Like wait it
// gives the reply up when the client leaves.
func (c *exchange) work() {
	f := &c.fault
	cost := f.CallCost + time.Duration(max(c.items, 1))*f.ItemCost
	if cost <= 0 {
		return
	}
	t := c.server.crews.find(crew{c.base, f.Workers})
	cost = spread(cost, f.CostSpread, t.calls.Add(1))
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-c.r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	c.wait(cost)
}
