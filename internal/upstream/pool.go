package upstream

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sluice/internal/priority"
)

// peekAfter is how long a connection may have been idle before it is worth a
// system call to see whether the upstream closed it meanwhile.
const peekAfter = time.Second

// pool holds the connections of one upstream.
//
// An HTTP/1.1 connection is either lent to one call or in idle. An HTTP/2
// connection is in shared as long as it takes calls. Whoever finds nothing
// free queues; a connection (or stream slot) that comes free goes straight to
// whose turn it is, so nobody who comes takes it from him, and whenever the queue is
// not empty there is nothing free. Connections are made on behalf of the queue and
// not of one call: a call takes whatever comes first, and a connection whose
// call has gone meanwhile serves the next.
type pool struct {
	client *Client
	dial   func(context.Context, netip.AddrPort) (*conn, error)
	stop   context.Context // ends with Close
	cancel context.CancelFunc
	dials  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	open    int // connections open or being made
	dialing int // of these, being made for the queue
	// perDial is how many calls a connection being made is expected to serve:
	// many as long as it may turn out to be HTTP/2, so that a burst at the
	// start does not open a connection per call.
	perDial int
	idle    []*conn // HTTP/1.1, the longest idle first
	shared  []*conn // HTTP/2
	queue   priority.Queue[*waiter]
	sweeper *time.Timer // nil unless something idle may expire
	turns   uint64      // calls given to one of several addresses
}

func newPool(c *Client, perDial int, dial func(context.Context, netip.AddrPort) (*conn, error)) *pool {
	p := &pool{client: c, dial: dial, perDial: perDial}
	p.stop, p.cancel = context.WithCancel(context.Background())
	return p
}

type poolFigures struct{ open, idle, waiting int }

func (p *pool) snapshot() poolFigures {
	p.mu.Lock()
	defer p.mu.Unlock()
	return poolFigures{p.open, p.idleCount(), p.queue.Len()}
}

// idleCount counts connections without a call. p.mu is held.
func (p *pool) idleCount() int {
	n := len(p.idle)
	for _, c := range p.shared {
		if c.streams == 0 {
			n++
		}
	}
	return n
}

// acquire returns a connection for one call, and whether it carried one before.
func (p *pool) acquire(ctx context.Context, call *Call) (c *conn, reused bool, err error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, false, p.client.over()
		}
		now := time.Now()
		if call.Urgency.Late(now) {
			p.mu.Unlock()
			return nil, false, p.client.late()
		}
		c, dead := p.reuse(now)
		if c != nil {
			idleFor := now.Sub(c.idleSince)
			reused = c.lend()
			if c.h2 != nil && c.addresses != nil {
				p.spread(now)
			}
			p.mu.Unlock()
			closeAll(dead)
			// A body that is read as it is sent goes once: it is worth a look at any time.
			if c.h1 != nil && (idleFor > peekAfter || call.BodyReader != nil) && c.h1.Stale() {
				p.discard(c)
				continue
			}
			return c, reused, nil
		}
		w := p.line(&call.Urgency)
		covered := p.dialMore()
		p.mu.Unlock()
		closeAll(dead)
		return p.wait(ctx, w, call, covered)
	}
}

// reuse hands out a free connection, and removes those that it finds expired. p.mu is held.
func (p *pool) reuse(now time.Time) (c *conn, dead []*conn) {
	if p.queue.Len() > 0 {
		return nil, nil
	}
	for len(p.idle) > 0 {
		c = p.idle[len(p.idle)-1]
		p.idle = slices.Delete(p.idle, len(p.idle)-1, len(p.idle))
		if now.Before(c.expires) {
			return c, dead
		}
		p.open--
		dead = append(dead, c)
	}
	var least *conn
	for i := 0; i < len(p.shared); i++ {
		c = p.shared[i]
		switch {
		case !c.h2.CanTakeNewRequest():
			p.shared = slices.Delete(p.shared, i, i+1)
			i--
			c.retired = true
			if c.streams == 0 {
				dead = append(dead, c)
			}
		case c.streams >= c.maxStreams:
		case c.addresses == nil:
			return c, dead
		case least == nil || c.streams < least.streams || c.streams == least.streams && c.turn < least.turn:
			least = c
		}
	}
	if least != nil {
		p.turns++
		least.turn = p.turns
	}
	return least, dead
}

