package protobuf

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"sluice/internal/grpc"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// rpcs makes calls of gRPC over the connections that all protocols share. A call has one
// message, with which this side ends: that is a unary call, one with a stream of replies,
// and one with streams both ways of which the server needs no more.
type rpcs struct {
	name   string // the upstream's, for errors
	client *upstream.Client
	header []llm.Field // of each call: metadata, such as keys
	base   string      // escaped path before those of the methods
	most   int         // bytes of a message of a reply
	gzip   bool        // messages are sent compressed
	http   *plain      // how they are carried without gRPC; nil for gRPC

	secrets *credentials.Secrets // that no client may see
}

// rpc is a call that was begun. It is used by one goroutine at a time.
type rpc struct {
	of     *rpcs
	reply  *upstream.Reply
	until  time.Time // when the server ends the call by itself, zero for never
	cutter cutter
	some   bool           // a message has come
	whole  *memory.Buffer // what one gave; nil for nothing
	ended  error          // how it ended; nil while it goes on
}

// cutter cuts what comes into messages.
type cutter interface {
	// next gives the next message, which is valid until it is called again. More is read
	// with read, whose bytes are valid as long as that. It returns io.EOF where read does
	// between two messages, and io.ErrUnexpectedEOF within one. Errors that are not
	// read's are a *grpc.Status, an *llm.Error where memory is lacking, or a *failureEvent.
	next(read func() ([]byte, error)) ([]byte, error)
	// ready reports whether a whole message has come behind the last one.
	ready() bool
	// retain makes the message that next gave last outlive the next call of it. The
	// buffer is the caller's.
	retain(message []byte) (*memory.Buffer, []byte, error)
	// drop gives back what is held.
	drop()
}

// begin makes a call and waits for the head of its reply. method is as
// "/package.Service/Method"; message must not change before the call is closed. metadata
// goes with it beside the upstream's own. Its errors are as those of next.
func (r *rpcs) begin(ctx context.Context, method string, message []byte, metadata []llm.Field, stream bool, u llm.Urgency) (*rpc, error) {
	if r.http != nil {
		return r.beginPlain(ctx, method, message, metadata, stream, u)
	}
	call := upstream.Call{
		Method: "POST", Target: r.base + method, Trailers: true, Stream: stream, Urgency: u,
		Header: append(r.fields(metadata, 4),
			llm.Field{Name: "Content-Type", Value: grpc.ContentType}, llm.Field{Name: "Grpc-Accept-Encoding", Value: codingGzip}),
	}
	if r.gzip {
		packed, err := grpc.Compress(message)
		if err != nil {
			return nil, err
		}
		message = packed
		call.Header = append(call.Header, llm.Field{Name: "Grpc-Encoding", Value: codingGzip})
	}
	call.Body = [3][]byte{appendFrameHead(make([]byte, 0, frameHead), len(message), r.gzip), message}
	end := until(ctx, &u)
	if !end.IsZero() {
		call.Header = append(call.Header, llm.Field{Name: "Grpc-Timeout", Value: grpc.Timeout(time.Until(end))})
	}
	reply, err := r.client.Do(ctx, &call)
	if err != nil {
		return nil, r.late(err, end)
	}
	c := &rpc{of: r, reply: reply, until: end, cutter: &frames{most: r.most, coding: reply.Get("Grpc-Encoding"), kept: kept{buffers: r.client.Buffers()}}}
	if err := c.refusal(); err != nil {
		err = c.withFields(err)
		c.close()
		return nil, err
	}
	return c, nil
}

// fields gives metadata and the upstream's own, which go before, with room for more.
func (r *rpcs) fields(metadata []llm.Field, more int) []llm.Field {
	list := make([]llm.Field, 0, len(metadata)+len(r.header)+more)
	for i := range metadata {
		if name := metadata[i].Name; !slices.ContainsFunc(r.header, func(f llm.Field) bool { return f.Name == name }) {
			list = append(list, metadata[i])
		}
	}
	return append(list, r.header...)
}

// late is the error of a call that the server broke off because its time was up, and err
// that of any other.
func (r *rpcs) late(err error, end time.Time) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Fault != llm.Cut || end.IsZero() || time.Now().Before(end) {
		return err
	}
	return llm.UpstreamError(r.name, llm.TimedOut, 504, "deadline_exceeded", "Upstream %s did not answer within the time that the client gives the request (X-Request-Timeout).", err)
}

