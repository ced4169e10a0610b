package translate

import (
	"bytes"
	"cmp"
	"errors"
	"time"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// maxDepth bounds the nesting of a whole reply.
const maxDepth = 512

// errEnded ends the reading of a reply that failed or came to its end.
var errEnded = errors.New("the reply has ended")

// reply is the writing of a reply in the client's dialect. It is the sink of the service's.
type reply struct {
	out     llm.Sink
	stream  bool // the client wants events
	reader  dialect.Reader
	writer  dialect.Writer
	readers [llm.Operations]dialect.Reader // for use again, by what is asked
	writers [llm.Operations]dialect.Writer // by what the client asked
	holder  dialect.Holder                 // the writer, where it holds what it writes
	say     func(*dialect.Event) error     // c.event, made once

	head     llm.Head // of the service's reply
	header   []llm.Field
	headed   bool       // there is one
	started  bool       // the client's has begun
	ended    bool       // nothing more is said
	finished bool       // a choice has said why it ended
	spoke    bool       // a choice has said something
	fault    *llm.Error // what the reply failed of, nil for nothing
	told     bool       // and the client is told of it, or was, by the writer
	whole    []byte
	reserved int64
	gathered dialect.Said
	lack     dialect.Losses // of the reply, that are not counted yet
	buf      []byte         // of events that are written
	events   []llm.Event
}

// keepBuffer is how much room in bytes a call keeps for use again.
const keepBuffer = 64 << 10

// begin readies the reply. Its error is that there is no memory for what the client's dialect
// repeats of its request.
func (c *call) begin(h *Handler, from dialect.Dialect, req *llm.Request, out llm.Sink) error {
	r := &c.reply
	r.out, r.stream = out, req.Stream
	to, op := h.o.To, req.Op
	if r.readers[to] == nil {
		r.readers[to] = h.to.NewReader()
	}
	if r.writers[op] == nil {
		r.writers[op] = from.NewWriter()
	}
	r.reader, r.writer = r.readers[to], r.writers[op]
	r.holder, _ = r.writer.(dialect.Holder)
	r.reader.Reset()
	r.writer.Reset(dialect.Reply{
		ID: req.ID, Model: req.Model, Created: time.Now().Unix(), IncludeUsage: c.said.IncludeUsage, Request: req.Body,
		Max: h.o.MaxReply, Thread: c.thread(), Lost: &r.lack,
	})
	if r.say == nil {
		r.say = c.event
	}
	r.gathered.Max = h.o.MaxReply
	if r.holder != nil && len(req.Body) > keepBuffer {
		return c.reserve(len(req.Body))
	}
	return nil
}

// end forgets the reply.
func (c *call) end() {
	r := &c.reply
	if c.h != nil {
		c.h.o.Account.Give(r.reserved)
		c.h.lost.count(&r.lack) // which its head could not tell of
	}
	r.gathered.Reset()
	clear(r.events[:cap(r.events)])
	clear(r.header)
	if cap(r.buf) > keepBuffer {
		r.buf = nil
	}
	*r = reply{readers: r.readers, writers: r.writers, say: r.say, header: r.header[:0], buf: r.buf[:0], events: r.events[:0], gathered: r.gathered}
}

// Start implements llm.Sink. The client's reply begins with the first event, since up to
// then it may turn out to be an error.
func (c *call) Start(h *llm.Head) error {
	c.headed, c.head = true, *h
	c.header = append(c.header[:0], h.Header...)
	c.head.Header = c.header
	return nil
}

// start begins the client's reply.
func (c *call) start(kind llm.ReplyKind, length int64) error {
	c.started = true
	h := c.head
	h.Kind, h.Length, h.Outline = kind, length, llm.Outline{}
	h.Header = h.Header[:0]
	for _, f := range c.header {
		if f.Name != "Content-Type" {
			h.Header = append(h.Header, f)
		}
	}
	contentType := "application/json"
	if kind == llm.EventStream {
		contentType = "text/event-stream"
	}
	h.Header = append(h.Header, llm.Field{Name: "Content-Type", Value: contentType})
	for _, name := range c.lack.Names() {
		c.said.Lost.Add(name)
	}
	c.lack = dialect.Losses{}
	h.Lossy = c.h.lost.count(&c.said.Lost)
	h.Kept = c.said.Kept
	if kind == llm.EventStream && h.Sent {
		c.sent() // the stream may go on for minutes
	}
	return c.out.Start(&h)
}

// Send implements llm.Sink.
func (c *call) Send(events []llm.Event) error {
	if c.head.Kind != llm.EventStream {
		return c.hold(events)
	}
	c.buf = c.buf[:0]
	if large := sizeAbove(events, keepBuffer); large > 0 && c.stream && c.holder == nil {
		// What is written of them is there beside them until it has left.
		if err := c.h.o.Account.Continue(large); err != nil {
			return err
		}
		defer c.h.o.Account.Give(large)
	}
	for i := range events {
		if c.ended {
			break
		}
		raw := events[i].Raw
		if !c.stream || c.holder != nil {
			if err := c.reserve(len(raw)); err != nil {
				return err
			}
		}
		if sse.IsComment(raw) {
			if c.stream {
				c.buf = append(c.buf, raw...)
			}
			continue
		}
		if err := c.reader.Event(raw, c.say); err == dialect.ErrBroken { //nolint:errorlint // which readers return so
			c.broken(events[i].Failed)
		} else if err != nil && err != errEnded { //nolint:errorlint // c.event returns it unwrapped
			return err
		}
		if c.fault != nil && !events[i].Failed {
			// The handler knows nothing of it.
			return cmp.Or(c.flush(), c.failed())
		}
		if ends := known.StreamOf(c.req.Op); !c.ended && ends != nil && ends.Ends(raw) {
			c.ended = true
			if c.stream {
				c.buf = c.writer.End(c.buf)
			}
		}
	}
	return c.flush()
}

// sizeAbove is how large the events are that are larger than least, in bytes.
func sizeAbove(events []llm.Event, least int) (n int64) {
	for i := range events {
		if size := len(events[i].Raw); size > least {
			n += int64(size)
		}
	}
	return n
}

// failed is the error of a reply that failed.
func (c *call) failed() error {
	c.fault.Ended = c.told && c.started
	return c.fault
}

// broken ends a reply with an event that cannot be read. The handler knows of those that
// tell of an error, whatever is in them.
func (c *call) broken(failed bool) {
	if failed {
		_ = c.event(&dialect.Event{Error: new(dialect.Failure)})
		return
	}
	c.ended = true
	c.fault = llm.UpstreamError(c.h.o.Name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s sent an event that is not JSON.", nil)
}

// noReply is the error of a reply that came whole and says nothing of what was asked.
func (c *call) noReply() error {
	return llm.UpstreamError(c.h.o.Name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s answered with something that is no reply of a model.", nil)
}

// event takes what the service says.
func (c *call) event(e *dialect.Event) error {
	for i := range e.Choices {
		c.finished = c.finished || e.Choices[i].Finish != dialect.Going
		c.spoke = c.spoke || c.finished || e.Choices[i].Says()
	}
	if e.Error != nil && e.Error.TooLarge {
		c.ended, c.fault = true, c.larger(nil)
		return errEnded
	}
	if e.Error != nil {
		c.ended, c.told, c.fault = true, true, failure(e.Error, c.h.o.Name)
		if c.stream && (c.started || len(c.buf) > 0) { // else it is the reply
			c.buf = c.writer.Fail(c.buf, c.fault)
		}
		return errEnded
	}
	if !c.stream {
		return c.tooLarge(c.gathered.Add(e))
	}
	c.buf = c.writer.Event(c.buf, e)
	if c.holder != nil && c.holder.Full() {
		c.ended, c.told, c.fault = true, true, c.larger(nil) // which it has written
		return errEnded
	}
	return nil
}

// flush sends the events that were written.
func (c *call) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	if !c.started {
		if err := c.start(llm.EventStream, -1); err != nil {
			return err
		}
	}
	clear(c.events)
	c.events = c.events[:0]
	for rest := c.buf; len(rest) > 0; {
		// No event has an empty line inside.
		n := bytes.Index(rest, []byte("\n\n")) + 2
		if n < 2 {
			n = len(rest)
		}
		c.events = append(c.events, llm.Event{Raw: rest[:n:n]})
		rest = rest[n:]
	}
	if c.fault != nil && c.told {
		c.events[len(c.events)-1].Failed = true
	}
	err := c.out.Send(c.events)
	if c.buf = c.buf[:0]; cap(c.buf) > keepBuffer {
		c.buf = nil
	}
	return err
}

// hold keeps a reply that comes whole, or in pieces since it is large.
func (c *call) hold(events []llm.Event) error {
	for i := range events {
		n := len(events[i].Raw)
		if n+len(c.whole) > c.h.o.MaxReply {
			return c.larger(nil)
		}
		if err := c.reserve(n); err != nil {
			return err
		}
		c.whole = append(c.whole, events[i].Raw...)
	}
	return nil
}

// reserve reserves what n bytes of a reply that is held take, and what is gathered of them
// and written.
func (c *call) reserve(n int) error {
	err := c.h.o.Account.Continue(int64(3 * n))
	if err == nil {
		c.reserved += int64(3 * n)
	}
	return err
}

// finish ends the client's reply once the service's has come whole.
func (c *call) finish() error {
	switch {
	case !c.headed:
		return nil
	case c.fault != nil:
		return c.failed()
	case c.head.Kind == llm.EventStream && !c.ended && !c.finished:
		return llm.UpstreamError(c.h.o.Name, llm.Cut, 502, "upstream_cut", "Upstream %s ended its stream before its reply was complete.", nil)
	case c.head.Kind == llm.EventStream && c.stream:
		if !c.ended {
			c.ended = true
			c.buf = c.writer.End(c.buf[:0])
		}
		return c.flush()
	case c.head.Kind != llm.EventStream:
		if jsonscan.Validate(c.whole, maxDepth) != nil {
			return llm.UpstreamError(c.h.o.Name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s answered with something that is not JSON.", nil)
		}
		if c.stream {
			return c.asStream()
		}
		c.gathered.Last = true
		if err := c.reader.Whole(c.whole, c.say); err != nil && err != errEnded { //nolint:errorlint // c.event returns it unwrapped
			return err
		}
		if c.fault != nil {
			return c.failed()
		}
		if !c.spoke {
			return c.noReply()
		}
	}
	body := c.writer.Whole(nil, &c.gathered)
	if err := c.start(llm.Unary, int64(len(body))); err != nil {
		return err
	}
	return c.out.Send([]llm.Event{{Raw: body}})
}

// asStream answers a client that wants events from a reply that came whole.
func (c *call) asStream() error {
	c.buf = c.buf[:0]
	if err := c.reader.Whole(c.whole, c.say); err != nil && err != errEnded { //nolint:errorlint // c.event returns it unwrapped
		return err
	}
	if c.fault != nil {
		return c.failed()
	}
	if !c.spoke {
		return c.noReply()
	}
	c.buf = c.writer.End(c.buf)
	return c.flush()
}

func (c *call) tooLarge(err error) error {
	if errors.Is(err, dialect.ErrTooLarge) {
		return c.larger(err)
	}
	return err
}

// larger is the error of a reply that is not held.
func (c *call) larger(cause error) *llm.Error { return tooLarge(c.h.o.Name, cause) }

func tooLarge(name string, cause error) *llm.Error {
	return llm.UpstreamError(name, llm.TooLarge, 502, "upstream_reply_too_large", "Upstream %s sent a reply that is too large to be translated.", cause)
}

// failure makes the error that a reply tells of.
func failure(f *dialect.Failure, name string) *llm.Error {
	e := llm.UpstreamError(name, llm.Told, 502, llm.CodeUpstream, "Upstream %s failed and did not say why.", nil)
	if message := dialect.String(f.Message); message != "" {
		e.Message = message
	}
	if kind := dialect.String(f.Type); kind != "" {
		e.Type = kind
	}
	if code := dialect.String(f.Code); code != "" {
		e.Code = code
	}
	e.Advice = llm.DoNotRetry
	return e
}
