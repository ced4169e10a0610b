package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/spool"
)

// target is an upstream that may take a request, and the name that it knows
// the model by.
type target struct {
	up    *upstream
	model string
	group int  // 0: serves the model; n: the nth fallback
	tried bool // in this round
	spent bool // not to be asked again for this request
}

// call is one request on its way through the upstreams. It is the sink that
// they answer to. It is used again for later ones.
type call struct {
	router *Router
	req    llm.Request // a copy, with UpstreamModel set
	out    llm.Sink
	spool  *spool.Spool // of a body that can be read once; nil for none
	inPath bool         // the model's name stands in the path

	targets []target
	few     [4]target // where targets begins

	waited time.Duration // for lists, attempts that failed and pauses
	queued time.Duration // of attempts that failed, for a turn at the upstream; it is in waited
	since  time.Time     // when what is not yet in waited began

	round, sent int           // what the gateway refused to send is not in sent
	worked      int           // of those: upstreams that may have acted on the request
	acted       bool          // an upstream may have acted on it, and nobody knows what became of it
	usedUp      bool          // it was sent more than once, and no further try is left
	lacking     bool          // some try was for want of the gateway's own resources
	crowded     bool          // some upstream had no room: it may have it later
	room        time.Duration // when the first of those has it, as far as they say; else 0
	entry       entry
	choice      choice  // how its target was chosen
	prefix      *prefix // of its conversation, from when that is first looked at until a reply begins
	cause       outcome // of the last failure
	before      outcome // of the last that was sent
	group       int     // of its target
	counted     bool    // that it was sent there
	started     bool
	sinkFailed  bool
}

// Start hands the head on. From now on the request cannot go elsewhere.
func (c *call) Start(h *llm.Head) error {
	c.started = true
	c.spool.Last()
	c.count()
	if h.Sent {
		c.req.Body = nil
	}
	// A stream may last for minutes. That it began is enough for a probe.
	c.entry.begun(h.Queued)
	if c.choice.learns {
		c.stays(c.entry.up)
	}
	if c.sent > 1 {
		h.Attempts = c.sent
	}
	if c.waited > 0 {
		h.Waited += max(c.waited-c.queued, 0)
		h.Queued += c.queued
	}
	err := c.out.Start(h)
	c.sinkFailed = c.sinkFailed || err != nil
	return err
}

// Send hands events on.
func (c *call) Send(events []llm.Event) error {
	err := c.out.Send(events)
	c.sinkFailed = c.sinkFailed || err != nil
	return err
}

// tell says in an error, which err may be, how much was tried.
func (c *call) tell(err error) error {
	e, ok := err.(*llm.Error) //nolint:errorlint // one inside of another error is not what is told
	if !ok {
		return err
	}
	told := *e // the other may be kept as an upstream's fault
	told.Unprocessed = told.Unprocessed && !c.acted
	told.Attempts, told.Waited, told.Queued = c.sent, max(c.waited+time.Since(c.since)-c.queued, 0), c.queued
	if (c.acted || c.usedUp && !c.lacking && !c.crowded) && c.router.cfg.Retry.TellClients {
		told.Advice = llm.DoNotRetry
	}
	if told.Fault == llm.Busy && c.room > 0 {
		told.RetryAfter = c.room
	}
	if c.worked > 0 && c.sent > 1 {
		told.Message += fmt.Sprintf(" The request was sent %d times, and %s have acted on it.", c.sent, [...]string{1: "one upstream may", 2: "two upstreams may"}[c.worked])
	}
	return &told
}

// ask sends the request to one target after the other: to each once, the best
// group first, and then to all again after a pause, until one takes it. Of those
// that may have acted on it there are never more than two.
func (c *call) ask(ctx context.Context) error {
	var told error // what the client is told in the end
	group := 0     // that told came from
	for c.round = 1; ; c.round++ {
		for t := c.next(); t != nil; t = c.next() {
			err := c.try(ctx, t)
			if told != nil && errors.Is(err, spool.ErrLost) {
				return told // which is what it would be without another attempt
			}
			o, e := classify(ctx, err)
			v := c.judge(o, e)
			c.acted = c.acted || c.mayHaveActed(o, e)
			if v == final || ctx.Err() != nil {
				return err
			}
			c.learn(t, o, e)
			if told == nil || tells(told, e) && (t.group <= group || unoffered(told)) && (o != busy || c.worked == 0) { // who may have acted matters more than who had no room
				told, group = err, t.group
			}
			if v == elsewhere {
				t.spent = true
				if c.worked++; c.worked == 2 {
					c.usedUp = true
					return told
				}
			}
		}
		wait, ok := c.pause()
		if !ok {
			break
		}
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("wait to repeat request: %w", err)
		}
		for i := range c.targets {
			c.targets[i].tried = false
		}
	}
	if told == nil {
		return c.unavailable()
	}
	return told
}