// until is when nobody wants the reply any more, zero for never.
func until(ctx context.Context, u *llm.Urgency) time.Time {
	_, d := u.Now()
	if c, ok := ctx.Deadline(); ok && (d.IsZero() || c.Before(d)) {
		return c
	}
	return d
}

// refusal says what a reply stands for that has no messages.
func (c *rpc) refusal() error {
	kind := c.reply.Get("Content-Type")
	switch {
	case c.alone() && c.reply.Get(grpc.StatusField) != "":
		if err := grpc.Ended(c.reply.Get); err != io.EOF { //nolint:errorlint // it returns it so
			return c.of.failure(err, false)
		}
	case c.reply.Status != 200:
		return c.of.refused(c.reply.Status, kind)
	case !grpc.IsContentType(kind):
		return c.of.malformed("no_grpc", "does not answer as gRPC does. Its address or its protocol may be wrong, or something in between speaks HTTP.", "content type "+kind)
	}
	return nil
}

// next gives the next message, which is valid until it is called again; io.EOF after the
// last one of a call that ended well. Other errors are those of an upstream.Reply, or an
// *llm.Error that says how the call ended.
func (c *rpc) next() ([]byte, error) {
	if c.ended != nil {
		return nil, c.ended
	}
	message, err := c.cutter.next(c.reply.Next)
	if err == nil {
		c.some = true
		return message, nil
	}
	c.ended = c.withFields(c.ending(err))
	return nil, c.ended
}

// ready reports whether next gives a message at once, of what has come.
func (c *rpc) ready() bool { return c.ended == nil && c.cutter.ready() }

// ending says how the call ended whose messages ended with err.
func (c *rpc) ending(err error) error {
	if c.of.http != nil && err == io.EOF { //nolint:errorlint // frames.next returns it so
		return err // whether that is a sound end, sound says
	}
	switch {
	case err == io.ErrUnexpectedEOF, err == io.EOF && c.trailer(grpc.StatusField) == "": //nolint:errorlint // frames.next returns them so
		return llm.UpstreamError(c.of.name, llm.Cut, 502, "upstream_cut", "Upstream %s ended its reply early.", err)
	case err == io.EOF: //nolint:errorlint // the same
		return c.of.failure(grpc.Ended(c.trailer), c.some)
	}
	if f, ok := errors.AsType[*failureEvent](err); ok {
		return c.of.toldBy(f)
	}
	s, ok := errors.AsType[*grpc.Status](err)
	switch {
	case !ok:
		return c.of.late(err, c.until)
	case s.Code == grpc.ResourceExhausted:
		return llm.UpstreamError(c.of.name, llm.TooLarge, 502, "upstream_reply_too_large", "Upstream %s sent a message that is larger than max_message_bytes allows for.", s)
	}
	if c.of.http != nil {
		return c.of.malformed("bad_message", "sent what is no message in the form that unary_reply and stream_reply say.", s.Message)
	}
	return c.of.malformed("bad_message", "sent what is no message of gRPC.", s.Message)
}

// alone reports whether the reply is over with its head, in which the trailers stand then
// (Trailers-Only). A status in any other head is none.
func (c *rpc) alone() bool { return c.reply.Length == 0 }

// trailer gives a field of the trailers, wherever they stand.
func (c *rpc) trailer(name string) string {
	for i := range c.reply.Trailer {
		if c.reply.Trailer[i].Name == name {
			return c.reply.Trailer[i].Value
		}
	}
	if !c.alone() {
		return ""
	}
	return c.reply.Get(name)
}

// one gives the message of a call that has one reply. It is valid until the call is
// closed, and given only where the call ended well.
func (c *rpc) one() ([]byte, error) {
	message, err := c.next()
	if err == io.EOF { //nolint:errorlint // next returns it so
		return nil, c.of.malformed("no_message", "ended the call without a message.", "")
	}
	if err != nil {
		return nil, err
	}
	if c.whole, message, err = c.cutter.retain(message); err != nil {
		return nil, err
	}
	switch _, err := c.next(); {
	case err == nil:
		return nil, c.of.malformed("two_messages", "sent more than one message where one was expected. The mapping may name a method with a stream of replies as unary.", "")
	case err != io.EOF: //nolint:errorlint // the same
		return nil, err
	}
	return message, nil
}

// close ends the call, whatever there still was to come.
func (c *rpc) close() {
	c.reply.Close()
	c.cutter.drop()
	c.of.client.Buffers().Put(c.whole)
	c.whole = nil
}
