package protobuf

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/internal/grpc"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/sse"
	"sluice/internal/upstream"
)

// plain is how messages are carried over HTTP without gRPC.
type plain struct {
	unary, stream string // one of forms
}

// How the messages of a reply are carried.
const (
	formBinary    = "binary"
	formDelimited = "delimited"
	formBase64    = "sse-base64"
	formHex       = "sse-hex"
)

var forms = []string{formBinary, formDelimited, formBase64, formHex} //nolint:gochecknoglobals // a table that nobody writes

const (
	protobufType = "application/x-protobuf"
	eventsType   = "text/event-stream"
	// maxErrorBody bounds what is read of the body of an error, in bytes, and
	// errorBodyTimeout the wait for each piece of it.
	maxErrorBody     = 64 << 10
	errorBodyTimeout = 5 * time.Second
)

// beginPlain is begin without gRPC.
func (r *rpcs) beginPlain(ctx context.Context, path string, message []byte, metadata []llm.Field, stream bool, u llm.Urgency) (*rpc, error) {
	form, accept := r.http.unary, protobufType
	if stream {
		form = r.http.stream
	}
	events := form == formBase64 || form == formHex
	if events {
		accept = eventsType
	}
	reply, err := r.client.Do(ctx, &upstream.Call{
		Method: "POST", Target: r.base + path, Stream: stream, Urgency: u, Body: [3][]byte{message},
		Header: append(r.fields(metadata, 2), llm.Field{Name: "Content-Type", Value: protobufType}, llm.Field{Name: "Accept", Value: accept}),
	})
	if err != nil {
		return nil, err
	}
	c := &rpc{of: r, reply: reply}
	switch buffers := r.client.Buffers(); form {
	case formBinary:
		c.cutter = &lone{most: r.most, kept: kept{buffers: buffers}}
	case formDelimited:
		c.cutter = &frames{varint: true, most: r.most, kept: kept{buffers: buffers}}
	default:
		c.cutter = newEvents(form == formHex, r.most, buffers)
	}
	if err := c.plainRefusal(events); err != nil {
		err = c.withFields(err)
		c.close()
		return nil, err
	}
	return c, nil
}

