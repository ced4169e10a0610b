package grpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"sluice/internal/tunnel"
)

const (
	connectTimeout = 20 * time.Second // for a connection, TLS not included
	tlsTimeout     = 10 * time.Second
	idleTimeout    = 90 * time.Second // a connection without a call is kept
	maxHead        = 64 << 10         // of a reply's head, and of its end, in bytes
)

// Options are what a Client works with.
type Options struct {
	// Target is whom to call: host:port (443 where there is no port), or as gRPC
	// names it, dns:///host:port, passthrough:///host:port, unix:path or
	// unix-abstract:name. A proxy is used where HTTPS_PROXY says so.
	Target string

	TLS       *tls.Config       // nil for cleartext
	Header    map[string]string // goes with each call
	UserAgent string
	Gzip      bool // compresses what is sent
	MaxReply  int  // bytes of a message that the server sends, once decompressed
}

// Client calls one server. It may be used by several goroutines.
type Client struct {
	transport *http.Transport
	proxy     func(*url.URL) (*url.URL, error)
	socket    string // path of a Unix domain socket, "" for TCP
	base      string // of URLs, up to the method
	header    http.Header
	gzip      bool
	maxReply  int
}

// New makes a Client. It fails where the target is none; no connection is made
// before there is a call.
func New(o Options) (*Client, error) {
	c := &Client{gzip: o.Gzip, maxReply: o.MaxReply, proxy: httpproxy.FromEnvironment().ProxyFunc()}
	host, socket, err := parseTarget(o.Target)
	if err != nil {
		return nil, err
	}
	c.socket = socket
	scheme, protocols := "http", new(http.Protocols)
	if o.TLS != nil {
		scheme = "https"
	}
	protocols.SetHTTP2(o.TLS != nil)
	protocols.SetUnencryptedHTTP2(o.TLS == nil)
	c.base = scheme + "://" + host
	if u, err := url.Parse(c.base); err != nil || u.Host != host {
		return nil, fmt.Errorf("%.200q is not the address of a gRPC server", o.Target)
	}
	c.transport = &http.Transport{
		Protocols: protocols, DialContext: c.dial, TLSClientConfig: o.TLS, TLSHandshakeTimeout: tlsTimeout,
		IdleConnTimeout: idleTimeout, DisableCompression: true, MaxResponseHeaderBytes: maxHead,
	}
	c.header = make(http.Header)
	c.header.Set("User-Agent", o.UserAgent)
	for name, value := range o.Header {
		c.header.Set(name, value)
	}
	c.header.Set("Content-Type", ContentType)
	c.header.Set("Te", "trailers")
	c.header.Set("Grpc-Accept-Encoding", codingGzip)
	if o.Gzip {
		c.header.Set("Grpc-Encoding", codingGzip)
	}
	return c, nil
}

// Close closes connections that have no call. There must be no call afterwards.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// parseTarget gives the host and port of a target, and the path of its socket where
// that is not TCP's.
func parseTarget(target string) (host, socket string, err error) {
	scheme, rest, named := strings.Cut(target, ":")
	if !named {
		scheme, rest = "", target
	}
	switch scheme {
	case "unix":
		return "localhost", strings.TrimPrefix(rest, "//"), nil
	case "unix-abstract":
		return "localhost", "@" + rest, nil
	case "dns", "passthrough":
		host = strings.TrimPrefix(rest, "///")
	default:
		host = target
	}
	if host == "" || strings.ContainsAny(host, "/@?#") {
		return "", "", fmt.Errorf("%.200q is not the address of a gRPC server", target)
	}
	return host, "", nil
}

// dial makes a connection, for the transport.
func (c *Client) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout}
	if c.socket != "" {
		return d.DialContext(ctx, "unix", c.socket)
	}
	via, err := c.proxy(&url.URL{Scheme: "https", Host: addr})
	if err != nil {
		return nil, fmt.Errorf("find proxy: %w", err)
	}
	if via == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	if via.Scheme != "http" {
		return nil, fmt.Errorf("proxy scheme %q is not supported", via.Scheme)
	}
	port := via.Port()
	if port == "" {
		port = "80"
	}
	nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(via.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("connect to proxy: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := tunnel.Open(ctx, nc, addr, tunnel.Authorization(via)); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("tunnel through proxy: %w", err)
	}
	return nc, nil
}
