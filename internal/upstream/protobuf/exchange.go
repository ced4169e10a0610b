package protobuf

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/protobuf/mapping"
)

const (
	// smallMessage is what a message may take, in bytes, without what is made of it
	// being reserved: it is part of what a call is taken for.
	smallMessage = 8 << 10
	// fewEvents is how much is sent at a time, in bytes, of messages that came together.
	fewEvents = 32 << 10
)

// exchange is a request on its way and the reply to it, kept for use again.
type exchange struct {
	of        *Handler
	method    *method
	reader    *mapping.Reader
	writer    mapping.Writer
	embedding bool
	streamed  bool // the client wants events
	base64    bool // and vectors so

	message *memory.Buffer // that is sent
	abort   []byte         // that stops the work for it; nil for none
	call    *rpc
	begun   time.Time // when it had its turn at the transport
	queued  time.Duration

	text     *memory.Buffer // of the reply
	room     int            // bytes that are reserved for it
	reserved int64          // bytes beside the buffers
	events   []llm.Event
	started  bool
	fast     bool // events come faster than the flush interval
	sent     time.Time
}

// begin makes x one for a request.
func (x *exchange) begin(h *Handler, m *method, req *llm.Request) {
	x.of, x.method, x.fast = h, m, true
	x.reader = m.readers.Get().(*mapping.Reader)
	x.embedding, x.streamed = req.Op == llm.Embedding, req.Stream && req.Op != llm.Embedding
	prefix := "chatcmpl-"
	if req.Op == llm.Completion {
		prefix = "cmpl-"
	}
	x.writer = mapping.Writer{ID: prefix + req.ID, Model: req.Model, Created: time.Now().Unix(), Text: req.Op == llm.Completion}
}

// end gives back all that it holds.
func (x *exchange) end() {
	h, buffers := x.of, x.of.rpcs.client.Buffers()
	if x.call != nil {
		x.call.close()
	}
	x.reader.Reset()
	x.method.readers.Put(x.reader)
	buffers.Put(x.message)
	buffers.Put(x.text)
	buffers.Account.Give(x.reserved)
	clear(x.events[:cap(x.events)])
	*x = exchange{events: x.events[:0]}
	h.exchanges.Put(x)
}

// reserve reserves n bytes that no buffer has, until the end.
func (x *exchange) reserve(n int) error {
	if n <= 0 {
		return nil
	}
	if err := x.of.rpcs.client.Buffers().Account.Continue(int64(n)); err != nil {
		return err
	}
	x.reserved += int64(n)
	return nil
}

// compose makes the messages that are sent.
func (x *exchange) compose(s *service, req *llm.Request) error {
	in := mapping.Input{
		Body: req.Body, UpstreamModel: req.UpstreamModel, Stream: x.streamed,
		// Each attempt is known by another id, or the abort of one would end the next.
		RequestID: req.ID + "-" + strconv.FormatUint(x.of.attempts.Add(1), 36),
	}
	if in.UpstreamModel == "" {
		in.UpstreamModel = req.Model
	}
	if v, ok := jsonscan.Get(req.Body, "stream_options", "include_usage"); ok {
		x.writer.IncludeUsage, _ = jsonscan.Bool(req.Body[v.Start:v.End])
	}
	if v, ok := jsonscan.Get(req.Body, "encoding_format"); ok {
		x.base64 = string(req.Body[v.Start:v.End]) == `"base64"`
	}
	// On its way to the wire a message is JSON once.
	if err := x.reserve(len(req.Body) - smallMessage); err != nil {
		return err
	}
	var err error
	if in.Prompt, err = s.prompts.of(req.Op, req.Body); err != nil {
		return x.of.unmappable(err)
	}
	if err := x.reserve(cap(in.Prompt)); err != nil {
		return err
	}
	if x.message, err = x.of.rpcs.client.Buffers().Get(len(req.Body) + len(in.Prompt) + 256); err != nil {
		return err
	}
	room := cap(x.message.B)
	if x.message.B, err = x.method.AppendMessage(x.message.B, &in); err != nil {
		return x.of.unmappable(err)
	}
	if err := x.reserve(cap(x.message.B) - room); err != nil {
		return err
	}
	if s.abort != nil {
		if x.abort, err = s.abort.AppendMessage([]byte{}, &in); err != nil {
			return x.of.unmappable(err)
		}
	}
	return nil
}

