package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/http2"
	"golang.org/x/net/proxy"

	"sluice/internal/llm"
	"sluice/internal/tunnel"
	"sluice/internal/upstream/http1"
)

// sessionCache is how many TLS sessions an upstream's client keeps to resume.
const sessionCache = 64

// dialer makes connections to one upstream.
type dialer struct {
	client *Client
	base   *url.URL
	addr   string // host:port
	tls    *tls.Config
	older  *tls.Config // offers HTTP/1.1 alone
	h2     *http2.Transport
	proxy  func(*url.URL) (*url.URL, error)
	net    net.Dialer // sets NODELAY and keep-alive probes, and tries IPv6 and IPv4 together

	addresses *addresses // over which connections are spread; nil where they are not
}

func newDialer(c *Client) (*dialer, error) {
	base := c.opts.BaseURL
	if base == nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("check base URL: it must be http://host or https://host")
	}
	h2, err := newH2Transport(c.cfg)
	if err != nil {
		return nil, err
	}
	d := &dialer{client: c, base: base, addr: hostPort(base), h2: h2, proxy: c.opts.Proxy}
	if d.proxy == nil {
		d.proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	if host := base.Hostname(); c.cfg.BalanceAddresses {
		if _, err := netip.ParseAddr(host); err != nil {
			_, port, _ := net.SplitHostPort(d.addr)
			d.addresses = newAddresses(host, port, c.opts.Resolver)
		}
	}
	if base.Scheme == "https" {
		if d.tls, err = c.cfg.TLS.Client(); err != nil {
			return nil, err
		}
		d.tls.RootCAs = cmp.Or(d.tls.RootCAs, c.opts.RootCAs)
		if d.tls.RootCAs == nil {
			// It is read once, and what could not be read then, for want of a file
			// descriptor say, would be missing for ever.
			_, _ = x509.SystemCertPool()
		}
		d.tls.ServerName = base.Hostname()
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(sessionCache)
		d.tls.NextProtos = []string{"http/1.1"}
		d.older = d.tls.Clone()
		if c.cfg.HTTP2 {
			d.tls.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	return d, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// mayBeH2 reports whether connections may turn out to be HTTP/2.
func (d *dialer) mayBeH2() bool {
	if d.tls != nil {
		return d.client.cfg.HTTP2
	}
	return d.client.cfg.H2C
}

// connect makes a connection that is ready for a call, with older one for
// HTTP/1.1, to one address where that is valid. Its errors are the caller's.
func (d *dialer) connect(ctx context.Context, older bool, at netip.AddrPort) (*conn, error) {
	cn, err := d.build(ctx, older, at)
	if err == nil {
		return cn, nil
	}
	if ctx.Err() != nil {
		if d.client.pool.stop.Err() != nil {
			return nil, d.client.over()
		}
		return nil, context.Cause(ctx)
	}
	d.client.opts.Logger.Debug("cannot connect to the upstream", "upstream", d.client.opts.Name, "error", err)
	return nil, d.client.dialFailure(err)
}

func (d *dialer) build(ctx context.Context, older bool, at netip.AddrPort) (_ *conn, err error) {
	via, err := d.proxy(d.base)
	if err != nil {
		return nil, fmt.Errorf("find proxy: %w", err)
	}
	cfg, stats := &d.client.cfg, &d.client.stats
	begun := time.Now()
	nc, absolute, at, err := d.reach(ctx, via, older, at)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.addresses.left(at)
		}
	}()
	stats.dial.Observe(time.Since(begun))
	cn := &conn{stats: stats, nc: nc, socket: nc, keep: cfg.KeepaliveExpiry, at: at, addresses: d.addresses}
	if absolute {
		cn.proxy = via
	}
	h2 := d.tls == nil && cfg.H2C && !older
	var sock *watched
	if d.tls != nil || h2 {
		sock = &watched{Conn: nc}
		cn.nc, cn.socket = sock, sock
	}
	if d.tls != nil {
		if h2, err = d.secure(ctx, cn, sock, older); err != nil {
			_ = nc.Close()
			return nil, err
		}
	}
	if h2 {
		if err := d.startH2(cn, sock); err != nil {
			return nil, err
		}
	} else {
		cn.h1 = http1.NewConn(cn.nc, http1.Limits{MaxHead: maxReplyHead, Buffers: d.client.buffers})
	}
	stats.created(h2)
	return cn, nil
}

// secure does the TLS handshake and reports whether HTTP/2 was agreed on, which
// is not offered with older.
func (d *dialer) secure(ctx context.Context, cn *conn, sock net.Conn, older bool) (h2 bool, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.client.cfg.TLSTimeout)
	defer cancel()
	cfg := d.tls
	if older {
		cfg = d.older
	}
	tc := tls.Client(http1.NewReceiver(sock, d.client.buffers), cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return false, fmt.Errorf("TLS handshake: %w", err)
	}
	d.client.stats.tls.Observe(time.Since(begun))
	state := tc.ConnectionState()
	if state.DidResume {
		d.client.stats.tlsResumed.Add(1)
	}
	cn.nc = tc
	return state.NegotiatedProtocol == "h2", nil
}

