package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/upstream/http1"
)

const (
	// streamWindow is how much of a reply may arrive on an HTTP/2 stream before
	// it is read, in bytes. It bounds what a slow client can pile up.
	streamWindow = 256 << 10
	// maxReplyHead bounds the head of a reply, in bytes.
	maxReplyHead = 64 << 10
	// maxFields bounds the fields of a reply's head, and those of its trailers, as
	// http1 does: what many of them cost grows faster than they do.
	maxFields = 256
)

// newH2Transport makes the library's transport. Only its connections are used;
// the pool is ours.
func newH2Transport(cfg Config) (*http2.Transport, error) {
	t1 := &http.Transport{
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxReplyHead,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:           cfg.PingInterval,
			PingTimeout:               cfg.PingTimeout,
			WriteByteTimeout:          cfg.IdleTimeout,
			MaxReadFrameSize:          64 << 10,
			MaxReceiveBufferPerStream: streamWindow,
			// Streams that nobody reads must not stop the others.
			MaxReceiveBufferPerConnection: min(cfg.MaxStreamsPerConnection, 4096) * streamWindow,
		},
	}
	t2, err := http2.ConfigureTransports(t1)
	if err != nil {
		return nil, fmt.Errorf("set up HTTP/2: %w", err)
	}
	// A stream beyond what the upstream allows waits instead of failing, until
	// the pool has learned the bound.
	t2.StrictMaxConcurrentStreams = true
	return t2, nil
}

// exchangeH2 sends a call over HTTP/2; see exchange.
func (c *Client) exchangeH2(ctx context.Context, cn *conn, call *Call, reused bool) (*Reply, repetition, error) {
	if err := checkH2(call); err != nil {
		c.pool.release(cn, true)
		return nil, never, c.explain(ctx, err)
	}
	sctx, cancel := context.WithCancelCause(ctx)
	b := &h2Body{client: c, cn: cn, ctx: sctx, cancel: cancel}
	b.out = newOutgoing(call, b.moved)
	b.await(c.headTimeout(call))
	resp, err := cn.h2.RoundTrip(c.requestH2(sctx, call, b.out)) //nolint:bodyclose // the Reply closes it
	b.rest()
	if !cn.learned.Load() {
		c.learnStreams(cn)
	}
	if err != nil {
		if context.Cause(sctx) == errStalled { //nolint:errorlint // set above
			err = errStalled
		}
		cancel(nil)
		b.out.detach()
		again := never
		switch {
		case needsHTTP1(err):
			again = olderHTTP
			c.goOlder()
		case connectionOver(err) || reused && isClosed(err) && call.safe():
			again = anew
		}
		if ctx.Err() != nil || !b.out.resendable() {
			again = never
		}
		c.pool.release(cn, true)
		// The error is for a call that is not repeated, or in vain.
		return nil, again, c.mistaken(cn, err, c.explain(ctx, err))
	}
	r := &Reply{
		Status: resp.StatusCode, Length: resp.ContentLength,
		client: c, ctx: ctx, idle: c.cfg.IdleTimeout, body: b,
	}
	b.resp = resp
	if resp.Body == http.NoBody || call.Method == http.MethodHead || r.Status == http.StatusNoContent || r.Status == http.StatusNotModified {
		r.Length = 0
	}
	var coding string
	header := fields(resp.Header)
	if len(header) > maxFields {
		r.Close()
		return nil, never, c.explain(ctx, &http1.ProtocolError{Reason: "too many header fields"})
	}
	r.Header, coding = replyHeader(nil, header)
	if err := r.decode(coding); err != nil {
		r.Close()
		return nil, never, err
	}
	return r, never, nil
}

// olderFor is how long an upstream that asked for HTTP/1.1 gets no HTTP/2.
const olderFor = 10 * time.Minute

// goOlder goes over to HTTP/1.1: for what was refused, and for a while for all,
// since an upstream that refuses some of its paths is asked for these again.
func (c *Client) goOlder() {
	if !c.older() {
		c.opts.Logger.Info("the upstream wants HTTP/1.1", "upstream", c.opts.Name, "for", olderFor)
	}
	c.olderUntil.Store(time.Now().Add(olderFor).UnixNano())
	c.pool.retireShared()
}

// older reports whether connections are made for HTTP/1.1 though HTTP/2 is on.
func (c *Client) older() bool { return time.Now().UnixNano() < c.olderUntil.Load() }

// checkH2 is to HTTP/2 what http1's own check is to HTTP/1.1: with bytes that
// do not belong there a request could mean something else further on.
func checkH2(call *Call) error {
	if !httpguts.ValidHeaderFieldName(call.Method) {
		return &http1.RequestError{Reason: fmt.Sprintf("method %q", call.Method)}
	}
	if !strings.HasPrefix(call.Target, "/") || strings.ContainsFunc(call.Target, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return &http1.RequestError{Reason: "space, control or non-ASCII character in the target, or none"}
	}
	for _, f := range call.Header {
		if !httpguts.ValidHeaderFieldName(f.Name) {
			return &http1.RequestError{Reason: fmt.Sprintf("header field name %q", f.Name)}
		}
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return &http1.RequestError{Reason: "control character in header field " + f.Name}
		}
	}
	return nil
}