// ask makes the call and waits for the head of its reply.
func (x *exchange) ask(ctx context.Context, req *llm.Request) (err error) {
	x.begun = time.Now()
	streams := x.method.Method.IsStreamingServer()
	x.call, err = x.of.rpcs.begin(ctx, x.method.path, x.message.B, passed(req), streams, req.Urgency)
	if err != nil {
		return err
	}
	x.queued = x.call.reply.Queued
	x.begun = x.begun.Add(x.queued)
	return nil
}

// passed are the fields of a request that go on as metadata: those that are not about
// its body and its reply, which are others here.
func passed(req *llm.Request) []llm.Field {
	var list []llm.Field
	for _, f := range req.Header {
		switch f.Name {
		case "Accept", "Accept-Language", "Authorization", "Content-Type", "Content-Encoding", "Content-Language", "Content-Md5", "Digest", "Te", "User-Agent":
		default:
			list = append(list, f)
		}
	}
	return list
}

// answer hands on the reply in the form that the client wants.
func (x *exchange) answer(out llm.Sink) error {
	switch {
	case x.streamed:
		return x.relay(out)
	case x.method.Method.IsStreamingServer():
		return x.collect(out)
	}
	message, err := x.call.one()
	if err != nil {
		return err
	}
	if err := x.read(message, func(e *mapping.Event) error { return x.write(e, len(message)) }); err != nil {
		return err
	}
	return x.whole(out)
}

// read reads a message and has it used.
func (x *exchange) read(message []byte, use func(*mapping.Event) error) error {
	if more := len(message) - smallMessage; more > 0 {
		// It is JSON while it is read.
		if err := x.reserve(2 * more); err != nil {
			return err
		}
		defer func(before int64) {
			x.of.rpcs.client.Buffers().Account.Give(x.reserved - before)
			x.reserved = before
		}(x.reserved - int64(2*more))
	}
	e, err := x.reader.Read(message)
	if err != nil {
		return x.of.unreadable(err)
	}
	if e.Error != nil {
		return x.of.told(e.Error)
	}
	return use(e)
}

// write writes a whole reply, made of n bytes.
func (x *exchange) write(e *mapping.Event, n int) error {
	expect := n + n/4 + 512
	if x.embedding && !x.base64 {
		expect = 3 * n // as printed numbers
	}
	if err := x.fit(expect); err != nil {
		return err
	}
	if x.embedding {
		x.text.B = x.writer.AppendEmbeddings(x.text.B, e, x.base64)
	} else {
		x.text.B = x.writer.AppendReply(x.text.B, e)
	}
	return x.grown()
}

// fit sees to a buffer for the reply.
func (x *exchange) fit(n int) (err error) {
	if x.text == nil {
		if x.text, err = x.of.rpcs.client.Buffers().Get(n); err == nil {
			x.room = cap(x.text.B)
		}
	}
	return err
}

// grown reserves what the reply outgrew its buffer by.
func (x *exchange) grown() error {
	more := cap(x.text.B) - x.room
	if more <= 0 {
		return nil
	}
	x.room += more
	return x.reserve(more)
}

// whole sends what was written as one reply.
func (x *exchange) whole(out llm.Sink) error {
	waited := time.Since(x.begun)
	x.call.close()
	x.call = nil
	err := out.Start(&llm.Head{
		Status: 200, Kind: llm.Unary, Length: int64(len(x.text.B)), Upstream: x.of.name, Attempts: 1, Waited: waited, Queued: x.queued,
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}},
	})
	if err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: x.text.B}})
}

// collect makes one reply of a stream, for a client that wants no events.
func (x *exchange) collect(out llm.Sink) error {
	all := mapping.Collector{Max: x.of.rpcs.most}
	size := 0
	for {
		x.await()
		message, err := x.call.next()
		if err == io.EOF { //nolint:errorlint // next returns it so
			break
		}
		if err != nil {
			return err
		}
		x.started = true
		size += len(message)
		if err := x.reserve(len(message)); err != nil {
			return err
		}
		if err := x.read(message, all.Add); err != nil {
			return x.of.unreadable(err)
		}
	}
	if size == 0 && !x.started {
		return x.nothing()
	}
	if err := x.write(all.Event(), size); err != nil {
		return err
	}
	x.started = false
	return x.whole(out)
}

