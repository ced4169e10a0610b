package upstream

import (
	"context"
	"time"

	"sluice/internal/llm"
	"sluice/internal/priority"
)

// waiter is a call in the queue for a connection.
type waiter struct {
	pool  *pool
	item  priority.Item[*waiter]
	ready chan grant // holds one
}

// Lend implements llm.Place. That the deadline is another is found out when the old one
// comes.
func (w *waiter) Lend(p llm.Priority, _ time.Time) bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.pool.queue.Raise(&w.item, p)
	return true
}

// line puts a call in the queue. p.mu is held.
func (p *pool) line(u *llm.Urgency) *waiter {
	w := &waiter{pool: p, ready: make(chan grant, 1)}
	w.item.Value = w
	u.Wait(w)
	urgent, _ := u.Now()
	p.queue.Push(&w.item, urgent)
	return w
}

// grant is what a waiter gets: a connection that counts as lent to it, or the
// reason why there is none.
type grant struct {
	c      *conn
	reused bool
	err    error

	at          time.Time
	begun, made time.Time // the making of the connection, or the attempt
}

// granted lends a connection to a waiter. pool.mu is held.
func granted(c *conn, now time.Time) grant {
	return grant{c: c, reused: c.lend(), at: now, begun: c.begun, made: c.made}
}

// queued is how much of a wait was for a turn, and not for the upstream: the
// connection that ended it may have been made meanwhile.
func (g *grant) queued(since time.Time) time.Duration {
	waited := g.at.Sub(since)
	if g.begun.After(since) {
		since = g.begun
	}
	return max(waited-max(g.made.Sub(since), 0), 0)
}

// next removes the call whose turn it is, nil when none waits. p.mu is held.
func (p *pool) next() *waiter {
	if it := p.queue.Pop(); it != nil {
		return it.Value
	}
	return nil
}

// wait waits for a grant. covered says that a connection is being made for
// this call, which has its own time limits.
func (p *pool) wait(ctx context.Context, w *waiter, call *Call, covered bool) (*conn, bool, error) {
	defer call.Urgency.Leave(w)
	cfg, since := &p.client.cfg, time.Now() // after the making of a connection for it began
	patience := cfg.PoolTimeout
	if covered {
		patience += cfg.ConnectTimeout + cfg.TLSTimeout
	}
	g, err := p.turn(ctx, w, &call.Urgency, since.Add(patience))
	if err != nil {
		call.queued += time.Since(since)
		return nil, false, err
	}
	p.client.stats.wait.Observe(time.Since(since))
	call.queued += g.queued(since)
	return g.c, g.reused, g.err
}

// turn waits until a call has its grant, or it is no use any more. The latest is when
// its patience ends.
func (p *pool) turn(ctx context.Context, w *waiter, u *llm.Urgency, latest time.Time) (g grant, err error) {
	until := soonest(latest, u)
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		select {
		case g = <-w.ready:
			return g, nil
		case <-ctx.Done():
			if !p.leave(w) { // the grant and the end came together: pass it on
				if g = <-w.ready; g.c != nil {
					p.release(g.c, true)
				}
			}
			return grant{}, llm.Unsent(context.Cause(ctx))
		case <-timer.C:
		}
		why := p.client.busy
		if until.Before(latest) {
			why = p.client.late
			if !u.Late(time.Now()) { // somebody shares the call who has longer
				until = soonest(latest, u)
				timer.Reset(time.Until(until))
				continue
			}
		}
		if p.leave(w) {
			return grant{}, why()
		}
		return <-w.ready, nil
	}
}

// soonest gives a call's deadline, or the latest time where that is before it.
func soonest(latest time.Time, u *llm.Urgency) time.Time {
	if _, d := u.Now(); !d.IsZero() && d.Before(latest) {
		return d
	}
	return latest
}

// leave takes a waiter out of the queue. It reports false when the waiter has
// a grant already.
func (p *pool) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.Remove(&w.item)
}
