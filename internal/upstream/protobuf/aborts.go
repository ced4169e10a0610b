package protobuf

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

const (
	maxAborts    = 64              // that are under way for an upstream
	abortTimeout = 5 * time.Second // for one
	abortGrace   = time.Second     // for all at the end
)

// aborts makes the calls that stop a service's work for requests that nobody waits for
// any more. They are made in the background, since the client that left waits for
// nothing, and a failed one is not made again.
type aborts struct {
	rpcs *rpcs
	ctx  context.Context //nolint:containedctx // theirs, which ends with the Handler
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running int
	all     sync.WaitGroup

	sent, failed, dropped atomic.Uint64
}

func newAborts(r *rpcs) *aborts {
	a := &aborts{rpcs: r}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// send has a message sent. It waits for nothing. Where there is none it does nothing.
func (a *aborts) send(path string, message []byte) {
	if message == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.running >= maxAborts {
		a.dropped.Add(1)
		return
	}
	a.running++
	a.all.Go(func() {
		if err := a.make(path, message); err != nil {
			a.failed.Add(1)
		} else {
			a.sent.Add(1)
		}
		a.mu.Lock()
		a.running--
		a.mu.Unlock()
	})
}

func (a *aborts) make(path string, message []byte) error {
	ctx, cancel := context.WithTimeout(a.ctx, abortTimeout)
	defer cancel()
	c, err := a.rpcs.begin(ctx, path, message, nil, false, llm.Urgency{Priority: llm.PriorityHigh})
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.one()
	return err
}

// close lets those under way end, for a moment, and takes no more.
func (a *aborts) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	timer := time.AfterFunc(abortGrace, a.stop)
	a.all.Wait()
	timer.Stop()
	a.stop()
}

func (a *aborts) figures(r perf.Reporter, name string) {
	const figure, what = "upstream_aborts_total", "Calls that stop a service's work for a request that nobody waits for, by what became of them."
	r.Counter(figure, what, float64(a.sent.Load()), "upstream", name, "outcome", "success")
	r.Counter(figure, what, float64(a.failed.Load()), "upstream", name, "outcome", "failed")
	r.Counter(figure, what, float64(a.dropped.Load()), "upstream", name, "outcome", "dropped")
}
