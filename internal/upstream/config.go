package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// Config is the `http_client` section: how upstreams are reached. Every number
// holds for one upstream.
type Config struct {
	// MaxConnections bounds the connections that are open or being made. A
	// request that finds all of them busy waits up to PoolTimeout.
	MaxConnections int `yaml:"max_connections" env:"SLUICE_MAX_CONNECTIONS"`
	// MaxKeepaliveConnections bounds the connections kept open with no request
	// on them; 0 closes each after its request.
	MaxKeepaliveConnections int `yaml:"max_keepalive_connections" env:"SLUICE_MAX_KEEPALIVE_CONNECTIONS"`
	// KeepaliveExpiry closes a connection that carried nothing for so long. A
	// shorter time that the upstream asks for is kept instead.
	KeepaliveExpiry time.Duration `yaml:"keepalive_expiry" env:"SLUICE_KEEPALIVE_EXPIRY"`

	// HTTP2 offers HTTP/2 to https upstreams (ALPN).
	HTTP2 bool `yaml:"http2" env:"SLUICE_HTTP2"`
	// H2C speaks HTTP/2 with http upstreams without asking (prior knowledge).
	H2C bool `yaml:"h2c"`
	// MaxStreamsPerConnection bounds the requests at once on an HTTP/2
	// connection; a lower bound that the upstream sets is kept.
	MaxStreamsPerConnection int `yaml:"max_streams_per_connection"`
	// PingInterval is how long an HTTP/2 connection may be silent before a
	// ping asks whether it is alive; 0 never asks.
	PingInterval time.Duration `yaml:"ping_interval"`
	// PingTimeout closes an HTTP/2 connection whose ping was not answered.
	PingTimeout time.Duration `yaml:"ping_timeout"`

	// BalanceAddresses spreads connections, and the requests of HTTP/2, over all
	// addresses that the upstream's name stands for, which is asked for again every 30 s.
	// Otherwise HTTP/2 fills one connection before it makes another.
	BalanceAddresses bool `yaml:"balance_addresses"`

	// TLS is what an https upstream is known by, and what it knows Sluice by.
	TLS TLS `yaml:"tls"`

	// PoolTimeout bounds the wait for a free connection. With admission what the pool
	// cannot carry waits there for its turn, and not here.
	PoolTimeout time.Duration `yaml:"pool_timeout"`
	// ConnectTimeout bounds name look-up and TCP connect, through a proxy
	// included.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// TLSTimeout bounds the TLS handshake.
	TLSTimeout time.Duration `yaml:"tls_timeout"`
	// ResponseHeaderTimeout bounds the wait for the head of a unary reply,
	// which comes only when the model is done.
	ResponseHeaderTimeout time.Duration `yaml:"response_header_timeout"`
	// FirstEventTimeout bounds the wait for the first event of a stream.
	FirstEventTimeout time.Duration `yaml:"first_event_timeout"`
	// IdleTimeout bounds the time between two pieces of a body, either way.
	// There is no bound on the whole.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// WarmConnections are opened at the start, with no request on them.
	WarmConnections int `yaml:"warm_connections"`
	// MaxReplyBytes bounds the decoded size of a reply that came compressed.
	// One that came as it is is not held, and not bounded.
	MaxReplyBytes int64 `yaml:"max_reply_bytes"`
}

// TLS are files with PEM in them.
type TLS struct {
	// CA has the authorities that the upstream's certificate may be from; those of the
	// system where it is empty.
	CA string `yaml:"ca"`
	// Cert and Key are a certificate and its key, for upstreams that ask for one (mutual
	// TLS). They are read for each connection, so that they may be replaced at any time.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// roots reads CA; nil where there is none.
func (t *TLS) roots() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.ca: no certificate is in %s", t.CA)
	}
	return pool, nil
}

// pair reads Cert and Key.
func (t *TLS) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert, tls.key: %w", err)
	}
	return &pair, nil
}

// Client makes what a client of the upstream needs to know. Without CA it has no
// authorities, which means those of the system.
func (t *TLS) Client() (*tls.Config, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if t.Cert != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.pair() }
	}
	return cfg, nil
}

// validate reads the files, so that what is wrong with them is known before they are
// needed.
func (t *TLS) validate() error {
	_, err := t.roots()
	faults := []error{err}
	switch {
	case (t.Cert == "") != (t.Key == ""):
		faults = append(faults, errors.New("tls: cert and key go together"))
	case t.Cert != "":
		_, err := t.pair()
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Default returns the settings that hold where nothing else is said.
func Default() Config {
	return Config{
		MaxConnections:          200,
		MaxKeepaliveConnections: 50,
		KeepaliveExpiry:         60 * time.Second,
		HTTP2:                   true,
		MaxStreamsPerConnection: 100,
		PingInterval:            30 * time.Second,
		PingTimeout:             15 * time.Second,
		PoolTimeout:             10 * time.Second,
		ConnectTimeout:          5 * time.Second,
		TLSTimeout:              5 * time.Second,
		ResponseHeaderTimeout:   600 * time.Second,
		FirstEventTimeout:       120 * time.Second,
		IdleTimeout:             120 * time.Second,
		WarmConnections:         1,
		MaxReplyBytes:           128 << 20,
	}
}

// Validate reports every fault at once, each as "key: what is wrong".
func (c Config) Validate() error {
	var errs []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(c.MaxConnections < 1, "max_connections: must be at least 1, is %d", c.MaxConnections)
	fault(c.MaxKeepaliveConnections < 0, "max_keepalive_connections: must not be negative, is %d", c.MaxKeepaliveConnections)
	fault(c.MaxConnections >= 1 && c.MaxKeepaliveConnections > c.MaxConnections,
		"max_keepalive_connections: must not exceed max_connections (%d), is %d", c.MaxConnections, c.MaxKeepaliveConnections)
	fault(c.MaxStreamsPerConnection < 1, "max_streams_per_connection: must be at least 1, is %d", c.MaxStreamsPerConnection)
	fault(c.WarmConnections < 0, "warm_connections: must not be negative, is %d", c.WarmConnections)
	fault(c.MaxConnections >= 1 && c.WarmConnections > c.MaxConnections,
		"warm_connections: must not exceed max_connections (%d), is %d", c.MaxConnections, c.WarmConnections)
	fault(c.MaxReplyBytes < 1, "max_reply_bytes: must be at least 1, is %d", c.MaxReplyBytes)
	fault(c.PingInterval < 0, "ping_interval: must not be negative, is %v", c.PingInterval)
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"keepalive_expiry", c.KeepaliveExpiry},
		{"ping_timeout", c.PingTimeout},
		{"pool_timeout", c.PoolTimeout},
		{"connect_timeout", c.ConnectTimeout},
		{"tls_timeout", c.TLSTimeout},
		{"response_header_timeout", c.ResponseHeaderTimeout},
		{"first_event_timeout", c.FirstEventTimeout},
		{"idle_timeout", c.IdleTimeout},
	} {
		fault(d.value <= 0, "%s: must be more than 0, is %v", d.key, d.value)
	}
	errs = append(errs, c.TLS.validate())
	return errors.Join(errs...)
}
