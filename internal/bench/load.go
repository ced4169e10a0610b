package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// load is clients that each ask one request after the other.
type load struct {
	addr, key string
	clients   int
	next      func(n int) request // the nth of all
	warm      time.Duration       // before what is counted
	slice     time.Duration       // that is counted
	begin     func() error        // is called when counting begins
	end       func() error        // and when it ends
	enough    func() bool         // whether what was counted says something; nil where it always does
}

// patient is how much longer than its slice a load goes on where there are not half as many
// answers as clients, or there is not enough: fewer say little.
const patient = 10 * time.Second

// loaded is what became of the requests that ended while they were counted.
type loaded struct {
	good, failed int64
	elapsed      float64 // seconds
	first        error   // why the first one failed
}

// run runs the load.
func (l load) run(ctx context.Context) (loaded, error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		asked, good, failed atomic.Int64
		why                 atomic.Pointer[error]
		clients             sync.WaitGroup
	)
	for range l.clients {
		clients.Go(func() {
			c := client{addr: l.addr, key: l.key}
			defer c.close()
			for ctx.Err() == nil {
				r := c.ask(ctx, l.next(int(asked.Add(1))))
				if r.good {
					good.Add(1)
					continue
				}
				if ctx.Err() == nil {
					failed.Add(1)
					why.CompareAndSwap(nil, &r.err)
				}
			}
		})
	}
	defer clients.Wait()
	defer cancel() // requests that are under way are given up
	if err := sleep(ctx, l.warm); err != nil {
		return loaded{}, err
	}
	if err := l.begin(); err != nil {
		return loaded{}, err
	}
	before, lost, begun := good.Load(), failed.Load(), time.Now()
	for wait := l.slice; ; wait = l.slice / 4 { // on a busy machine it takes longer
		if err := sleep(ctx, wait); err != nil {
			return loaded{}, err
		}
		enough := 2*int(good.Load()-before) >= l.clients && (l.enough == nil || l.enough())
		if enough || time.Since(begun) > l.slice+patient {
			break
		}
	}
	r := loaded{good: good.Load() - before, failed: failed.Load() - lost, elapsed: time.Since(begun).Seconds()}
	if err := l.end(); err != nil {
		return loaded{}, err
	}
	if p := why.Load(); p != nil {
		r.first = *p
	}
	return r, r.check()
}

// check refuses a load much of which failed: what is left of it says nothing.
func (r loaded) check() error {
	const most = 0.01
	if float64(r.failed) > most*float64(r.good+r.failed) {
		return fmt.Errorf("%d of %d requests failed, the first one so: %w", r.failed, r.good+r.failed, r.first)
	}
	if r.good == 0 {
		return fmt.Errorf("no request was answered within %.1f s", r.elapsed)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func nothing() error { return nil }