// unoffered reports whether an error is that of an upstream which has not what is asked for.
func unoffered(err error) bool { return llm.AsError(err).Unoffered }

// tells reports whether a failure says more than one before: what an upstream has not says
// nothing of one that has it.
func tells(before error, e *llm.Error) bool { return !e.Unoffered || unoffered(before) }

// askOnce is ask for a body that can be read once. What is kept of it goes, whatever a
// handler does.
func (c *call) askOnce(ctx context.Context) error {
	defer c.spool.End()
	return c.ask(ctx)
}

// next chooses the target to try. It has passed the breaker. There is none when it
// returns nil.
func (c *call) next() *target {
	if c.round > 1 && c.sent >= c.router.cfg.Retry.MaxAttempts {
		return nil
	}
	for {
		c.choice = choice{}
		t, why := c.choose()
		if t == nil {
			return nil
		}
		t.tried = true
		var ok bool
		if c.entry, ok = t.enter(); ok {
			c.entry.counts(c.choice.replica, kindOf(&c.req))
			if c.choice.several {
				t.up.load.picks[why].Add(1)
			}
			return t
		}
	}
}

func (t *target) ready() bool {
	return !t.tried && !t.spent && t.broken() == 0 && t.up.cooling.left(t.model) == 0
}

// broken is how long a breaker keeps all requests from the target.
func (t *target) broken() time.Duration {
	left := t.up.breaker.left()
	if c := t.up.circuits.find(t.model); c != nil && !c.breaker.ejected.Load() {
		left = max(left, c.breaker.left())
	}
	return left
}

// ejected reports whether the target is left alone while there are others.
func (t *target) ejected() bool {
	c := t.up.circuits.find(t.model)
	return c != nil && c.breaker.ejected.Load() && c.breaker.left() > 0
}

// try sends the request once.
func (c *call) try(ctx context.Context, t *target) error {
	c.sends(t)
	defer c.entry.ended() // whatever becomes of it
	err := t.up.Handler.Serve(ctx, &c.req, c)
	c.settle(ctx, t, err)
	return err
}

// sends makes the request one for a target.
func (c *call) sends(t *target) {
	c.sent++
	if c.cause != succeeded { // it was tried before
		now := time.Now()
		c.waited, c.since = c.waited+now.Sub(c.since), now
	}
	c.group, c.counted = t.group, false
	c.req.UpstreamModel = t.model
	if c.spool != nil {
		c.req.BodyReader = c.spool.Reader(!c.req.Live && c.mayFollow())
	}
	if c.inPath && t.model != c.req.Model {
		c.req.Path = modelPath(t.model)
	}
	if c.req.Upgrade != "" && c.req.Model != "" {
		c.req.RawQuery = modelQuery(c.req.RawQuery, t.model)
	}
}

// mayFollow reports whether another attempt may follow the one that begins.
func (c *call) mayFollow() bool {
	most := c.router.cfg.Retry.MaxAttempts
	switch {
	case c.sent < most && c.round < most:
		return true // in another round, if in no other way
	case c.sent >= most && c.round > 1:
		return false
	}
	return slices.ContainsFunc(c.targets, func(t target) bool { return !t.tried && !t.spent })
}

// settle keeps what became of a request that was sent to a target.
func (c *call) settle(ctx context.Context, t *target, err error) {
	o, e := classify(ctx, err)
	var queued time.Duration
	if e != nil {
		queued = e.Queued
	}
	c.queued += queued
	if c.sinkFailed && (e == nil || e.Fault != llm.Told) {
		o = internal
	}
	if unsent(e) {
		c.sent--
	} else {
		c.count()
	}
	c.entry.settle(o, e, queued)
	if known, ok := o.healthy(); ok && !known {
		c.compare(t)
	}
}

// count counts a request that was sent again, or to a fallback, once it is known that it
// was sent: to be refused a turn is not.
func (c *call) count() {
	if c.counted {
		return
	}
	c.counted = true
	if c.before != succeeded {
		c.router.retries[c.before].Add(1)
	}
	if c.group > 0 {
		c.router.fallbacks.Add(1)
	}
}

// verdict says what a failure leaves to do.
type verdict uint8

const (
	final     verdict = iota // the client gets the error
	again                    // the request may be sent to any target: nobody has acted on it
	elsewhere                // this target may have acted on it: one other may be asked
)