// plainRefusal says what a reply stands for that has no messages.
func (c *rpc) plainRefusal(events bool) error {
	kind, _, _ := strings.Cut(strings.ToLower(c.reply.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	switch status := c.reply.Status; {
	case status >= 400:
		return c.answered(kind)
	case status >= 300:
		return llm.UpstreamError(c.of.name, llm.Unusable, 502, "upstream_redirect",
			"Upstream %s answered with a redirection, which is not followed. Its base_url or a path may be wrong.", fmt.Errorf("status %d", status))
	case kind != "" && (kind == eventsType) != events || strings.HasPrefix(kind, "text/") && kind != eventsType || kind == "application/json":
		return c.of.malformed("no_protobuf", "does not answer in the form that unary_reply and stream_reply say. One of them or its address may be wrong.", "content type "+kind)
	}
	return nil
}

// answered makes the error of a reply whose status is 400 or above.
func (c *rpc) answered(kind string) error {
	r := c.reply
	e := &llm.Error{
		Fault: llm.Answered, Status: min(r.Status, 599), Type: llm.TypeOf(r.Status), Code: llm.CodeUpstream, Upstream: c.of.name,
		RetryAfter: upstream.RetryAfter(r.Header, time.Now()),
		// Both say that the request was turned away, not that it failed.
		Unprocessed: r.Status == 429 || r.Status == 503,
	}
	body, err := c.errorBody()
	e.Err = err
	if s, ok := grpc.ParseStatus(body); ok && strings.HasSuffix(kind, "protobuf") {
		e.Code, e.Message = codeOf(s.Code), s.Message
		if s.HasRetryDelay {
			e.RetryAfter = s.RetryDelay
		}
	} else {
		e.Message = spoken(body, kind)
	}
	e.Message = upstream.Clip(c.of.secrets.RedactField(e.Message), maxErrorText)
	if e.Message == "" {
		e.Message = fmt.Sprintf("Upstream `%s` answered with status %d and no explanation.", c.of.name, r.Status)
	}
	return e
}

// errorBody reads the body of an error.
func (c *rpc) errorBody() (body []byte, err error) {
	c.reply.SetIdleTimeout(errorBodyTimeout)
	for len(body) < maxErrorBody {
		piece, err := c.reply.Next()
		if err == io.EOF { //nolint:errorlint // Next returns it so
			return body, nil
		}
		if err != nil {
			return body, err
		}
		body = append(body, piece...)
	}
	return body, nil
}

// failureEvent is an event that tells of an error in place of a message.
type failureEvent struct {
	data []byte // valid as long as a message
	hex  bool   // what is no JSON and no text is in hex, and not in base64
}

func (*failureEvent) Error() string { return "an event tells of an error" }

// toldBy makes the error that an event tells of: in JSON, as OpenAI writes errors or
// otherwise; in a google.rpc.Status, in the coding of messages; or in plain text. The
// service had said 200 and may have acted on the request.
func (r *rpcs) toldBy(f *failureEvent) error {
	e := &llm.Error{Fault: llm.Told, Status: 502, Upstream: r.name, Advice: llm.DoNotRetry}
	code := ""
	if s, ok := f.status(); ok {
		e.Status, code, e.Message, e.RetryAfter = statusOf(strconv.Itoa(int(s.Code))), codeOf(s.Code), s.Message, s.RetryDelay
	} else {
		e.Message = spoken(f.data, "text/plain")
		for _, path := range [...][]string{{"error", "code"}, {"error", "status"}, {"error", "type"}, {"code"}, {"status"}, {"type"}} {
			word := word(f.data, path...)
			if code = cmp.Or(code, word); e.Status == 502 {
				e.Status = statusOf(word)
			}
		}
	}
	e.Type, e.Code = llm.TypeOf(e.Status), cmp.Or(upstream.Clip(r.secrets.RedactField(code), maxErrorText), llm.CodeUpstream)
	if e.Message = upstream.Clip(r.secrets.RedactField(e.Message), maxErrorText); e.Message == "" {
		e.Message = "Upstream `" + r.name + "` answered with an error and no explanation."
	}
	return e
}

// status reads a google.rpc.Status.
func (f *failureEvent) status() (*grpc.Status, bool) {
	b, err := unpack(nil, f.data, f.hex)
	if err != nil {
		return nil, false
	}
	return grpc.ParseStatus(b)
}

// word gives the text or the number at a path of what may be JSON, "" for none.
func word(data []byte, path ...string) string {
	if jsonscan.Validate(data, 64) != nil {
		return ""
	}
	v, ok := jsonscan.Get(data, path...)
	if !ok {
		return ""
	}
	raw := data[v.Start:v.End]
	if raw[0] == '"' {
		s, _ := jsonscan.String(raw)
		return s
	}
	if '0' <= raw[0] && raw[0] <= '9' {
		return string(raw)
	}
	return ""
}

// spoken gives what an error's body says in JSON, as a string or in an object, or in plain
// text. A page says nothing.
func spoken(body []byte, kind string) string {
	if jsonscan.Validate(body, 64) == nil {
		if s, err := jsonscan.String(bytes.TrimSpace(body)); err == nil {
			return s
		}
		for _, path := range [...][]string{{"error", "message"}, {"message"}, {"error"}, {"detail"}} {
			if v, ok := jsonscan.Get(body, path...); ok && body[v.Start] == '"' {
				if s, err := jsonscan.String(body[v.Start:v.End]); err == nil {
					return s
				}
			}
		}
		return ""
	}
	if kind != "text/plain" || !utf8.Valid(body) {
		return ""
	}
	return strings.TrimSpace(string(body))
}

// sound is told when all messages have come, and whether they say themselves that the reply
// is whole. Its error is that of a cut, where neither they nor the body's framing do: one
// that ends where the connection does cannot be told from one that was cut between two
// messages or, within one, between two of its fields.
func (c *rpc) sound(whole bool) error {
	e, ends := c.cutter.(*events)
	if whole || ends && e.done || c.of.http == nil || !c.reply.CloseDelimited {
		return nil
	}
	c.ended = c.withFields(llm.UpstreamError(c.of.name, llm.Cut, 502, "upstream_cut", "Upstream %s ended its reply without saying that it is whole.", nil))
	return c.ended
}

// lone is a cutter of what is one message.
type lone struct {
	most  int
	whole bool // an empty body is no message
	over  bool
	kept  // the message, as far as it has come
}

func (l *lone) next(read func() ([]byte, error)) ([]byte, error) {
	if l.over {
		return nil, io.EOF
	}
	if err := l.add(nil); err != nil { // it may be empty
		return nil, err
	}
	for {
		piece, err := read()
		if err == io.EOF { //nolint:errorlint // read returns it so
			if l.over = true; l.whole && len(l.held.B) == 0 {
				return nil, err
			}
			return l.held.B, nil
		}
		if err != nil {
			return nil, err
		}
		if all := len(l.held.B) + len(piece); all > l.most {
			return nil, larger(uint64(all), l.most)
		}
		if err := l.add(piece); err != nil {
			return nil, err
		}
	}
}

func (l *lone) ready() bool { return false }

// events is a cutter of messages that are the data of server-sent events.
type events struct {
	hex      bool
	most     int
	kept     // the message
	splitter sse.Splitter
	reserved int64 // of large events that have not come as a whole

	list []llm.Event // that came; those from at on are to be looked at
	at   int
	data []byte // of an event of several lines
	done bool   // an event said that it is the last one
}

func newEvents(isHex bool, most int, buffers *memory.Buffers) *events {
	e := &events{hex: isHex, most: most, kept: kept{buffers: buffers}}
	e.splitter.MaxEvent = 2*most + 4<<10
	e.splitter.Grow = e.grow
	return e
}

// grow makes room for n bytes more of an event that has not come as a whole.
func (e *events) grow(carried []byte, n int) ([]byte, error) {
	size := memory.Room(len(carried) + n)
	if more := int64(size) - e.reserved; size > smallMessage && more > 0 {
		if err := e.buffers.Events.Continue(more); err != nil {
			return carried, err
		}
		e.reserved += more
	}
	return append(make([]byte, 0, size), carried...), nil
}

func (e *events) next(read func() ([]byte, error)) ([]byte, error) {
	for {
		for e.at < len(e.list) {
			event := e.list[e.at].Raw
			e.at++
			if data, failed := sse.Failure(event); failed {
				return nil, &failureEvent{data: data, hex: e.hex}
			}
			data, ok := sse.Data(event, e.data)
			if !ok {
				continue
			}
			if e.done = sse.IsDone(data); e.done {
				return nil, io.EOF
			}
			return e.decode(data)
		}
		if e.done {
			return nil, io.EOF
		}
		piece, err := read()
		if err == io.EOF && len(e.splitter.Tail()) > 0 { //nolint:errorlint // read returns it so
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		e.at = 0
		e.list, err = e.splitter.Feed(piece, e.list[:0])
		if errors.Is(err, sse.ErrTooLarge) {
			return nil, larger(uint64(e.splitter.MaxEvent), e.most)
		}
		if err != nil {
			return nil, err
		}
	}
}

// decode gives the message of an event's data.
func (e *events) decode(data []byte) (_ []byte, err error) {
	room := base64.StdEncoding.DecodedLen(len(data))
	if room > e.most+3 {
		return nil, larger(uint64(room), e.most)
	}
	if e.held == nil || cap(e.held.B) < room {
		e.buffers.Put(e.held)
		if e.held, err = e.buffers.Get(room); err != nil {
			e.held = nil
			return nil, err
		}
	}
	if e.held.B, err = unpack(e.held.B[:0], data, e.hex); err != nil {
		return nil, &grpc.Status{Code: grpc.Internal, Message: "the data of an event: " + err.Error()}
	}
	return e.held.B, nil
}

// unpack appends what data is in hex, or in base64, whose padding may be left out.
func unpack(dst, data []byte, isHex bool) ([]byte, error) {
	switch {
	case isHex:
		return hex.AppendDecode(dst, data)
	case len(data)%4 == 0 || bytes.HasSuffix(data, []byte("=")):
		return base64.StdEncoding.AppendDecode(dst, data)
	default:
		return base64.RawStdEncoding.AppendDecode(dst, data)
	}
}

func (e *events) ready() bool {
	for ; e.at < len(e.list); e.at++ {
		if _, n := sse.DataFields(e.list[e.at].Raw); n > 0 {
			return true
		}
	}
	return false
}

func (e *events) drop() {
	e.kept.drop()
	e.buffers.Events.Give(e.reserved)
	e.reserved = 0
}
