package admit

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
	"sluice/internal/perf"
	"sluice/internal/priority"
)

// Limiter admits the calls of one upstream. It is safe for concurrent use.
type Limiter struct {
	name  string
	cfg   Config
	clock monotonic.Clock
	calls sync.Pool // of *call

	mu       sync.Mutex
	control  control
	inFlight int
	queue    priority.Queue[*waiter]
	turns    turns
	lastTurn time.Duration // on the clock, or when the first began to wait
	stage    *stage        // in front of the upstream; nil before it was asked for

	wait    perf.Histogram
	refused [causes]uint64
	lately  lately
}

// cause is why a call was not sent.
type cause uint8

const (
	full     cause = iota // too many wait
	hopeless              // its turn would come too late
	evicted               // one of higher priority took its place
	timeout               // its turn did not come in time
	expired               // its client would have given up before
	left                  // its client left
	causes                // how many there are
)

func (c cause) String() string {
	return [causes]string{"queue_full", "too_long", "evicted", "timeout", "deadline", "client_left"}[c]
}

// turns are how far apart turns come while some wait. They may come many at once, as
// upstreams end calls together that they began together, so that the mean is one over
// several times as many as are under way.
type turns struct{ n, took float64 } // those that count, and the time between them

// rounds is how many turns are remembered for each call under way, and fewest how many
// at least.
const rounds, fewest = 4, 16

func (t *turns) add(took time.Duration, inFlight int) {
	keep := 1 - 1/float64(max(rounds*inFlight, fewest))
	t.n, t.took = t.n*keep+1, t.took*keep+float64(took)
}

// until is how long it takes for so many turns to come; 0 where nothing is known.
func (t *turns) until(n int) time.Duration {
	if t.n == 0 {
		return 0
	}
	return time.Duration(t.took / t.n * float64(n))
}

// waiter is a call in the queue.
type waiter struct {
	limiter *Limiter
	item    priority.Item[*waiter]
	ready   chan error    // nil with a slot, else why there is none; holds one
	takes   time.Duration // to answer it; without that left before its deadline it is not sent

	patience time.Duration // how long it waits at most
}

// Lend implements llm.Place. That the deadline is another is found out when the old one
// comes.
func (w *waiter) Lend(p llm.Priority, _ time.Time) bool {
	w.limiter.mu.Lock()
	defer w.limiter.mu.Unlock()
	w.limiter.queue.Raise(&w.item, p)
	return true
}

// New makes the Limiter of an upstream which can carry so many calls at once.
func New(cfg Config, name string, ceiling int) *Limiter {
	l := &Limiter{name: name, cfg: cfg, clock: monotonic.New()}
	l.control = newControl(&l.cfg, max(ceiling, 1))
	l.calls.New = func() any { return new(call) }
	return l
}

// Configure has the Limiter go by another configuration, or another number of calls
// that its upstream can carry at once. Calls under way count on, those that wait do, and
// what has been learnt stays.
func (l *Limiter) Configure(cfg Config, ceiling int) {
	l.mu.Lock()
	l.cfg = cfg
	l.control.configure(max(ceiling, 1))
	l.fill()
	l.mu.Unlock()
}

// Stage puts the Limiter in front of its upstream. What is asked of the upstream but
// for its models' answers, lists and WebSockets, is no work of the kind that it
// bounds, and passes. Of the same upstream, which is comparable, the Handler is the same,
// which is how routing knows it again after a reload.
func (l *Limiter) Stage(next llm.Handler) llm.Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == nil || l.stage.next != next {
		l.stage = &stage{l, next}
	}
	return l.stage
}

// stage is used by its address: through a copy Serve would have a second frame on the stack.
type stage struct {
	limiter *Limiter
	next    llm.Handler
}

// Serve implements llm.Handler. What it has on the stack is there as long as a stream
// is, so that all else stands in functions that return before one waits.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Op == llm.ListModels || req.Op == llm.GetModel || req.Upgrade != "" || req.Method == "GET" || req.Method == "HEAD" {
		return s.next.Serve(ctx, req, out)
	}
	c, err := s.limiter.admit(ctx, req, out)
	if err != nil {
		return err
	}
	defer c.end()
	if err := s.next.Serve(ctx, req, c); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

// call is one that was admitted. It is the sink that the upstream answers to.
type call struct {
	limiter *Limiter
	out     llm.Sink
	sent    time.Duration // on the clock
	queued  time.Duration
	model   string // the upstream's name for it
	sample  sample
	begun   bool
	over    bool // the upstream has nothing left to do for it, and the slot is another's
}