// spread sees to a connection to each of the upstream's addresses, and to there being none
// to those that it has no more. p.mu is held.
func (p *pool) spread(now time.Time) {
	if p.closed {
		return
	}
	all := p.client.dialer.addresses
	at, old := all.lacking(now)
	if old {
		p.dials.Go(func() {
			all.again(p.stop)
			p.retireOthers(all)
		})
	}
	if at.IsValid() && p.open < p.client.cfg.MaxConnections {
		p.open++
		p.dials.Go(func() {
			c, err := p.dial(p.stop, at)
			_ = p.made(p.stop, c, err, 0) // nobody waits for it
		})
	}
}

// retireOthers gives no more calls to addresses that the upstream's name does not stand
// for any more.
func (p *pool) retireOthers(all *addresses) {
	p.mu.Lock()
	var dead []*conn
	for _, c := range slices.Clone(p.shared) {
		if !all.has(c.at) {
			c.retired = true
			p.retire(c)
			if c.streams == 0 {
				dead = append(dead, c)
			}
		}
	}
	p.mu.Unlock()
	closeAll(dead)
}

// dialMore starts as many connections as the queue still needs and may have,
// and reports whether the last in the queue has one coming. p.mu is held.
func (p *pool) dialMore() (covered bool) {
	if p.closed {
		return false
	}
	for p.dialing*p.perDial < p.queue.Len() && p.open < p.client.cfg.MaxConnections {
		p.open++
		p.dialing++
		begun := time.Now()
		p.dials.Go(func() { p.dialOne(begun) })
	}
	return p.dialing*p.perDial >= p.queue.Len()
}

// dialOne makes a connection and gives it to the queue.
func (p *pool) dialOne(begun time.Time) {
	c, err := p.dial(p.stop, netip.AddrPort{})
	if err == nil {
		c.begun = begun
	}
	if err == nil && c.h2 != nil {
		// The first call need not wait until it is known how many may join it.
		p.mu.Lock()
		p.add(c)
		p.mu.Unlock()
		p.client.settle(p.stop, c)
	}
	p.mu.Lock()
	p.dialing--
	switch {
	case err != nil:
		p.open--
		p.failCovered(err, begun)
	case c.h1 != nil:
		p.perDial = 1
		p.add(c)
	case c.gone && !c.used:
		// Closed by the upstream before it could be used. To try again at once
		// would go round and round.
		p.failCovered(p.client.dialFailure(io.ErrUnexpectedEOF), begun)
	}
	p.dialMore()
	over := p.trim()
	p.mu.Unlock()
	closeAll(over)
}

// failCovered fails those of the queue that a connection being made stood for.
// The others have theirs coming, or wait for one that is in use. begun is when the
// making began. p.mu is held.
func (p *pool) failCovered(err error, begun time.Time) {
	now := time.Now()
	for range p.perDial {
		w := p.next()
		if w == nil {
			return
		}
		w.ready <- grant{err: err, at: now, begun: begun, made: now}
	}
}

// add takes in a new connection. p.mu is held.
func (p *pool) add(c *conn) {
	c.made = time.Now()
	if c.h1 != nil {
		p.offer(c, c.made)
		return
	}
	if c.gone {
		return
	}
	p.shared = append(p.shared, c)
	p.offerStreams(c, c.made)
	if c.streams == 0 {
		p.rest(c, c.made)
	}
}

// offer gives an HTTP/1.1 connection to whose turn it is, else it becomes idle. p.mu
// is held.
func (p *pool) offer(c *conn, now time.Time) {
	if w := p.next(); w != nil {
		w.ready <- granted(c, now)
		return
	}
	p.rest(c, now)
	p.idle = append(p.idle, c)
}

// offerStreams gives the free streams of an HTTP/2 connection to the queue.
// p.mu is held.
func (p *pool) offerStreams(c *conn, now time.Time) {
	for c.streams < c.maxStreams && p.queue.Len() > 0 {
		p.next().ready <- granted(c, now)
	}
}

