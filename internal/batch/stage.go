package batch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/batch/gather"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

const (
	// maxWaiting bounds the items that gather, maxWaitingBytes the bodies that are kept
	// for callers, and in calls under way for those that have left.
	maxWaiting, maxWaitingBytes = 16384, 64 << 20
	// splitAtOnce is how many calls of one that is split are under way at once.
	splitAtOnce = 4
)

// item is one input or prompt, as JSON, and whose it is.
type item struct {
	raw  []byte
	from *origin
}

// Batch makes large calls of small ones. It is shared by the chains whose
// configuration of it is the same.
type Batch struct {
	cfg     Config
	on      [kinds]bool
	buffers *memory.Buffers
	gather  *gather.Batcher[item, part]
	chains  atomic.Uint64 // numbers them
	turns   sync.Pool     // *turn

	split atomic.Uint64 // calls that were more than upstreams take
}

// New makes a Batch of a configuration that is valid and on. The buffers that it works
// in come from b, which may be nil.
func New(cfg Config, b *memory.Buffers) (*Batch, error) { return bounded(cfg, b, maxWaitingBytes) }

// bounded is New with a bound of its own for the bodies that are kept.
func bounded(cfg Config, b *memory.Buffers, most int) (*Batch, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check batch: %w", err)
	}
	strategy, ok := cfg.strategy()
	if !ok {
		return nil, errors.New("set up batch: it is off")
	}
	s := &Batch{cfg: cfg, buffers: b}
	for i := range all {
		s.on[i] = slices.Contains(cfg.Operations, all[i].name)
	}
	s.gather = gather.New(gather.Options[item, part]{
		Strategy: strategy, MaxItems: cfg.MaxBatchSize, MaxWeight: cfg.MaxTokens, MaxWait: cfg.MaxWaitTime, Target: cfg.LatencyTarget,
		MaxWaiting: maxWaiting, MaxBytes: most,
		Send: s.send, Blame: blame,
	})
	s.turns.New = func() any { return new(turn) }
	return s, nil
}

// Close waits for calls that go on without their callers, which are being cancelled.
func (s *Batch) Close() { s.gather.Close() }

// Stage puts the Batch in front of the next handler of one chain. Calls of several
// chains are not joined.
func (s *Batch) Stage(next llm.Handler) llm.Handler {
	return &stage{Batch: s, next: next, chain: s.chains.Add(1)}
}

type stage struct {
	*Batch
	next  llm.Handler
	chain uint64
}

// Serve implements llm.Handler.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if k := kindOf(req); k != nil && s.on[k.place] {
		return s.batch(ctx, k, req, out)
	}
	return s.next.Serve(ctx, req, out)
}

// batch has a call's items share one. It is not part of Serve, where what it takes on
// the stack would be there while a call of another kind waits, such as a stream.
func (s *stage) batch(ctx context.Context, k *kind, req *llm.Request, out llm.Sink) error {
	t := s.turns.Get().(*turn)
	defer s.release(t)
	if !t.read(k, req, s.cfg.Scope) {
		return s.next.Serve(ctx, req, out)
	}
	t.stage, t.req, t.out = s, req, out
	n := len(t.inputs.Items)
	switch {
	case n > 1 && (n > s.cfg.MaxItems || s.cfg.MaxTokens > 0 && t.tokens > s.cfg.MaxTokens):
		return t.split(ctx)
	case n >= s.cfg.MaxBatchSize, s.cfg.MaxTokens > 0 && t.tokens >= s.cfg.MaxTokens: // it is a batch by itself
		return t.alone(ctx, gather.Outcome{})
	}
	t.key = binary.AppendUvarint(t.key, s.chain)
	if s.gather.Enter(&t.place, t.key, t.course, n, len(req.Body)) {
		return t.alone(ctx, gather.Outcome{})
	}
	return t.share(ctx)
}

