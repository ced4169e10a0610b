package upstream

import (
	"context"
	"errors"
	"io"
	"time"

	"sluice/internal/llm"
	"sluice/internal/tunnel"
	"sluice/internal/upstream/http1"
)

// smallBody is what a socket takes without waiting for its peer: below it one
// deadline does for writing and reading.
const smallBody = 16 << 10

// slowestLine, in bytes a second, is what a line must carry at least while a
// large request is written.
const slowestLine = 64 << 10

// exchangeH1 sends a call over HTTP/1.1; see exchange.
func (c *Client) exchangeH1(ctx context.Context, cn *conn, call *Call, reused bool) (*Reply, repetition, error) {
	cn.watch.Begin(ctx, cn)
	if cn.scratch == nil {
		cn.scratch = c.scratches.Get().(*scratch)
	}
	out, whole, err := c.sendH1(ctx, cn, call, time.Now())
	if err == nil {
		err = cn.h1.ReadHead(&cn.scratch.head)
	}
	if err != nil {
		live := cn.watch.Stop()
		again := never
		if reused && ctx.Err() == nil && missed(cn.h1, call, whole, err) {
			again = anew
		}
		c.pool.release(cn, unsent(err) && live)
		err = c.explain(ctx, err)
		if again == anew && !out.resendable() {
			again = never
			if e, ok := errors.AsType[*llm.Error](err); ok && !call.safe() && ctx.Err() == nil {
				unread := *e // which others may have too
				unread.Unprocessed = true
				err = &unread // a caller who has the body still may send it again
			}
		}
		return nil, again, err
	}
	h := &cn.scratch.head
	cn.keepHint(h.KeepAliveTimeout, c.cfg.KeepaliveExpiry)
	r := call.Into
	if r == nil {
		r = new(Reply)
	}
	*r = Reply{
		Status: h.Status, Header: r.Header[:0], Length: h.Length, CloseDelimited: h.CloseDelimited,
		client: c, ctx: ctx, idle: c.cfg.IdleTimeout, h1: h1Body{cn: cn},
	}
	r.body = &r.h1
	if call.Sending != nil {
		call.Sending.finished(errCallOver) // nobody reads it any more
	}
	var coding string
	r.Header, coding = replyHeader(r.Header, h.Header)
	clear(h.Header)  // the strings are the caller's now
	if call.Stream { // which may hold the connection for minutes
		c.scratches.Put(cn.scratch)
		cn.scratch = nil
	}
	if err := r.decode(coding); err != nil {
		r.Close()
		return nil, never, err
	}
	return r, never, nil
}

// unsent reports whether nothing was sent of a call: it cannot be, or there was no
// memory for it. Its connection is as good as before.
func unsent(err error) bool {
	switch e := err.(type) { //nolint:errorlint // sendH1 returns them unwrapped
	case *http1.RequestError:
		return true
	case *llm.Error:
		e.Unprocessed = true
		return true
	default:
		return false
	}
}

// missed reports whether a call whose connection ended with err cannot have been
// acted on, or need not matter if it was: it only reads, not all of it could be
// written, or the upstream closed the connection without having all of it. A reset
// says nothing of what the upstream had read before.
func missed(h1 *http1.Conn, call *Call, whole bool, err error) bool {
	if _, ours := errors.AsType[*http1.BodyError](err); ours || h1.GotBytes() || !isClosed(err) {
		return false
	}
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return call.safe() || !whole || ended && h1.Unacknowledged()
}

// sendH1 writes a call, whole or in part. An error of the write alone is not
// returned: the upstream may have answered early, and if not, reading says so too.
func (c *Client) sendH1(ctx context.Context, cn *conn, call *Call, now time.Time) (out *outgoing, whole bool, err error) {
	q := &cn.scratch.request
	q.Method, q.Target, q.Host, q.Upgrade = call.Method, call.Target, c.host, call.Upgrade
	q.Trailers = call.Trailers
	q.Header = appendRequestHeader(q.Header[:0], call, c.opts.Hop)
	if cn.proxy != nil {
		c.addressProxy(cn, q)
	}
	timeout := c.headTimeout(call)
	size := 0
	for _, part := range call.Body {
		size += len(part)
	}
	q.Body, q.BodyReader, q.BodyLen = call.Body, nil, 0
	large := size > smallBody
	length, streamed := call.streamed()
	switch {
	case streamed:
		large = true
		_ = cn.nc.SetDeadline(time.Time{}) // the last call's may be over
		out = newOutgoing(call, func() { _ = cn.nc.SetDeadline(time.Now().Add(c.cfg.IdleTimeout)) })
		q.BodyReader, q.BodyLen = out, length
		if call.Sending != nil { // whose messages do not end with the connection
			defer context.AfterFunc(ctx, out.detach)()
		}
	case large:
		_ = cn.nc.SetDeadline(now.Add(c.cfg.IdleTimeout + time.Duration(size/slowestLine)*time.Second))
	default:
		_ = cn.nc.SetDeadline(now.Add(timeout))
	}
	err = cn.h1.WriteRequest(q)
	clear(q.Header) // no secrets, and nothing of the caller's, in an idle connection
	q.Body, q.BodyReader = [3][]byte{}, nil
	_, partly := err.(*http1.WriteError) //nolint:errorlint // returned unwrapped
	if partly {
		err = nil
	}
	if large {
		_ = cn.nc.SetReadDeadline(time.Now().Add(timeout))
	}
	return out, !partly, err
}

// addressProxy makes a request one for a plain proxy (RFC 9112 section 3.2.2).
func (c *Client) addressProxy(cn *conn, q *http1.Request) {
	q.Target = "http://" + c.host + q.Target
	if auth := tunnel.Authorization(cn.proxy); auth != "" {
		q.Header = append(q.Header, field("Proxy-Authorization", auth))
	}
}

// h1Body is a reply body over HTTP/1.1. The connection goes back to the pool
// with it.
type h1Body struct {
	cn *conn
}

func (b *h1Body) next(idle time.Duration) ([]byte, error) {
	if !b.cn.h1.Ready() { // a small reply comes with its head
		_ = b.cn.nc.SetReadDeadline(time.Now().Add(idle))
	}
	return b.cn.h1.Next()
}

func (b *h1Body) trailer() []llm.Field { return b.cn.h1.Trailer() }

func (b *h1Body) finish(p *pool, whole bool) {
	live := b.cn.watch.Stop() // else it is too late
	p.release(b.cn, live && whole && b.cn.h1.Reusable())
}