// admit gives a call whose turn it is, to be ended.
func (l *Limiter) admit(ctx context.Context, req *llm.Request, out llm.Sink) (*call, error) {
	c := l.calls.Get().(*call)
	c.limiter, c.out = l, out
	if err := l.enter(ctx, req, c); err != nil {
		err = llm.After(err, c.queued, 0, 0)
		c.free()
		return nil, err
	}
	return c, nil
}

// end gives a call's slot to the next one.
func (c *call) end() {
	if !c.over {
		c.limiter.leave()
	}
	c.free()
}

func (c *call) free() {
	l := c.limiter
	*c = call{}
	l.calls.Put(c)
}

// failed takes in that a call ended with an error, and gives that with what went before
// it.
//
//go:noinline
func (c *call) failed(ctx context.Context, err error) error {
	if c.sample.of != nil && !c.begun {
		c.lost(ctx, err)
	}
	return llm.After(err, c.queued, 0, 0)
}

// lost takes in that a call ended without a first event.
func (c *call) lost(ctx context.Context, err error) {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control.lost(c.sample)
	after := l.clock.Now() - c.sent
	e, ok := errors.AsType[*llm.Error](err)
	if ok {
		after -= e.Queued // as in Start
	}
	switch {
	case ctx.Err() == nil:
		if ok && overload(e) {
			l.control.fail(c.sample, after)
		}
	case hasLeft(ctx):
		l.control.left(c.sample, after)
	}
	l.fill()
}

// hasLeft reports whether it was the client who ended a call's context. One that ended
// for a cause of its own, as the call is not needed any more, tells nothing.
func hasLeft(ctx context.Context) bool {
	why := context.Cause(ctx)
	return errors.Is(why, context.Canceled) || errors.Is(why, context.DeadlineExceeded)
}

// overload reports whether a failure tells of too much to do. That a key has used up
// what it may does not.
func overload(e *llm.Error) bool {
	return e.Fault == llm.TimedOut || e.Fault == llm.Answered && (e.Status == 503 || e.Status == 529)
}

// Start implements llm.Sink: it is when the first event is there. A reply that is held
// whole is here then, however slowly the client reads it, and leaves its slot.
func (c *call) Start(h *llm.Head) error {
	l, whole := c.limiter, h.Kind == llm.Unary
	c.begun = true
	if tells := c.sample.of != nil && h.Status < 400; tells || whole {
		after := l.clock.Now() - c.sent - h.Queued // a connection that was not free says nothing of the upstream
		l.mu.Lock()
		if tells {
			l.control.known(c.model, c.sample.model)
			l.control.take(c.sample, after)
		}
		if whole {
			c.over = true
			l.inFlight--
		}
		l.fill()
		l.mu.Unlock()
	}
	h.Queued += c.queued
	return c.out.Start(h)
}

// Send implements llm.Sink.
func (c *call) Send(events []llm.Event) error { return c.out.Send(events) }

// never is a deadline that does not come.
const never = math.MaxInt64

// deadline gives a call's as it is now, on the clock.
func (l *Limiter) deadline(u *llm.Urgency) time.Duration {
	_, at := u.Now()
	if at.IsZero() {
		return never
	}
	return l.clock.At(at)
}

// enter admits a call, at once where there is room.
func (l *Limiter) enter(ctx context.Context, req *llm.Request, c *call) error {
	now, deadline := l.clock.Now(), l.deadline(&req.Urgency)
	kind, tells := kindOf(req)
	l.mu.Lock()
	if tells {
		c.model, c.sample.model = req.UpstreamModel, l.control.of(req.UpstreamModel)
		c.sample.of = &c.sample.model.baselines[kind]
	}
	if deadline <= now && req.Late(time.Now()) {
		l.refused[expired]++
		l.mu.Unlock()
		return llm.Late()
	}
	l.lately.at(now).came[0]++
	if l.control.room(l.inFlight) && l.queue.Len() == 0 {
		l.begin(c, now)
		l.mu.Unlock()
		return nil
	}
	w := &waiter{limiter: l, ready: make(chan error, 1), patience: l.cfg.QueueTimeout}
	w.item.Value = w
	if tells && deadline != never { // what is sent at the last moment is work for nothing
		w.takes = c.sample.of.answered(now)
	}
	req.Wait(w)
	defer req.Leave(w)
	err := l.line(w, &req.Urgency, now)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.await(ctx, w, c, &req.Urgency, now)
}

// begin counts a call as under way. It holds l.mu, and has a slot, if not for itself.
func (l *Limiter) begin(c *call, now time.Duration) {
	l.inFlight++
	c.start(now)
}

