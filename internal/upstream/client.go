// Package upstream is the transport that all upstream protocols share: a
// Client per upstream, over a pool of connections that it keeps warm.
//
// It promises that a connection which the upstream closed before a call had come
// costs no caller an error, and no call is sent twice that may have been acted on; that a
// cancelled context gives the connection up at once, that requests waiting for
// a connection get one by their priority and none starves (package priority), and
// that a reply's body arrives decoded, as it comes, with nothing held back. HTTP/1.1 is
// Sluice's own (package http1); HTTP/2 is golang.org/x/net's.
//
// All errors that a caller should tell a client of are *llm.Error, with
// Unprocessed set where the upstream cannot have acted on the request. When
// the context is done its cause is returned.
package upstream

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

// Options are the parts of a Client that no one configures by number.
type Options struct {
	Name    string         // the upstream's, for errors, logs and figures
	BaseURL *url.URL       // scheme (http or https) and host; the path is the caller's business
	RootCAs *x509.CertPool // nil: the system's
	Logger  *slog.Logger   // nil: no logs
	Hop     string         // the gateway's name in llm.LoopField of what is sent; empty for none

	// Buffers lends buffers; nil makes the Client its own.
	Buffers *memory.Buffers

	// Proxy finds the proxy for a URL, nil for none. Options.Proxy nil: the
	// environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
	Proxy func(*url.URL) (*url.URL, error)

	// Resolver looks names up where connections are spread over addresses; nil: the
	// system's.
	Resolver *net.Resolver
}

// Call is one request to the upstream. It may be sent more than once, unless
// it has a BodyReader, and is not kept after Do returns, except that its body
// may still be on its way until the reply is closed (an early answer).
type Call struct {
	Method string
	Target string      // path and query, both escaped
	Header []llm.Field // hop-by-hop fields, Host, Content-Length and Accept-Encoding are left out as it goes

	// Body is the body in up to three parts, written without being joined.
	Body [3][]byte
	// BodyReader is a body that is not held, instead of Body; BodyLen is its
	// length, -1 when unknown. Once it was read from, the call is not sent
	// again. A Read that is under way when the reply is closed is not waited
	// for; none begins after that.
	BodyReader io.Reader
	BodyLen    int64
	// Sending is a body that is written while the call is under way, instead of
	// Body and BodyReader. Once something of it was taken, the call is not sent
	// again. Waits for the reply count from the last message.
	Sending *Sending

	// Trailers asks for trailer fields ("TE: trailers"); see Reply.Trailer. They
	// may come all the same.
	Trailers bool

	// Upgrade asks for another protocol, in lower case, on a connection of its own
	// that is spoken to in HTTP/1.1. The call has no body. See Reply.Switched.
	Upgrade string

	// Stream asks for the reply uncompressed and waits for its head no longer
	// than Config.FirstEventTimeout instead of ResponseHeaderTimeout.
	Stream bool

	// Urgency says who goes first where calls wait for a connection. One whose
	// Deadline is past before it has one is not sent.
	Urgency llm.Urgency

	// Into is a Reply of an earlier call, which is over, to be used again with its
	// Header; nil for a new one.
	Into *Reply

	queued time.Duration // it waited for its turn so far
}

// safe reports whether the call only reads, so that nothing is done twice when it
// is sent twice (RFC 9110 section 9.2.1).
func (c *Call) safe() bool {
	switch c.Method {
	case "GET", "HEAD", "OPTIONS":
		return true
	default:
		return false
	}
}

// Client sends calls to one upstream. It is safe for concurrent use.
type Client struct {
	cfg       Config
	opts      Options
	host      string // as it stands in the Host field
	pool      *pool
	dialer    *dialer
	decoders  decoders
	scratches sync.Pool // of *scratch
	buffers   *memory.Buffers
	stats     stats
	shortage  atomic.Pointer[Shortage] // the last one

	olderUntil atomic.Int64 // Unix ns: up to then no connection is made for HTTP/2
}

