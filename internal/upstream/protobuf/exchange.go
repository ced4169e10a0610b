package protobuf

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/protobuf/mapping"
)

const (
	// smallMessage is what an event may take, in bytes, without being reserved: it is part
	// of what a call is taken for.
	smallMessage = 8 << 10
	// fewEvents is how much is sent at a time, in bytes, of messages that came together.
	fewEvents = 32 << 10
	// maxSilent is how many messages in a row may say nothing, and maxMute how large one of
	// them may be, in bytes, to be kept.
	maxSilent = 100_000
	maxMute   = 64
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
	inputs    int  // of which vectors are wanted, 0 where that is for the service to judge

	message *memory.Buffer // that is sent
	abort   []byte         // that stops the work for it; nil for none
	call    *rpc
	begun   time.Time // when it had its turn at the transport
	queued  time.Duration

	text     *memory.Buffer // of the reply
	reserved int            // bytes beside the buffers
	reserve  func(n int) error
	events   []llm.Event
	started  bool
	over     bool      // the call ended well, and was closed
	fast     bool      // events come faster than the flush interval
	sent     time.Time // when events were, or were collected, last

	silent int           // messages since then, which said nothing
	muted  bool          // one more that is mute says nothing either
	mute   []byte        // the last of them
	usage  mapping.Usage // after it
}

// begin makes x one for a request.
func (x *exchange) begin(h *Handler, m *method, req *llm.Request) {
	x.of, x.method, x.fast = h, m, true
	if x.reserve == nil {
		x.reserve = x.take
	}
	x.reader = m.readers.Get().(*mapping.Reader)
	x.reader.Reserve = x.reserve
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
	buffers.Account.Give(int64(x.reserved))
	clear(x.events[:cap(x.events)])
	*x = exchange{events: x.events[:0], reserve: x.reserve, mute: x.mute[:0]}
	h.exchanges.Put(x)
}

// take reserves n bytes that no buffer has, until the end, or gives -n of them back.
func (x *exchange) take(n int) error {
	account := x.of.rpcs.client.Buffers().Account
	if n <= 0 {
		account.Give(int64(-n))
	} else if err := account.Continue(int64(n)); err != nil {
		return err
	}
	x.reserved += n
	return nil
}

// compose makes the messages that are sent.
func (x *exchange) compose(s *service, req *llm.Request) error {
	in := mapping.Input{
		Body: req.Body, UpstreamModel: req.UpstreamModel, Stream: x.streamed,
		// Each attempt is known by another id, or the abort of one would end the next.
		RequestID: req.ID + "-" + strconv.FormatUint(x.of.attempts.Add(1), 36),
		Reserve:   x.reserve,
	}
	if in.UpstreamModel == "" {
		in.UpstreamModel = req.Model
	}
	// Each is a look through the body, which may be long.
	x.writer.IncludeUsage = x.streamed && wantsUsage(req.Body)
	if x.embedding {
		x.base64, x.inputs = wantsBase64(req.Body), inputs(req.Body)
		x.reader.Vectors = x.inputs
	}
	var err error
	if in.Prompt, err = s.prompts.of(req.Op, req.Body, x.reserve); err != nil {
		return x.of.unmappable(x.method.Call, err)
	}
	if x.message, err = x.of.rpcs.client.Buffers().Get(len(req.Body) + len(in.Prompt) + 256); err != nil {
		return err
	}
	if x.message.B, err = x.method.AppendMessage(x.message.B, &in); err != nil {
		return x.of.unmappable(x.method.Call, err)
	}
	if s.abort != nil {
		if x.abort, err = s.abort.AppendMessage([]byte{}, &in); err != nil {
			return x.of.unmappable(s.abort, err)
		}
	}
	return nil
}

// inputs counts the inputs of a call for embeddings: an array of numbers is one, which is
// given as its tokens.
func inputs(body []byte) (n int) {
	v, ok := jsonscan.Get(body, "input")
	if !ok || body[v.Start] != '[' {
		return min(v.End, 1)
	}
	raw := body[v.Start:v.End]
	jsonscan.Elements(raw, func(v llm.Span) bool {
		n++
		return raw[v.Start] < '0' || raw[v.Start] > '9'
	})
	return n
}

// wantsUsage reports whether a stream is to end with what was used.
func wantsUsage(body []byte) bool {
	v, ok := jsonscan.Get(body, "stream_options", "include_usage")
	if !ok {
		return false
	}
	is, _ := jsonscan.Bool(body[v.Start:v.End])
	return is
}

// wantsBase64 reports whether vectors are to be so.
func wantsBase64(body []byte) bool {
	v, ok := jsonscan.Get(body, "encoding_format")
	return ok && string(body[v.Start:v.End]) == `"base64"`
}