// start takes note of when a call begins and what it finds. l.mu is held.
func (c *call) start(now time.Duration) {
	l := c.limiter
	c.sent = now
	l.control.sent(&c.sample, now, l.inFlight)
}

// line puts a call in the queue, unless that is of no use. l.mu is held.
func (l *Limiter) line(w *waiter, u *llm.Urgency, now time.Duration) error {
	l.control.full = true
	p, _ := u.Now()
	if l.queue.Len() == 0 && now-l.lastTurn > stale {
		l.turns = turns{}
	}
	wait := l.turns.until(l.queue.Ahead(p)) // whoever is first may find out how long it is
	switch {
	case u.Late(time.Now().Add(wait + w.takes)):
		l.refuse(expired, now)
		return llm.Late()
	case wait > l.cfg.QueueTimeout:
		l.refuse(hopeless, now)
		return l.overloaded(wait)
	case l.queue.Len() >= l.cfg.QueueSize && l.control.bounds(): // else as many wait as would in the pool
		other := l.queue.Least(p)
		if other == nil {
			l.refuse(full, now)
			return l.overloaded(wait)
		}
		l.refuse(evicted, now)
		l.queue.Remove(other)
		other.Value.ready <- l.overloaded(l.turns.until(l.queue.Len() + 1))
	}
	if l.queue.Len() == 0 {
		l.lastTurn = now
	}
	l.queue.Push(&w.item, p)
	return nil
}

// await waits for a call's turn.
func (l *Limiter) await(ctx context.Context, w *waiter, c *call, u *llm.Urgency, since time.Duration) error {
	err := l.turn(ctx, w, u, since+w.patience)
	now := l.clock.Now()
	c.queued = now - since
	if err != nil {
		return err
	}
	l.wait.Observe(c.queued)
	l.mu.Lock()
	c.start(now)
	l.mu.Unlock()
	return nil
}

// turn waits until a call has its turn, or it is no use any more. The latest is when
// its patience ends.
func (l *Limiter) turn(ctx context.Context, w *waiter, u *llm.Urgency, latest time.Duration) error {
	until := min(latest, l.deadline(u)-w.takes)
	timer := time.NewTimer(until - l.clock.Now())
	defer timer.Stop()
	for {
		select {
		case err := <-w.ready:
			return err
		case <-ctx.Done():
			if !l.abandon(w, left) && <-w.ready == nil { // the slot came with the end: pass it on
				l.leave()
			}
			return llm.Unsent(ctx.Err())
		case <-timer.C:
		}
		why := timeout
		if until < latest {
			why = expired
			if !u.Late(time.Now().Add(w.takes)) { // somebody shares the call who has longer
				until = min(latest, l.deadline(u)-w.takes)
				timer.Reset(until - l.clock.Now())
				continue
			}
		}
		if !l.abandon(w, why) {
			return <-w.ready
		}
		if why == expired {
			return llm.Late()
		}
		l.mu.Lock()
		wait := l.turns.until(l.queue.Len() + 1)
		l.mu.Unlock()
		return l.overloaded(wait)
	}
}

// abandon takes a call out of the queue. It is false where its turn has come.
func (l *Limiter) abandon(w *waiter, why cause) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.queue.Remove(&w.item) {
		return false
	}
	l.refuse(why, l.clock.Now())
	return true
}

// leave ends a call, whose slot is the next one's.
func (l *Limiter) leave() {
	l.mu.Lock()
	l.inFlight--
	l.fill()
	l.mu.Unlock()
}

// fill gives what room there is to those whose turn it is. l.mu is held.
func (l *Limiter) fill() {
	for l.queue.Len() > 0 && l.control.room(l.inFlight) {
		w := l.queue.Pop().Value
		now := l.clock.Now()
		l.turns.add(now-l.lastTurn, l.inFlight)
		l.lastTurn = now
		l.inFlight++
		w.ready <- nil
	}
}

// refuse counts a call that was not sent. l.mu is held.
func (l *Limiter) refuse(why cause, now time.Duration) {
	l.refused[why]++
	if why != left && why != expired { // these are what a client made them
		l.lately.at(now).refused[0]++
	}
}

// overloaded refuses a call. wait is how long it would have waited.
func (l *Limiter) overloaded(wait time.Duration) error {
	e := llm.UpstreamError(l.name, llm.Busy, 503, "overloaded", "Upstream %s has as much to do as it copes with, and too many requests wait for it. Try again later.", nil)
	e.Unprocessed = true
	e.RetryAfter = min(max(wait, time.Second), time.Minute)
	return e
}