// requestH2 makes the library's form of a call.
func (c *Client) requestH2(ctx context.Context, call *Call, out *outgoing) *http.Request {
	header := make(http.Header, len(call.Header)+2)
	for _, f := range appendRequestHeader(nil, call, c.opts.Hop) {
		header[f.Name] = append(header[f.Name], f.Value)
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = []string{""} // else the library names itself
	}
	if call.Trailers {
		header["Te"] = []string{"trailers"}
	}
	path, query, _ := strings.Cut(call.Target, "?")
	req := &http.Request{
		Method: call.Method,
		// Opaque goes out as it is; Path would be escaped anew.
		URL:    &url.URL{Scheme: c.opts.BaseURL.Scheme, Host: c.host, Opaque: path, RawQuery: query},
		Host:   c.host,
		Header: header,
	}
	length, streamed := call.streamed()
	if !streamed {
		length = int64(len(call.Body[0]) + len(call.Body[1]) + len(call.Body[2]))
	}
	if length != 0 {
		req.Body, req.ContentLength = out, length
	}
	return req.WithContext(ctx)
}

// settle waits until the upstream's SETTINGS are there, which come before the
// answer to a ping, and takes over its bound on streams. Streams beyond that
// would be refused.
func (c *Client) settle(ctx context.Context, cn *conn) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.TLSTimeout)
	defer cancel()
	if err := cn.h2.Ping(ctx); err == nil && !cn.learned.Load() {
		c.learnStreams(cn)
	}
}

// learnStreams takes over the upstream's bound on streams once it has come.
func (c *Client) learnStreams(cn *conn) {
	if n := cn.h2.State().MaxConcurrentStreams; n > 0 && cn.learned.CompareAndSwap(false, true) {
		c.pool.learn(cn, int(min(n, 1<<20)))
	}
}

// fields lists a header in the order of its names, since the library does not
// keep the upstream's.
func fields(h http.Header) []llm.Field {
	list := make([]llm.Field, 0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			list = append(list, llm.Field{Name: name, Value: v})
		}
	}
	return list
}

// What is read at a time, in bytes: a stream that waits for a model should not
// hold a large buffer.
const (
	smallRead = 4 << 10
	largeRead = 32 << 10
)

// h2Body is a reply body over HTTP/2.
type h2Body struct {
	client *Client
	cn     *conn
	resp   *http.Response
	out    *outgoing
	ctx    context.Context //nolint:containedctx // the stream's
	cancel context.CancelCauseFunc
	buf    *memory.Buffer
	err    error // came with the last bytes
	full   bool  // the last read filled the buffer

	mu    sync.Mutex
	wait  time.Duration // for the upstream; 0: nobody waits
	timer *time.Timer   // cancels the stream when that is over
}

// await gives the upstream d from now on, and again d whenever a piece of the
// request leaves, up to rest.
func (b *h2Body) await(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wait = d; b.timer == nil {
		b.timer = time.AfterFunc(d, func() { b.cancel(errStalled) })
		return
	}
	b.timer.Reset(d)
}

// moved is called when a piece of the request has left.
func (b *h2Body) moved() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wait > 0 {
		b.timer.Reset(b.wait)
	}
}

func (b *h2Body) rest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wait = 0
	b.timer.Stop()
}

func (b *h2Body) next(idle time.Duration) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	if err := b.fit(); err != nil {
		return nil, err
	}
	buf := b.buf.B[:cap(b.buf.B)]
	b.await(idle)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = b.resp.Body.Read(buf)
	}
	b.rest()
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errStalled) { //nolint:errorlint // unwrapped
		err = errStalled
	}
	if err == io.EOF { //nolint:errorlint // a body returns it so
		err = b.checkTrailer()
	}
	b.full = n == smallRead || n > smallRead/2 && len(buf) == largeRead
	b.err = err
	if n > 0 {
		return buf[:n], nil
	}
	return nil, err
}

// fit sees to a buffer of the right size; where that is refused the one that is
// there does.
func (b *h2Body) fit() error {
	size := smallRead
	if b.full {
		size = largeRead
	}
	if b.buf != nil && cap(b.buf.B) == size {
		return nil
	}
	buf, err := b.client.buffers.Get(size)
	if err != nil {
		if b.buf != nil {
			return nil
		}
		b.err = err
		return err
	}
	b.client.buffers.Put(b.buf)
	b.buf = buf
	return nil
}

func (b *h2Body) trailer() []llm.Field {
	if len(b.resp.Trailer) == 0 {
		return nil
	}
	return fields(b.resp.Trailer)
}

// checkTrailer returns io.EOF, unless the trailer fields are more than a reply
// over HTTP/1.1 may have.
func (b *h2Body) checkTrailer() error {
	n, size := 0, 0
	for name, values := range b.resp.Trailer {
		for _, v := range values {
			n++
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	switch {
	case n > maxFields:
		return &http1.ProtocolError{Reason: "too many trailer fields"}
	case size > maxReplyHead:
		return &http1.ProtocolError{Reason: "trailers too large"}
	}
	return io.EOF
}

func (b *h2Body) finish(p *pool, _ bool) {
	// First the context: Close alone would wait for a peer that takes nothing.
	b.cancel(nil)
	_ = b.resp.Body.Close()
	b.out.detach()
	if s := b.out.sending; s != nil {
		s.finished(errCallOver)
	}
	b.client.buffers.Put(b.buf)
	b.buf = nil
	p.release(b.cn, true)
}