// rest marks the time from which a connection is idle. p.mu is held.
func (p *pool) rest(c *conn, now time.Time) {
	c.idleSince = now
	c.expires = now.Add(c.keep)
	if p.sweeper == nil && !p.closed {
		p.sweeper = time.AfterFunc(c.keep, p.sweep)
	}
}

// release takes a connection back after a call. keep says that an HTTP/1.1
// connection is fit for another one.
func (p *pool) release(c *conn, keep bool) {
	if c.h1 != nil && (c.own || !keep) {
		c.h1.Abandon()
	}
	if c.own {
		c.close()
		p.client.stats.ownOpen.Add(-1)
		return
	}
	if c.h1 != nil && !keep {
		p.discard(c)
		return
	}
	var dead []*conn
	p.mu.Lock()
	switch {
	case c.h2 != nil:
		dead = p.releaseStream(c)
	case p.closed:
		p.open--
		dead = []*conn{c}
	default:
		p.offer(c, time.Now())
	}
	dead = append(dead, p.trim()...)
	p.mu.Unlock()
	closeAll(dead)
}

// releaseStream takes back a stream of an HTTP/2 connection. p.mu is held.
func (p *pool) releaseStream(c *conn) (dead []*conn) {
	c.streams--
	if c.gone {
		return nil
	}
	if !c.retired && !c.h2.CanTakeNewRequest() {
		p.retire(c)
	}
	if !c.retired {
		p.offerStreams(c, time.Now())
	}
	if c.streams > 0 {
		return nil
	}
	if c.retired || p.closed {
		return []*conn{c}
	}
	p.rest(c, time.Now())
	return nil
}

// retire stops giving calls to an HTTP/2 connection. p.mu is held.
func (p *pool) retire(c *conn) {
	c.retired = true
	if i := slices.Index(p.shared, c); i >= 0 {
		p.shared = slices.Delete(p.shared, i, i+1)
	}
	p.dialMore()
}

// retireShared stops giving calls to all HTTP/2 connections.
func (p *pool) retireShared() {
	p.mu.Lock()
	var dead []*conn
	for _, c := range p.shared {
		if c.retired = true; c.streams == 0 {
			dead = append(dead, c)
		}
	}
	p.shared, p.perDial = nil, 1
	p.dialMore()
	p.mu.Unlock()
	closeAll(dead)
}

// trim removes the longest idle connections beyond the bound. p.mu is held.
func (p *pool) trim() (over []*conn) {
	excess := len(p.idle) - p.client.cfg.MaxKeepaliveConnections
	if len(p.shared) > 0 {
		excess = p.idleCount() - p.client.cfg.MaxKeepaliveConnections
	}
	for ; excess > 0 && len(p.idle) > 0; excess-- {
		over = append(over, p.idle[0])
		p.idle = slices.Delete(p.idle, 0, 1)
		p.open--
	}
	for i := 0; i < len(p.shared) && excess > 0; i++ {
		if c := p.shared[i]; c.streams == 0 {
			p.shared = slices.Delete(p.shared, i, i+1)
			c.retired = true
			over = append(over, c)
			i--
			excess--
		}
	}
	return over
}

// discard closes an HTTP/1.1 connection that was lent.
func (p *pool) discard(c *conn) {
	c.close()
	p.mu.Lock()
	p.open--
	p.dialMore()
	p.mu.Unlock()
}

// lost is called when an HTTP/2 connection's socket was closed, by whomever.
func (p *pool) lost(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	p.open--
	p.retire(c)
}

// learn takes over the bound on streams that an HTTP/2 upstream announced.
func (p *pool) learn(c *conn, maxStreams int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.maxStreams = max(1, min(maxStreams, p.client.cfg.MaxStreamsPerConnection))
	c.made = time.Now()
	p.perDial = c.maxStreams
	if !c.retired {
		p.offerStreams(c, c.made)
	}
	p.dialMore()
}