// startH2 begins HTTP/2 on a connection.
func (d *dialer) startH2(cn *conn, sock *watched) error {
	onClose := func() {
		cn.stats.closed.Add(1)
		cn.addresses.left(cn.at)
		d.client.pool.lost(cn)
	}
	cn.maxStreams = 1 // until the upstream's SETTINGS are there
	cc, err := d.h2.NewClientConn(cn.nc)
	if err != nil {
		_ = cn.nc.Close()
		return fmt.Errorf("start HTTP/2: %w", err)
	}
	cn.h2 = cc
	sock.watch(onClose)
	return nil
}

// reach makes the connection beneath TLS. absolute says that its other end is
// a plain proxy, which has to be told the upstream with each request. An older
// connection may be for a protocol that a proxy does not know, so none is.
// at is the address that was taken of several, not valid where there is one.
func (d *dialer) reach(ctx context.Context, via *url.URL, older bool, only netip.AddrPort) (nc net.Conn, absolute bool, at netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.client.cfg.ConnectTimeout)
	defer cancel()
	if via == nil {
		if d.addresses != nil {
			nc, at, err = d.addresses.dial(ctx, &d.net, only)
			return nc, false, at, err
		}
		nc, err = d.net.DialContext(ctx, "tcp", d.addr)
		return nc, false, at, err
	}
	nc, absolute, err = d.reachBy(ctx, via, older)
	return nc, absolute, at, err
}

// reachBy makes one through a proxy.
func (d *dialer) reachBy(ctx context.Context, via *url.URL, older bool) (nc net.Conn, absolute bool, err error) {
	switch via.Scheme {
	case "socks5", "socks5h":
		nc, err = d.socks(ctx, via)
		return nc, false, err
	case "http", "https":
	default:
		return nil, false, fmt.Errorf("proxy scheme %q is not supported", via.Scheme)
	}
	if nc, err = d.net.DialContext(ctx, "tcp", hostPort(via)); err != nil {
		return nil, false, fmt.Errorf("connect to proxy: %w", err)
	}
	if via.Scheme == "https" {
		tc := tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: via.Hostname(), RootCAs: d.client.opts.RootCAs})
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, false, fmt.Errorf("TLS handshake with proxy: %w", err)
		}
		nc = tc
	}
	if d.tls == nil && !d.client.cfg.H2C && !older {
		return nc, true, nil
	}
	if err := tunnel.Open(ctx, nc, d.addr, tunnel.Authorization(via)); err != nil {
		_ = nc.Close()
		return nil, false, fmt.Errorf("tunnel through proxy: %w", err)
	}
	return nc, false, nil
}

func (d *dialer) socks(ctx context.Context, via *url.URL) (net.Conn, error) {
	pd, err := proxy.FromURL(via, &d.net)
	if err != nil {
		return nil, fmt.Errorf("set up SOCKS proxy: %w", err)
	}
	cd, ok := pd.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("set up SOCKS proxy: no way to cancel it")
	}
	nc, err := cd.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, fmt.Errorf("connect through SOCKS proxy: %w", err)
	}
	return nc, nil
}

func field(name, value string) llm.Field { return llm.Field{Name: name, Value: value} }