// working reports whether a call that failed with err may still have the service work.
func (x *exchange) working(err error) bool {
	ended := x.over || x.call != nil && x.call.ended == io.EOF //nolint:errorlint // next returns it so
	return !ended && unfinished(err)
}

// ask makes the call and waits for the head of its reply.
func (x *exchange) ask(ctx context.Context, req *llm.Request) (err error) {
	x.begun = time.Now()
	streams := x.method.Method.IsStreamingServer()
	x.call, err = x.of.rpcs.begin(ctx, x.method.path, x.message.B, passed(req, x.of.rpcs.http == nil), streams, req.Urgency)
	if err != nil {
		return err
	}
	if l, ok := x.call.cutter.(*lone); ok {
		l.whole = true
	}
	x.queued = x.call.reply.Queued
	x.begun = x.begun.Add(x.queued)
	return nil
}

// passed are the fields of a request that go on as metadata: those that are not about
// its body and its reply, which are others here, and not gRPC's own. As metadata of gRPC
// they have to be such, or the server would not take the call.
func passed(req *llm.Request, metadata bool) []llm.Field {
	var list []llm.Field
	for _, f := range req.Header {
		switch f.Name {
		case "Accept", "Accept-Language", "Authorization", "Content-Type", "Content-Encoding", "Content-Language", "Content-Md5", "Digest", "Te", "User-Agent":
		default:
			if !strings.HasPrefix(f.Name, "Grpc-") && (!metadata || isMetadata(f)) {
				list = append(list, f)
			}
		}
	}
	return list
}

// isMetadata reports whether a field is one of gRPC's Custom-Metadata ("gRPC over HTTP2"):
// ASCII that can be printed, or, by a name that ends in -Bin, base64. Of several values
// with commas between them servers make errors.
func isMetadata(f llm.Field) bool {
	for _, c := range []byte(f.Name) {
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	for _, c := range []byte(f.Value) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	if !strings.HasSuffix(strings.ToLower(f.Name), "-bin") {
		return true
	}
	coding := base64.RawStdEncoding
	if len(f.Value)%4 == 0 {
		coding = base64.StdEncoding
	}
	_, err := coding.DecodeString(f.Value)
	return err == nil
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
	if err := x.read(message, func(e *mapping.Event) error {
		if err := x.call.sound(x.ended(e)); err != nil {
			return err
		}
		return x.write(e)
	}); err != nil {
		return err
	}
	return x.whole(out)
}

// ended reports whether a whole reply says that it is one: why each choice ended, or a
// vector for each input.
func (x *exchange) ended(e *mapping.Event) bool {
	if x.embedding {
		return x.inputs > 0 && len(e.Embeddings) == x.inputs
	}
	return len(e.Choices) > 0 && !slices.ContainsFunc(e.Choices, func(c mapping.Choice) bool { return c.Finish == nil })
}

// read reads a message and has it used.
func (x *exchange) read(message []byte, use func(*mapping.Event) error) error {
	if x.muted && bytes.Equal(message, x.mute) {
		return x.silence()
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

// write writes a whole reply.
func (x *exchange) write(e *mapping.Event) error {
	if got := len(e.Embeddings); x.inputs != 0 && got != x.inputs {
		return x.of.unreadable(fmt.Errorf("%d vectors for %d inputs", got, x.inputs))
	}
	if x.embedding {
		if err := x.fit(x.writer.EmbeddingsRoom(e, x.base64)); err != nil {
			return err
		}
		var err error
		if x.text.B, err = x.writer.AppendEmbeddings(x.text.B, e, x.base64); err != nil {
			return x.of.unreadable(err)
		}
		return nil
	}
	if err := x.fit(x.writer.Room(e)); err != nil {
		return err
	}
	x.text.B = x.writer.AppendReply(x.text.B, e)
	return nil
}

// fit sees to a buffer for n bytes more of the reply.
func (x *exchange) fit(n int) (err error) {
	buffers := x.of.rpcs.client.Buffers()
	if x.text == nil {
		x.text, err = buffers.Get(n)
	} else if all := len(x.text.B) + n; all > cap(x.text.B) {
		x.text, err = buffers.Grow(x.text, all)
	}
	return err
}

// whole sends what was written as one reply.
func (x *exchange) whole(out llm.Sink) error {
	waited := time.Since(x.begun)
	header := x.call.told([]llm.Field{{Name: "Content-Type", Value: "application/json"}})
	x.call.close()
	x.call, x.over = nil, true
	err := out.Start(&llm.Head{
		Status: 200, Kind: llm.Unary, Length: int64(len(x.text.B)), Upstream: x.of.name, Attempts: 1, Waited: waited, Queued: x.queued,
		Header: header,
	})
	if err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: x.text.B}})
}