func (s *stage) release(t *turn) {
	clear(t.parts)
	key, parts := t.key[:0], t.parts[:0]
	if cap(key) > maxKey {
		key = nil
	}
	t.inputs.Value, t.inputs.Items = llm.Span{}, t.inputs.Items[:0]
	inputs := t.inputs
	if cap(inputs.Items) > maxSize { // a call that was split: few are
		inputs.Items, parts = nil, nil
	}
	*t = turn{}
	t.key, t.parts, t.inputs = key, parts, inputs
	s.turns.Put(t)
}

// turn is one call on its way. It is kept for use again. It is the sink of a call that
// goes by itself.
type turn struct {
	asked
	stage *stage
	req   *llm.Request
	out   llm.Sink
	place gather.Turn[item, part]
	was   gather.Outcome // of calls before
	parts []part
}

// alone sends the call as it is.
func (t *turn) alone(ctx context.Context, was gather.Outcome) error {
	t.was = was
	defer t.stage.gather.End(&t.place, false, gather.Trip{}) // where there was no reply, be it for a panic
	return after(t.stage.next.Serve(ctx, t.req, t), was)
}

// Start implements llm.Sink. With the head the upstream has done its work.
func (t *turn) Start(h *llm.Head) error {
	t.stage.gather.End(&t.place, h.Status == 200, gather.Trip{Queued: h.Queued, Upstream: h.Upstream})
	h.Batch = len(t.inputs.Items)
	h.Queued += t.was.Queued
	h.Attempts += t.was.Calls
	if h.Waited >= 0 {
		h.Waited += t.was.Waited
	}
	return t.out.Start(h)
}

// Send implements llm.Sink.
func (t *turn) Send(events []llm.Event) error { return t.out.Send(events) }

// share has the call's items be part of another call.
func (t *turn) share(ctx context.Context) error {
	from := t.keep(t.req, t.stage.next)
	items := make([]item, len(from.inputs.Items))
	for i, at := range from.inputs.Items {
		items[i] = item{from.req.Body[at.Start:at.End], from}
	}
	w := gather.Want{Urgency: t.req.Urgency, Weight: t.tokens, Bytes: len(t.req.Body)}
	results, was, err := t.stage.gather.Gather(ctx, &t.place, t.key, t.course, items, w)
	switch {
	case errors.Is(err, gather.ErrAlone):
		return t.alone(ctx, was)
	case errors.Is(err, gather.ErrLate):
		return after(llm.Late(), was)
	case err != nil:
		return after(err, was)
	}
	for _, r := range results {
		t.parts = append(t.parts, r.Value)
	}
	r := t.parts[0].reply
	defer r.done(len(t.parts))
	h := r.head
	h.Batch, h.Queued = was.Size, h.Queued+was.Queued
	h.Attempts, h.Waited = h.Attempts+was.Calls, h.Waited+was.Waited
	return t.answer(h)
}

// answer sends what the parts are together.
func (t *turn) answer(h llm.Head) error {
	buf, err := t.stage.buffers.Get(composed(t.parts))
	if err != nil {
		return err
	}
	defer func() { t.stage.buffers.Put(buf) }()
	buf.B = compose(buf.B, t.parts)
	h.Kind, h.Length = llm.Unary, int64(len(buf.B))
	h.Header = slices.Clone(h.Header) // others have the same
	if err := t.out.Start(&h); err != nil {
		return err
	}
	return t.out.Send([]llm.Event{{Raw: buf.B}})
}

// send makes a call of several callers' items: the first one's, with the items of all.
func (s *Batch) send(ctx context.Context, u llm.Urgency, items []item) ([]gather.Result[part], gather.Trip, error) {
	from := items[0].from
	mixed := slices.ContainsFunc(items, func(i item) bool { return i.from.req.Tenant != from.req.Tenant })
	r, err := s.ask(ctx, from, u, items)
	if err != nil {
		if mixed {
			err = unquoted(err)
		}
		if _, misfit := errors.AsType[*misfit](err); misfit {
			return make([]gather.Result[part], len(items)), gather.Trip{Queued: queued(err)}, nil
		}
		return nil, gather.Trip{Queued: queued(err)}, err
	}
	if mixed {
		r.unquote()
	}
	results := make([]gather.Result[part], len(items))
	for i := range results {
		results[i] = gather.Result[part]{Value: part{r, i}, OK: r.has(i)}
	}
	return results, gather.Trip{Queued: r.head.Queued, Upstream: r.head.Upstream}, nil
}

