// Package upstream is the transport that all upstream protocols share: a
// Client per upstream, over a pool of connections that it keeps warm.
//
// It promises that a stale connection never costs a caller an error, that a
// cancelled context gives the connection up at once, that requests waiting for
// a connection get one in the order in which they came, and that a reply's
// body arrives decoded, as it comes, with nothing held back. HTTP/1.1 is
// Sluice's own (package http1); HTTP/2 is golang.org/x/net's.
//
// All errors that a caller should tell a client of are *llm.Error, with
// Unprocessed set where the upstream cannot have acted on the request.
package upstream

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/url"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Options are the parts of a Client that no one configures by number.
type Options struct {
	Name    string         // the upstream's, for errors, logs and figures
	BaseURL *url.URL       // scheme (http or https) and host; the path is the caller's business
	RootCAs *x509.CertPool // nil: the system's
	Logger  *slog.Logger   // nil: no logs

	// Proxy finds the proxy for a URL, nil for none. Options.Proxy nil: the
	// environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
	Proxy func(*url.URL) (*url.URL, error)
}

// Call is one request to the upstream. It may be sent more than once, unless
// it has a BodyReader, and is not kept after Do returns.
type Call struct {
	Method string
	Target string      // path and query, both escaped
	Header []llm.Field // hop-by-hop fields, Host, Content-Length and Accept-Encoding are left out as it goes

	// Body is the body in up to three parts, written without being joined.
	Body [3][]byte
	// BodyReader is a body that is not held, instead of Body; BodyLen is its
	// length, -1 when unknown. Once it was read from, the call is not sent
	// again. Do may return while it is still being read only where the
	// upstream answered early over HTTP/2; it is never read after Close.
	BodyReader io.Reader
	BodyLen    int64

	// Stream asks for the reply uncompressed and waits for its head no longer
	// than Config.FirstEventTimeout instead of ResponseHeaderTimeout.
	Stream bool
}

// Client sends calls to one upstream. It is safe for concurrent use.
type Client struct {
	cfg  Config
	opts Options
}

// New makes a Client. It opens no connection; see Warm.
func New(cfg Config, o Options) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check http_client: %w", err)
	}
	return &Client{cfg: cfg, opts: o}, nil
}

// Do sends call and returns the reply once its head is there. The caller must
// Close the reply. ctx governs the reply's body too.
func (c *Client) Do(ctx context.Context, call *Call) (*Reply, error) {
	return nil, llm.Errorf(502, "upstream_unreachable", "not built yet")
}

// Warm opens Config.WarmConnections connections, so that the first requests
// find them. Nothing is sent on them. A failure is logged and no more: the
// upstream may come up later.
func (c *Client) Warm(ctx context.Context) {}

// Figures reports the pool's figures; see perf.Source.
func (c *Client) Figures(r perf.Reporter) {}

// Close closes idle connections, gives up those being made and fails waiting
// calls. Replies that are being read are not cut: their connections close
// after them. A call after Close fails.
func (c *Client) Close() {}