// fresh makes a connection for one call without a look at the idle ones. Where
// there is no room for it, a connection that another call has just used must
// do.
func (p *pool) fresh(ctx context.Context, call *Call) (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, p.client.over()
	}
	var evicted []*conn
	if p.open >= p.client.cfg.MaxConnections && len(p.idle) > 0 {
		evicted = []*conn{p.idle[0]}
		p.idle = slices.Delete(p.idle, 0, 1)
		p.open--
	}
	if p.open >= p.client.cfg.MaxConnections {
		p.mu.Unlock()
		c, _, err := p.acquire(ctx, call)
		return c, err
	}
	p.open++
	p.mu.Unlock()
	closeAll(evicted)
	c, err := p.dial(ctx, netip.AddrPort{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.open--
		p.dialMore()
		return nil, err
	}
	c.made = time.Now()
	c.lend()
	if c.h2 != nil && !c.gone {
		p.shared = append(p.shared, c)
		p.offerStreams(c, c.made)
	}
	return c, nil
}

// warm makes n connections that nobody waits for.
func (p *pool) warm(ctx context.Context, n int) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = p.warmOne(ctx, n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *pool) warmOne(ctx context.Context, n int) error {
	p.mu.Lock()
	// A first request may have begun before.
	if p.closed || p.open >= min(n, p.client.cfg.MaxConnections) {
		p.mu.Unlock()
		return nil
	}
	p.open++
	p.dialing++ // a request that comes meanwhile waits for this one
	p.dials.Add(1)
	p.mu.Unlock()
	defer p.dials.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.stop, cancel)()
	c, err := p.dial(ctx, netip.AddrPort{})
	return p.made(ctx, c, err, 1)
}

// made takes in a connection that nobody waits for, or what came of the attempt. One that
// was counted in dialing is not any more.
func (p *pool) made(ctx context.Context, c *conn, err error, dialing int) error {
	p.mu.Lock()
	p.dialing -= dialing
	if err != nil {
		p.open--
		p.dialMore()
		p.mu.Unlock()
		return err
	}
	if c.h1 != nil {
		p.perDial = 1
	}
	p.add(c)
	p.dialMore()
	over := p.trim()
	if p.closed {
		over = append(over, p.drainIdle()...)
	}
	p.mu.Unlock()
	closeAll(over)
	if c.h2 != nil && len(over) == 0 {
		p.client.settle(ctx, c)
	}
	return nil
}

// sweep closes what has been idle for too long, and comes again when the next
// may have been.
func (p *pool) sweep() {
	p.mu.Lock()
	p.sweeper = nil
	if p.closed {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	var dead []*conn
	var next time.Time
	expired := func(c *conn) bool {
		if !now.Before(c.expires) {
			dead = append(dead, c)
			return true
		}
		if next.IsZero() || c.expires.Before(next) {
			next = c.expires
		}
		return false
	}
	before := len(p.idle)
	p.idle = slices.DeleteFunc(p.idle, expired)
	p.open -= before - len(p.idle)
	p.shared = slices.DeleteFunc(p.shared, func(c *conn) bool {
		c.retired = c.streams == 0 && expired(c)
		return c.retired
	})
	if !next.IsZero() {
		p.sweeper = time.AfterFunc(next.Sub(now), p.sweep)
	}
	p.mu.Unlock()
	closeAll(dead)
}

// tidy closes the idle connections of HTTP/1.1 that their upstream has closed or
// disturbed, and tells how many. Those of HTTP/2 notice by themselves.
func (p *pool) tidy() int {
	p.mu.Lock()
	var dead []*conn
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		stale := c.h1 != nil && c.h1.Stale()
		if stale {
			dead = append(dead, c)
		}
		return stale
	})
	p.open -= len(dead)
	p.mu.Unlock()
	closeAll(dead)
	return len(dead)
}

// drainIdle removes every connection that is not in use. p.mu is held.
func (p *pool) drainIdle() []*conn {
	dead := p.idle
	p.open -= len(p.idle)
	p.idle = nil
	p.shared = slices.DeleteFunc(p.shared, func(c *conn) bool {
		if c.streams == 0 {
			c.retired = true
			dead = append(dead, c)
		}
		return c.retired
	})
	return dead
}

func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	dead := p.drainIdle()
	for w := p.next(); w != nil; w = p.next() {
		w.ready <- grant{err: p.client.over()}
	}
	p.mu.Unlock()
	p.cancel()
	closeAll(dead)
	p.dials.Wait()
	// A connection that was made at the last moment went to idle.
	p.mu.Lock()
	dead = p.drainIdle()
	p.mu.Unlock()
	closeAll(dead)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