// New makes a Client. It opens no connection; see Warm.
func New(cfg Config, o Options) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check http_client: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Buffers == nil {
		o.Buffers = new(memory.Buffers)
	}
	c := &Client{cfg: cfg, opts: o, buffers: o.Buffers}
	c.scratches.New = func() any { return new(scratch) }
	d, err := newDialer(c)
	if err != nil {
		return nil, err
	}
	c.host = o.BaseURL.Host
	perDial := 1
	if d.mayBeH2() {
		perDial = cfg.MaxStreamsPerConnection
	}
	c.dialer = d
	c.pool = newPool(c, perDial, func(ctx context.Context, at netip.AddrPort) (*conn, error) { return d.connect(ctx, c.older(), at) })
	return c, nil
}

// Buffers is what the Client takes its buffers from, for those who read its replies.
func (c *Client) Buffers() *memory.Buffers { return c.buffers }

// TLS is what the upstream is known by, for what is asked of it in another way.
func (c *Client) TLS() *TLS { return &c.cfg.TLS }

// Do sends call and returns the reply once its head is there. The caller must
// Close the reply. ctx governs the reply's body too.
func (c *Client) Do(ctx context.Context, call *Call) (*Reply, error) {
	call.queued = 0
	r, err := c.do(ctx, call)
	if err != nil && call.Sending != nil {
		call.Sending.finished(err)
	}
	if err != nil {
		return nil, llm.After(err, call.queued, 0, 0)
	}
	r.Queued = call.queued
	return r, nil
}

func (c *Client) do(ctx context.Context, call *Call) (*Reply, error) {
	if ctx.Err() != nil {
		return nil, llm.Unsent(context.Cause(ctx))
	}
	if call.Upgrade != "" {
		return c.upgrade(ctx, call)
	}
	cn, reused, err := c.pool.acquire(ctx, call)
	if err != nil {
		return nil, err
	}
	call.Urgency.Send()
	reply, again, err := c.exchange(ctx, cn, call, reused)
	if again == anew {
		c.stats.staleRetries.Add(1)
		reply, again, err = c.repeat(ctx, call)
	}
	if again == olderHTTP {
		reply, _, err = c.repeat(ctx, call)
	}
	return reply, err
}

// repeat sends a call that nobody has read over a fresh connection.
func (c *Client) repeat(ctx context.Context, call *Call) (*Reply, repetition, error) {
	cn, err := c.pool.fresh(ctx, call)
	if err != nil {
		return nil, never, err
	}
	return c.exchange(ctx, cn, call, false)
}

// repetition says whether a call that failed should be sent again by the Client
// itself, since nobody has read it.
type repetition uint8

const (
	never     repetition = iota
	anew                 // it missed its connection
	olderHTTP            // the upstream wants it over HTTP/1.1
)

// exchange sends a call on a connection, which it gives back when it fails.
func (c *Client) exchange(ctx context.Context, cn *conn, call *Call, reused bool) (r *Reply, again repetition, err error) {
	if cn.h2 != nil {
		return c.exchangeH2(ctx, cn, call, reused)
	}
	return c.exchangeH1(ctx, cn, call, reused)
}

// streamed reports whether the call's body is not held, and its length, -1 when
// unknown.
func (c *Call) streamed() (length int64, ok bool) {
	if c.Sending != nil {
		return -1, true
	}
	return max(c.BodyLen, -1), c.BodyReader != nil
}

// headTimeout is how long to wait for the head of a reply.
func (c *Client) headTimeout(call *Call) time.Duration {
	if call.Stream {
		return c.cfg.FirstEventTimeout
	}
	return c.cfg.ResponseHeaderTimeout
}

// Warm opens Config.WarmConnections connections, so that the first requests
// find them. Nothing is sent on them. A failure is logged and no more: the
// upstream may come up later.
func (c *Client) Warm(ctx context.Context) {
	if err := c.pool.warm(ctx, c.cfg.WarmConnections); err != nil && ctx.Err() == nil {
		c.opts.Logger.Warn("cannot open connections to the upstream in advance", "upstream", c.opts.Name, "error", err)
	}
}

// Close closes idle connections, gives up those being made and fails waiting
// calls. Replies that are being read are not cut: their connections close
// after them. A call after Close fails.
func (c *Client) Close() { c.pool.close() }