// misfit is a reply that does not answer the items one by one.
type misfit struct {
	err    error
	queued time.Duration // that it waited for its turn
}

func (m *misfit) Error() string { return m.err.Error() }
func (m *misfit) Unwrap() error { return m.err }

// queued is how long a call that ended so had waited for its turn.
func queued(err error) time.Duration {
	if m, ok := errors.AsType[*misfit](err); ok {
		return m.queued
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e.Queued
	}
	return 0
}

// ask sends a request like that of an origin with some items, as urgently as is said, and
// takes the reply apart.
func (s *Batch) ask(ctx context.Context, from *origin, u llm.Urgency, items []item) (*reply, error) {
	raw := make([][]byte, len(items))
	size := len(from.req.Body)
	for i := range items {
		raw[i] = items[i].raw
		size += len(raw[i]) + 1
	}
	body, err := s.buffers.Get(size)
	if err != nil {
		return nil, err
	}
	defer s.buffers.Put(body)
	req, err := from.inputs.With(body.B, &from.req, raw)
	if err != nil {
		return nil, &misfit{err: err}
	}
	req.Urgency = u
	c := collector{lender: s.buffers}
	defer c.release()
	if err := from.next.Serve(ctx, &req, &c); errors.Is(err, errTooLarge) {
		return nil, &misfit{err, c.head.Queued} // it passes as it is
	} else if err != nil {
		return nil, err
	}
	if c.head.Status != 200 {
		return nil, &misfit{fmt.Errorf("the reply has the status %d", c.head.Status), c.head.Queued}
	}
	r, err := readReply(c.body(), from.kind, len(items), from.per)
	if err != nil {
		return nil, &misfit{err, c.head.Queued}
	}
	r.head, r.lent, r.lender = c.head, c.buf, s.buffers
	c.buf = nil // it is the reply's
	r.left.Store(int64(len(items)))
	r.weigh(from.kind, func(i int) []byte { return raw[i] })
	return r, nil
}

// split makes several calls of one that is more than an upstream takes, and one reply
// of theirs.
func (t *turn) split(ctx context.Context) error {
	s := t.stage
	s.split.Add(1)
	from := &origin{req: *t.req, kind: t.kind, per: t.per, next: s.next}
	from.inputs.Value = t.inputs.Value
	p := parted{from: from, runs: t.runs(from), begun: time.Now()}
	p.replies = make([]*reply, len(p.runs))
	p.ask(ctx, s.Batch)
	if p.err != nil {
		if _, ok := errors.AsType[*misfit](p.err); ok { // then the upstream is to say what it makes of it
			return t.alone(ctx, p.was)
		}
		return after(p.err, p.was)
	}
	h := p.replies[0].head
	for i, r := range p.replies {
		for n := range p.runs[i] {
			t.parts = append(t.parts, part{r, n})
		}
		h.Batch = max(h.Batch, len(p.runs[i]))
		defer r.done(len(p.runs[i]))
	}
	h.Attempts, h.Waited, h.Queued = p.was.Calls, p.was.Waited, p.was.Queued
	return t.answer(h)
}

// errOtherFailed is the cause with which the other parts of a call end where one has
// failed: no client has left.
var errOtherFailed = errors.New("another part of the call failed")

// parted is a call that is made as several.
type parted struct {
	from    *origin
	runs    [][]item // the items of each
	replies []*reply
	begun   time.Time

	mu  sync.Mutex
	at  int            // the next run
	err error          // that the others followed from
	was gather.Outcome // of all until the last one ended; where one failed, until it began
}