func (x *exchange) nothing() error {
	return llm.UpstreamError(x.of.name, llm.Unusable, 502, "upstream_empty", "Upstream %s ended its stream without a message.", nil)
}

// relay hands on a stream.
func (x *exchange) relay(out llm.Sink) error {
	if err := x.fit(1); err != nil {
		return err
	}
	for {
		x.await()
		message, err := x.call.next()
		x.observe()
		for err == nil {
			if err = x.chunk(message); err != nil || len(x.text.B) >= fewEvents || !x.call.ready() {
				break
			}
			message, err = x.call.next()
		}
		switch {
		case err == io.EOF: //nolint:errorlint // next returns it so
			return x.finish(out)
		case err != nil && !x.started:
			return err // nothing has gone out, so the request may go elsewhere
		}
		if sent := x.send(out); err == nil {
			err = sent
		}
		if err != nil {
			return err
		}
		x.pace()
	}
}

// chunk writes the events of a message.
func (x *exchange) chunk(message []byte) error {
	return x.read(message, func(e *mapping.Event) error {
		x.text.B = x.writer.AppendChunks(x.text.B, e)
		return x.grown()
	})
}

// await sets how long the next message may take to come: until the first events what is
// left of their time.
func (x *exchange) await() {
	c := &x.of.stream
	if c.FirstEventTimeout <= 0 || c.IdleTimeout <= 0 || !x.method.Method.IsStreamingServer() {
		return
	}
	d := c.IdleTimeout
	if !x.started {
		// A bound of nothing would be no bound.
		d = max(c.FirstEventTimeout-time.Since(x.begun), time.Millisecond)
	}
	x.call.reply.SetIdleTimeout(d)
}

var eventEnd = []byte("\n\n") //nolint:gochecknoglobals // a constant that cannot be one

// send sends the events that were written.
func (x *exchange) send(out llm.Sink) error {
	if len(x.text.B) == 0 {
		return nil
	}
	if !x.started {
		x.started = true
		err := out.Start(&llm.Head{
			Status: 200, Kind: llm.EventStream, Length: -1, Upstream: x.of.name, Attempts: 1, Waited: time.Since(x.begun), Queued: x.queued,
			Header: []llm.Field{{Name: "Content-Type", Value: "text/event-stream"}}, Sent: true,
		})
		if err != nil {
			return err
		}
	}
	x.events = x.events[:0]
	for rest := x.text.B; len(rest) > 0; {
		n := bytes.Index(rest, eventEnd) + len(eventEnd) // each has one, and JSON has none inside
		x.events = append(x.events, llm.Event{Raw: rest[:n:n]})
		rest = rest[n:]
	}
	err := out.Send(x.events)
	clear(x.events)
	x.sent = time.Now()
	return x.lighten(err)
}

// lighten lets go of what was sent.
func (x *exchange) lighten(err error) error {
	if cap(x.text.B) <= fewEvents {
		x.text.B = x.text.B[:0]
		return err
	}
	buffers := x.of.rpcs.client.Buffers()
	buffers.Put(x.text)
	x.text = nil
	buffers.Account.Give(x.reserved) // that a message outgrew
	x.reserved = 0
	if lack := x.fit(1); err == nil {
		err = lack
	}
	return err
}

// observe is told that a message has come.
func (x *exchange) observe() {
	if d := x.of.stream.FlushInterval; d > 0 && !x.sent.IsZero() {
		x.fast = time.Since(x.sent) < 2*d
	}
}

// pace waits until the flush interval is over since the last events left, if they come
// faster than that, so that the next leave together in one write.
func (x *exchange) pace() {
	if d := x.of.stream.FlushInterval; x.started && x.fast && d > 0 {
		x.call.reply.Gather(d - time.Since(x.sent))
	}
}

// finish ends a stream that came to its sound end.
func (x *exchange) finish(out llm.Sink) error {
	if !x.started && len(x.text.B) == 0 {
		return x.nothing()
	}
	x.text.B = append(x.writer.AppendEnd(x.text.B, x.reader.Usage()), "data: [DONE]\n\n"...)
	if err := x.grown(); err != nil {
		return err
	}
	return x.send(out)
}