// collect makes one reply of a stream, for a client that wants no events.
func (x *exchange) collect(out llm.Sink) error {
	all := mapping.Collector{Max: x.of.rpcs.most, Reserve: x.reserve}
	some := false
	for {
		if err := x.await(); err != nil {
			return err
		}
		message, err := x.call.next()
		if err == io.EOF { //nolint:errorlint // next returns it so
			break
		}
		if err != nil {
			return err
		}
		some = true
		if err := x.read(message, func(e *mapping.Event) error {
			if says(e) || !x.started && len(e.Choices) > 0 { // as of a stream for a client
				x.started, x.silent, x.muted, x.sent = true, 0, false, time.Now()
			} else if err := x.hush(message, e); err != nil {
				return err
			}
			return all.Add(e)
		}); err != nil {
			return x.of.unreadable(err)
		}
	}
	if !some {
		return x.nothing()
	}
	if err := x.call.sound(x.ended(all.Event())); err != nil {
		return err
	}
	if err := x.write(all.Event()); err != nil {
		return err
	}
	x.started = false
	return x.whole(out)
}

// says reports whether a message has a part of a reply.
func says(e *mapping.Event) bool {
	return slices.ContainsFunc(e.Choices, func(c mapping.Choice) bool {
		return c.Text != nil || c.Reasoning != nil || c.Refusal != nil || c.Finish != nil || c.Logprobs != nil || len(c.ToolCalls) > 0
	})
}

// hush takes note of a message that says nothing. The same once more is known by its
// bytes, so that many of them cost little more than to read them.
func (x *exchange) hush(message []byte, e *mapping.Event) error {
	x.muted = len(e.Choices) == 0 && e.Usage == x.usage && len(message) <= maxMute
	x.usage = e.Usage
	if x.muted {
		x.mute = append(x.mute[:0], message...)
	}
	return x.silence()
}

// silence counts a message that says nothing.
func (x *exchange) silence() error {
	if x.silent++; x.silent > maxSilent {
		return x.of.rpcs.malformed("bad_reply", "sent more than "+strconv.Itoa(maxSilent)+" messages in a row that say nothing.", "")
	}
	return nil
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
		if err := x.await(); err != nil {
			return err
		}
		message, err := x.call.next()
		x.observe()
		for err == nil {
			if err = x.chunk(message); err != nil || len(x.text.B) >= fewEvents || !x.call.ready() {
				break
			}
			message, err = x.call.next()
		}
		if err == io.EOF { //nolint:errorlint // next returns it so
			if err = x.call.sound(x.writer.Finished()); err == nil {
				return x.finish(out)
			}
		}
		switch {
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
		if err := x.fit(x.writer.Room(e)); err != nil {
			return err
		}
		before := len(x.text.B)
		if x.text.B = x.writer.AppendChunks(x.text.B, e); len(x.text.B) == before {
			return x.hush(message, e)
		}
		x.silent, x.muted = 0, false
		return nil
	})
}

// await sets how long the next message may take to come: what is left of the time for the
// first events, or since the last ones. Messages that say nothing do not extend it, and
// when it is over they end the stream.
func (x *exchange) await() error {
	c := &x.of.stream
	if c.FirstEventTimeout <= 0 || c.IdleTimeout <= 0 || !x.method.Method.IsStreamingServer() {
		return nil
	}
	d := c.IdleTimeout
	switch {
	case !x.started:
		d = c.FirstEventTimeout - time.Since(x.begun)
	case x.silent > 0:
		d -= time.Since(x.sent)
	}
	if d <= 0 && x.silent > 0 {
		return llm.UpstreamError(x.of.name, llm.TimedOut, 504, "upstream_timeout", "Upstream %s did not answer in time.", nil)
	}
	x.call.reply.SetIdleTimeout(max(d, time.Millisecond)) // a bound of nothing would be no bound
	return nil
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
			Header: x.call.told([]llm.Field{{Name: "Content-Type", Value: "text/event-stream"}}), Sent: true,
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

// done is the last event of a stream.
const done = "data: [DONE]\n\n"

// finish ends a stream that came to its sound end.
func (x *exchange) finish(out llm.Sink) error {
	if !x.started && len(x.text.B) == 0 {
		return x.nothing()
	}
	if err := x.fit(x.writer.EndRoom() + len(done)); err != nil {
		return err
	}
	x.text.B = append(x.writer.AppendEnd(x.text.B, x.reader.Usage()), done...)
	return x.send(out)
}
