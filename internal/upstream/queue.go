package upstream

import (
	"context"
	"time"
)

// waiter is a call in the queue for a connection.
type waiter struct {
	ready      chan grant // holds one
	next, prev *waiter
	queued     bool
}

// grant is what a waiter gets: a connection that counts as lent to it, or the
// reason why there is none.
type grant struct {
	c      *conn
	reused bool
	err    error
}

// queue is a list of waiters, first come first served. Removing from its
// middle is cheap, since under load many callers give up.
type queue struct {
	first, last *waiter
	n           int
}

func (q *queue) push(w *waiter) {
	w.prev, w.queued = q.last, true
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.n++
}

// pop removes the first waiter, nil when there is none.
func (q *queue) pop() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
	}
	return w
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	q.n--
}

// wait waits for a grant. covered says that a connection is being made for
// this call, which has its own time limits.
func (p *pool) wait(ctx context.Context, w *waiter, covered bool) (*conn, bool, error) {
	cfg := &p.client.cfg
	patience := cfg.PoolTimeout
	if covered {
		patience += cfg.ConnectTimeout + cfg.TLSTimeout
	}
	begun := time.Now()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var g grant
	select {
	case g = <-w.ready:
	case <-ctx.Done():
		if p.leave(w) {
			return nil, false, context.Cause(ctx)
		}
		// The grant and the end came together: pass it on.
		if g = <-w.ready; g.c != nil {
			p.release(g.c, true)
		}
		return nil, false, context.Cause(ctx)
	case <-timer.C:
		if p.leave(w) {
			p.client.stats.poolTimeouts.Add(1)
			return nil, false, p.client.busy()
		}
		g = <-w.ready
	}
	p.client.stats.wait.Observe(time.Since(begun))
	return g.c, g.reused, g.err
}

// leave takes a waiter out of the queue. It reports false when the waiter has
// a grant already.
func (p *pool) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.queued {
		return false
	}
	p.queue.remove(w)
	return true
}
