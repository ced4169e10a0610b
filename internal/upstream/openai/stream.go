package openai

import (
	"io"
	"slices"
	"time"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/sse"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// maxHeld bounds the comments that wait for the first event, in bytes.
const maxHeld = 64 << 10

// source is a reply's body. *upstream.Reply is one.
type source interface {
	Next() ([]byte, error)
	SetIdleTimeout(d time.Duration)
	Gather(d time.Duration)
}

// stream is the state of one event stream on its way, kept for use again.
type stream struct {
	cfg   upstream.StreamConfig
	api   dialect.Streamed // nil where it is not known how it ends
	head  llm.Head
	cut   bool // its last event alone tells its end from a cut
	begun time.Time

	splitter sse.Splitter
	grows    func([]byte, int) ([]byte, error) // grow, made once
	account  *memory.Account                   // that large events are reserved in
	reserved int64                             // bytes in it
	events   []llm.Event
	held     []byte // comments that came before the first event
	heldEnds []int  // where each of them ends in held
	started  bool
	ended    bool // the event that ends a whole stream has come
	fast     bool // events come faster than the flush interval
	sent     time.Time

	told    *llm.Error // that an event told of, nil for none
	secrets *credentials.Secrets
}

// relay sends on an event stream, of which read was already read. begun is when
// its request went out.
func (h *Handler) relay(req *llm.Request, r *upstream.Reply, read []byte, out llm.Sink, begun time.Time) error {
	s := h.begin(req, r, begun)
	defer h.forget(s)
	return s.run(&peeked{r, read}, out, h.name)
}

// begin makes the state of a stream. What it takes on the stack is not there while the
// stream waits for events, for which reason nothing of it is where one does.
func (h *Handler) begin(req *llm.Request, r *upstream.Reply, begun time.Time) *stream {
	s := h.streams.Get().(*stream) // all zero but for what has room
	s.cfg, s.api, s.cut, s.begun, s.fast, s.secrets = h.stream, known.StreamOf(req.Op), r.CloseDelimited || req.Closed, begun, true, h.secrets
	s.splitter.MaxEvent = h.stream.MaxEventBytes
	if s.grows == nil {
		s.grows = s.grow
	}
	s.splitter.Grow, s.account = s.grows, h.client.Buffers().Events
	head := &s.head
	head.Status, head.Kind, head.Header, head.Length, head.Upstream, head.Attempts = r.Status, llm.EventStream, r.Header, -1, h.name, 1
	head.Sent, head.Queued = r.Sent(), r.Queued
	return s
}

// forget ends the use of a stream's state. An idle pool holds no bytes of a reply.
func (h *Handler) forget(s *stream) {
	s.account.Give(s.reserved)
	clear(s.events[:cap(s.events)])
	*s = stream{events: s.events[:0], held: s.held[:0], heldEnds: s.heldEnds[:0], grows: s.grows}
	h.streams.Put(s)
}

// peeked is a body of which the beginning was already read.
type peeked struct {
	source
	read []byte
}

func (p *peeked) Next() ([]byte, error) {
	if read := p.read; read != nil {
		p.read = nil
		return read, nil
	}
	return p.source.Next()
}

// run sends on what body has.
func (s *stream) run(body source, out llm.Sink, name string) error {
	return s.outcome(s.relay(body, out, name))
}

// outcome gives what became of the stream whose relaying ended with err. An error that
// the stream itself told of goes before whatever came after it, such as that the client
// has left, which it often does then: it is the upstream that failed.
func (s *stream) outcome(err error) error {
	if s.told != nil {
		s.told.Ended = err == nil
		return s.told
	}
	return err
}

func (s *stream) relay(body source, out llm.Sink, name string) error {
	for {
		await(&s.cfg, body, s.begun, s.started)
		piece, err := body.Next()
		if !s.started {
			s.head.Waited = time.Since(s.begun)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // Next returns it unwrapped
			return s.finish(out, name)
		case s.ended && err != nil:
			return nil // the stream is whole: how its connection ends is nothing to a client
		case err != nil:
			return err
		}
		s.observe()
		var broken error
		s.events, broken = s.splitter.Feed(piece, s.events[:0])
		if err := s.send(out, name, false); err != nil {
			return err
		}
		s.lighten()
		if broken == sse.ErrTooLarge { //nolint:errorlint // Feed returns it unwrapped
			return llm.UpstreamError(name, llm.TooLarge, 502, "upstream_event_too_large", "Upstream %s sent an event that is too large.", broken)
		}
		if broken != nil {
			return broken // there is no memory for it
		}
		s.pace(body)
	}
}

// smallEvent is what an event may take, in bytes, without being reserved: it is part of
// what a call is taken for. manyEvents is how many are kept room for.
const smallEvent, manyEvents = 8 << 10, 1 << 10

// grow makes room for n bytes more of an event that has not come as a whole.
func (s *stream) grow(carried []byte, n int) ([]byte, error) {
	size := memory.Room(len(carried) + n)
	if more := int64(size) - s.reserved; size > smallEvent && more > 0 {
		// Old and new are there until the one is copied.
		if !s.account.Fits(more + 2*s.reserved) {
			return carried, sse.ErrTooLarge // whatever others have: it is the event's fault
		}
		if err := s.account.Continue(more + s.reserved); err != nil {
			return carried, err
		}
		s.account.Give(s.reserved)
		s.reserved = int64(size)
	}
	return append(make([]byte, 0, size), carried...), nil
}

// lighten lets go of what large or many events took.
func (s *stream) lighten() {
	if s.reserved > 0 && s.splitter.Drop() {
		s.account.Give(s.reserved)
		s.reserved = 0
	}
	if cap(s.events) > manyEvents {
		s.events = nil
	}
}

// await sets how long the next piece may take to come. Until the first event, with
// which a stream has started, that is what is left of its time: comments do not
// extend it.
func await(c *upstream.StreamConfig, body source, begun time.Time, started bool) {
	if c.FirstEventTimeout <= 0 || c.IdleTimeout <= 0 {
		return
	}
	d := c.IdleTimeout
	if !started {
		// A bound of nothing would be no bound.
		d = max(c.FirstEventTimeout-time.Since(begun), time.Millisecond)
	}
	body.SetIdleTimeout(d)
}

// send sends the events that came. Comments before the first event wait for
// it, because up to then the request can still go elsewhere; force sends them
// nevertheless.
func (s *stream) send(out llm.Sink, name string, force bool) error {
	for i := range s.events {
		s.ended = s.ended || s.api != nil && s.api.Completes(s.events[i].Raw)
		if data, failed := sse.Failure(s.events[i].Raw); failed && s.told == nil {
			s.events[i].Failed = true
			s.told = told(data, name, s.secrets)
			s.events[i].Raw = s.secrets.Redact(s.events[i].Raw) // services tell which key they did not like
			if !s.started && s.comments(i) {
				return s.told // the head has not gone out, so it is the reply
			}
		}
	}
	if !s.started {
		if !force && s.hold() {
			return nil
		}
		s.started = true
		err := out.Start(&s.head)
		s.head = llm.Head{}
		if err != nil {
			return err
		}
		s.release()
	}
	if len(s.events) == 0 {
		return nil
	}
	err := out.Send(s.events)
	clear(s.events) // which would keep the buffer alive that was read into, while others use it or none
	s.sent = time.Now()
	return err
}

// comments reports whether the first n events are comments.
func (s *stream) comments(n int) bool {
	for i := range n {
		if !sse.IsComment(s.events[i].Raw) {
			return false
		}
	}
	return true
}

// hold puts the events aside if they are all comments.
func (s *stream) hold() bool {
	if !s.comments(len(s.events)) {
		return false
	}
	size := len(s.held)
	for i := range s.events {
		size += len(s.events[i].Raw)
	}
	if size > maxHeld {
		return false
	}
	for i := range s.events {
		s.held = append(s.held, s.events[i].Raw...)
		s.heldEnds = append(s.heldEnds, len(s.held))
	}
	return true
}

// release puts what was held before the events that came.
func (s *stream) release() {
	if len(s.heldEnds) == 0 {
		return
	}
	comments, start := make([]llm.Event, len(s.heldEnds)), 0
	for i, end := range s.heldEnds {
		comments[i].Raw = s.held[start:end:end]
		start = end
	}
	s.events = slices.Insert(s.events, 0, comments...)
}

// observe is told that a piece has come.
func (s *stream) observe() {
	if s.cfg.FlushInterval > 0 && !s.sent.IsZero() {
		s.fast = time.Since(s.sent) < 2*s.cfg.FlushInterval
	}
}

// pace waits until the flush interval is over since the last events left, if
// they come faster than that, so that the next leave together in one write. A
// stream that is slower is read at once and never waits for a timer.
func (s *stream) pace(body source) {
	if s.started && s.fast && !s.ended && s.cfg.FlushInterval > 0 {
		body.Gather(s.cfg.FlushInterval - time.Since(s.sent))
	}
}

// finish ends a stream whose body has come to its sound end.
func (s *stream) finish(out llm.Sink, name string) error {
	tail := s.splitter.Tail()
	s.events = s.events[:0]
	if s.cut && s.api != nil && !s.ended && s.told == nil && !s.api.Completes(tail) {
		return cutOff(name)
	}
	if !s.started && sse.IsComment(tail) && s.api != nil {
		return llm.UpstreamError(name, llm.Unusable, 502, "upstream_empty", "Upstream %s ended its stream without an event.", nil)
	}
	if len(tail) > 0 {
		s.events = append(s.events, llm.Event{Raw: tail})
	}
	if len(tail) == 0 && s.started {
		return nil
	}
	return s.send(out, name, true)
}

// cutOff is the fault of a reply whose end does not say that it is whole.
func cutOff(name string) *llm.Error {
	return llm.UpstreamError(name, llm.Cut, 502, "upstream_cut", "Upstream %s ended its stream before its reply was complete.", nil)
}