// judge says whether a request that failed may be sent again: where no upstream
// can have acted on it, or the upstream said that it did not. Of a streamed call
// the client has nothing yet and would be lost with its upstream, so that one is
// asked once more, of another upstream.
func (c *call) judge(o outcome, e *llm.Error) verdict {
	if e == nil || e.Final || o == cancelled || c.started || c.sinkFailed || !c.spool.Repeatable() {
		return final
	}
	reads := c.req.Method == "GET" || c.req.Method == "HEAD"
	switch {
	case e.Unoffered:
		return again
	case e.Fault == llm.TooLate && c.remains() <= 0:
		return final
	case o == unreachable || o == busy:
		return again
	case e.Fault == llm.Answered:
		if e.Advice == llm.SendAgain || slices.Contains(c.router.cfg.Retry.Statuses, e.Status) {
			return again
		}
		return final
	case o == timedOut || o == cut || o == lacking:
		if e.Unprocessed || reads {
			return again
		}
	case o != failed && o != limited:
		return final
	}
	// A status of Sluice's own says nothing about what the upstream did.
	if c.req.Stream {
		return elsewhere
	}
	return final
}

// mayHaveActed reports whether the upstream may have acted on a request of which
// nobody knows what became. A client that sends it again would have it done twice.
func (c *call) mayHaveActed(o outcome, e *llm.Error) bool {
	if e == nil || e.Fault == llm.Answered && !e.Final || e.Unprocessed || c.req.Method == "GET" || c.req.Method == "HEAD" {
		return false
	}
	return o == timedOut || o == cut || o == lacking || o == failed
}

// learn keeps what a failure says about later requests.
func (c *call) learn(t *target, o outcome, e *llm.Error) {
	c.cause = o
	if o != busy && !e.Unoffered {
		c.before = o
	}
	c.router.log.Debug("request may go elsewhere", slog.String("request_id", c.req.ID), slog.String("upstream", t.up.Name),
		slog.String("cause", o.String()), slog.Any("error", e))
	if e.Fault == llm.Answered && e.Advice == llm.DoNotRetry {
		t.spent = true
	}
	switch {
	case e.Unoffered:
		t.spent = true
	case o == lacking:
		// Its Retry-After is the client's too, and no upstream's.
		c.lacking = true
	case o == busy:
		// It has waited long already; a Retry-After of ours is for the client.
		t.spent, c.crowded = true, true
		if c.room == 0 || e.RetryAfter > 0 && e.RetryAfter < c.room {
			c.room = e.RetryAfter
		}
	case o == timedOut:
		t.spent = true
	case e.Status == 429 && t.model == noModel:
		// Limits are by what is asked for, and nobody knows what that is.
	default:
		t.up.cooling.start(t.model, e.RetryAfter)
	}
}

// pause gives the time to wait before the targets are tried again; ok is false
// when they are not to be.
func (c *call) pause() (wait time.Duration, ok bool) {
	cfg := &c.router.cfg.Retry
	if c.sent >= cfg.MaxAttempts || c.round >= cfg.MaxAttempts {
		c.usedUp = c.sent > 1
		return 0, false
	}
	soonest := time.Duration(-1)
	for i := range c.targets {
		t := &c.targets[i]
		if t.spent || t.broken() > 0 {
			continue
		}
		if left := t.up.cooling.left(t.model); soonest < 0 || left < soonest {
			soonest = left
		}
	}
	if soonest < 0 {
		c.usedUp = c.sent > 1
		return 0, false
	}
	if soonest > cfg.MaxRetryAfter {
		return 0, false // then the client may try
	}
	jitter := c.router.rand()
	delay := cfg.BaseDelay
	for i := 1; i < c.round && delay < cfg.MaxDelay; i++ {
		delay *= 2
	}
	delay = min(delay, cfg.MaxDelay)
	wait = delay/2 + time.Duration(jitter*float64(delay/2))
	if soonest > 0 {
		// Not all who wait for the same moment come at it.
		wait = max(wait, soonest+time.Duration(jitter*float64(cfg.BaseDelay)))
	}
	return wait, wait < c.remains() // else nobody waits for it any more
}

// remains is how long the client still waits, as far as it says.
func (c *call) remains() time.Duration {
	if c.req.Deadline.IsZero() {
		return math.MaxInt64
	}
	return time.Until(c.req.Deadline)
}

// maxReasons bounds the targets that an error explains.
const maxReasons = 3

// unavailable is the error when no target could be asked at all.
func (c *call) unavailable() error {
	var soonest time.Duration
	var why []string
	broken := false
	for i := range c.targets {
		t := &c.targets[i]
		left := max(t.broken(), t.up.cooling.left(t.model))
		if i == 0 || left < soonest {
			soonest = left
		}
		s := t.held()
		broken = broken || s != ""
		if s == "" {
			s = fmt.Sprintf("Upstream `%s` asked for no requests for %s for another %v.", t.up.Name, quoted(t.model), seconds(left))
		}
		if len(why) < maxReasons {
			why = append(why, s)
		}
	}
	c.router.unavailable.Add(1)
	e := llm.Errorf(429, "rate_limit_exceeded", "%s", strings.Join(why, " "))
	if broken {
		e = llm.Errorf(503, "upstream_unavailable", "No upstream that serves this model is available now. %s", e.Message)
	}
	e.Fault, e.RetryAfter = llm.Unavailable, seconds(soonest)
	e.Unprocessed = true
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