// ask makes the calls, some at once.
func (p *parted) ask(ctx context.Context, s *Batch) {
	ctx, cancel := context.WithCancelCause(ctx) // one that fails ends the others
	defer cancel(nil)
	var all sync.WaitGroup
	for range min(len(p.runs), splitAtOnce) {
		all.Go(func() {
			waited := time.Duration(0) // for turns, by the calls that are made here one after the other
			for i := p.next(); i < len(p.runs); i = p.next() {
				begun := time.Now()
				r, err := p.one(ctx, s, p.runs[i])
				if err != nil {
					p.fail(err, begun, waited)
					cancel(errOtherFailed)
					return
				}
				waited += r.head.Queued
				p.keep(i, r, waited)
			}
		})
	}
	all.Wait()
}

// next is the run that is to be sent.
func (p *parted) next() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at++
	return p.at - 1
}

// one makes a call. A fault of those who serve it is kept to this request.
func (p *parted) one(ctx context.Context, s *Batch, items []item) (r *reply, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			r, err = nil, fmt.Errorf("send %d items of a call: %v\n%s", len(items), fault, debug.Stack())
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	own := *p.from // edits are made in it
	u := llm.Urgency{Turn: new(llm.Turn)}
	u.Priority, u.Deadline = own.req.Now()
	own.req.Join(&u)
	defer own.req.Leave(&u)
	return s.ask(ctx, &own, u, items)
}

// keep notes a reply, and what was waited for turns before it. That of the last one is
// the call's own.
func (p *parted) keep(i int, r *reply, waited time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replies[i] = r
	p.was.Calls += r.head.Attempts
	if p.err == nil {
		p.was.Queued, p.was.Waited = waited, time.Since(p.begun)-waited
	}
}

// fail notes why a call that was begun then failed, and what was waited for turns before.
func (p *parted) fail(err error, begun time.Time, waited time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := errors.AsType[*misfit](err); ok { // others tell it themselves
		p.was.Calls++
		begun, waited = time.Now(), waited+queued(err)
	}
	if p.err == nil || errors.Is(p.err, context.Canceled) {
		p.err = err
		p.was.Queued, p.was.Waited = waited, begun.Sub(p.begun)-waited
	}
}

// runs cuts the call's items into those of each call.
func (t *turn) runs(from *origin) (runs [][]item) {
	cfg := &t.stage.cfg
	var run []item
	tokens := 0
	for _, at := range t.inputs.Items {
		raw := t.req.Body[at.Start:at.End]
		n := tokensOf(raw)
		if len(run) > 0 && (len(run) == cfg.MaxItems || cfg.MaxTokens > 0 && tokens+n > cfg.MaxTokens) {
			runs, run, tokens = append(runs, run), nil, 0
		}
		run, tokens = append(run, item{raw, from}), tokens+n
	}
	return append(runs, run)
}

// blame tells of whom an error of a call with several items may be. That an upstream did
// not like what it was asked may be of one item; that it failed at it may be as well, or
// else would happen with any.
func blame(err error) gather.Blame {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Fault != llm.Answered && e.Fault != llm.Told {
		return gather.None
	}
	switch e.Status {
	case 400, 413, 422:
		return gather.Item
	case 500:
		return gather.Either
	default:
		return gather.None
	}
}

// unquoted is an error of a call with several tenants' items as these are told of it:
// without the upstream's words, which may quote any of the items.
func unquoted(err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Fault != llm.Answered && e.Fault != llm.Told {
		return err
	}
	own := *e
	own.Type, own.Code, own.Param, own.Reply = llm.TypeOf(e.Status), llm.CodeUpstream, "", nil
	own.Message = fmt.Sprintf("Upstream `%s` answered with an error of status %d to a call that had items of several API keys. What it said may quote another's and is not passed on.", e.Upstream, e.Status)
	return &own
}

// after gives an error with what went before it.
func after(err error, was gather.Outcome) error {
	return llm.After(err, was.Queued, was.Waited, was.Calls)
}
