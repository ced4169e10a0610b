package front

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice/internal/llm"
)

// Config is the configuration of the listening side, the key `server`.
type Config struct {
	// Host and Port are where to listen. Port 0 is any free port.
	Host string `yaml:"host" env:"SLUICE_HOST"`
	Port int    `yaml:"port" env:"SLUICE_PORT"`

	// Insecure allows a host other than loopback with no API key configured, and
	// has whoever asks served, but for web pages of other sites.
	Insecure bool `yaml:"insecure"`

	// Engine is what speaks HTTP/1.0 and 1.1 with clients: EngineLean, which costs
	// less and is stricter, or EngineNetHTTP, which speaks all else in either case, and
	// everything where the system is not Linux.
	Engine string `yaml:"engine" env:"SLUICE_ENGINE"`

	// TLS names the certificate. Without it the listener speaks cleartext.
	TLS TLSConfig `yaml:"tls"`

	// APIKeys are the keys that clients may use. With none, no key is asked for
	// and only programs on this machine are served.
	APIKeys []APIKey `yaml:"api_keys"`

	// CORSOrigins are the web pages that may use the gateway, with a key, as
	// "https://chat.example"; "*" is all.
	CORSOrigins []string `yaml:"cors_origins"`

	// Passthrough is what keys without one of their own may have handed on.
	Passthrough Passthrough `yaml:"passthrough"`

	// MetricsKey is the hash of a key that is good for /metrics and nothing else.
	// With keys, /metrics asks for it or for an administrator's, unless
	// OpenMetrics is set.
	MetricsKey  string `yaml:"metrics_key"`
	OpenMetrics bool   `yaml:"open_metrics"`

	// MaxBodyBytes bounds a body that is held in memory, MaxUploadBytes one that
	// is streamed through (multipart uploads), MaxHeaderBytes a request's head.
	MaxBodyBytes   int64 `yaml:"max_body_bytes"`
	MaxUploadBytes int64 `yaml:"max_upload_bytes"`
	MaxHeaderBytes int   `yaml:"max_header_bytes"`

	// MaxConnections bounds the open client connections; one more is told 503
	// and closed.
	MaxConnections int `yaml:"max_connections"`

	// MaxJSONDepth bounds how deeply a body's JSON may nest.
	MaxJSONDepth int `yaml:"max_json_depth"`

	// ReadHeaderTimeout is the time for a request's whole head, BodyTimeout the
	// longest pause in its body. A body has to arrive at 1 KiB/s on average as
	// well, after BodyTimeout, so that a byte a minute does not hold a buffer.
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout"`
	BodyTimeout       time.Duration `yaml:"body_timeout"`

	// IdleTimeout is how long a connection without a request stays open.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// DrainTimeout is how long requests may go on after the end was asked for.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// Tunnels bounds WebSockets.
	Tunnels TunnelConfig `yaml:"tunnels"`

	// ForwardHeaders are request fields that an upstream may see besides the
	// usual ones. A name may end in "*". Credentials are never forwarded.
	ForwardHeaders []string `yaml:"forward_headers"`

	// Meter is that of all clients together where there are no keys; nil for none.
	Meter llm.Meter `yaml:"-"`
}

// The values of Config.Engine.
const (
	EngineNetHTTP = "nethttp"
	EngineLean    = "lean"
)

// TLSConfig names a certificate chain and its key, both PEM files. They are
// read again when they change.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// APIKey is a key of a client. Only its hash is known; see HashKey.
type APIKey struct {
	Name string `yaml:"name"` // of the tenant
	Hash string `yaml:"hash"` // "sha256:" and 64 hexadecimal digits

	// Admin lets the key's holder make the requests of administrators as well.
	Admin bool `yaml:"admin"`

	// Priority is the highest that the key's requests may have, as X-Priority has it;
	// "" is any.
	Priority string `yaml:"priority"`

	// RequestsPerMinute and TokensPerMinute are the limits of what it may use: a
	// number, "none", or "" for what holds for all. See PerMinute.
	RequestsPerMinute string `yaml:"requests_per_minute"`
	TokensPerMinute   string `yaml:"tokens_per_minute"`

	// Dedup is the mode of de-duplication of its requests; "" is what holds for all.
	Dedup string `yaml:"dedup"`

	// Passthrough, where it is given, is in place of Config.Passthrough.
	Passthrough Passthrough `yaml:"passthrough"`

	// Meter is by what its use is bounded; nil where nothing bounds it. Replies say what
	// is left, in place of what an upstream says of its own limits.
	Meter llm.Meter `yaml:"-"`
}

// StreamConfig is how event streams are written, the key `stream`.
type StreamConfig struct {
	// Heartbeat is the pause between comments that are sent while the upstream
	// has not begun to answer; 0 for none. The first one commits the reply to
	// status 200, so a later failure is an event of the stream.
	Heartbeat time.Duration `yaml:"heartbeat"`

	// BufferBytes bounds what waits for one slow client. As much again may be
	// in the write under way.
	BufferBytes int `yaml:"buffer_bytes"`

	// WriteTimeout ends a client that takes no byte of a reply, of any kind, for
	// so long. Over HTTP/2 it is the reply that ends, and 256 bytes a second are
	// progress for certain.
	WriteTimeout time.Duration `yaml:"write_timeout"`
}

// Default returns the configuration that is used where none is given.
func Default() Config {
	return Config{
		Host:              "127.0.0.1",
		Port:              28888,
		Engine:            EngineLean,
		Passthrough:       Passthrough{passAll},
		MaxBodyBytes:      32 << 20,
		MaxUploadBytes:    512 << 20,
		MaxHeaderBytes:    64 << 10,
		MaxConnections:    10000,
		MaxJSONDepth:      512,
		ReadHeaderTimeout: 10 * time.Second,
		BodyTimeout:       60 * time.Second,
		IdleTimeout:       120 * time.Second,
		DrainTimeout:      30 * time.Second,
		Tunnels:           TunnelConfig{MaxOpen: 500, IdleTimeout: 10 * time.Minute, MaxBytes: 1 << 30},
	}
}

// DefaultStream returns the configuration that is used where none is given.
func DefaultStream() StreamConfig {
	return StreamConfig{BufferBytes: 256 << 10, WriteTimeout: 30 * time.Second}
}

// Validate returns all faults, each as "key: what is wrong", the key below
// `server`.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Port < 0 || c.Port > 65535 {
		fault("port: %d is not between 0 and 65535", c.Port)
	}
	if c.Engine != EngineLean && c.Engine != EngineNetHTTP {
		fault("engine: %q is neither %s nor %s", c.Engine, EngineLean, EngineNetHTTP)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		fault("tls: cert and key go together; give both or none")
	}
	if len(c.APIKeys) == 0 && !c.Insecure && !loopback(c.Host) {
		fault("host: %q can be reached from other machines and no API key is configured; "+
			"add one under server.api_keys (sluice key hash), or listen on 127.0.0.1, or give --insecure", c.Host)
	}
	names := make(map[string]bool)
	for i, k := range c.APIKeys {
		if k.Name == "" || names[k.Name] {
			fault("api_keys[%d].name: %q is empty or used twice", i, k.Name)
		}
		names[k.Name] = true
		if _, err := parseHash(k.Hash); err != nil {
			fault("api_keys[%d].hash: %w", i, err)
		}
		if _, err := mostOf(k.Priority); err != nil {
			fault("api_keys[%d].priority: %w", i, err)
		}
		if _, ok := llm.ParseDedupMode(k.Dedup); k.Dedup != "" && !ok {
			fault("api_keys[%d].dedup: %q is none of %s", i, k.Dedup, strings.Join(llm.DedupModes(), ", "))
		}
		for _, err := range k.Passthrough.faults() {
			fault("api_keys[%d].passthrough: %w", i, err)
		}
		if _, err := PerMinute(k.RequestsPerMinute, 0); err != nil {
			fault("api_keys[%d].requests_per_minute: %w", i, err)
		}
		if _, err := PerMinute(k.TokensPerMinute, 0); err != nil {
			fault("api_keys[%d].tokens_per_minute: %w", i, err)
		}
	}
	for i, origin := range c.CORSOrigins {
		if err := checkOrigin(origin); err != nil {
			fault("cors_origins[%d]: %w", i, err)
		}
	}
	if len(c.CORSOrigins) > 0 && len(c.APIKeys) == 0 {
		fault("cors_origins: web pages are let in with a key only, and none is configured; add one under server.api_keys (sluice key hash)")
	}
	for _, err := range c.Passthrough.faults() {
		fault("passthrough: %w", err)
	}
	if c.MetricsKey != "" {
		if _, err := parseHash(c.MetricsKey); err != nil {
			fault("metrics_key: %w", err)
		}
		if c.OpenMetrics {
			fault("open_metrics: metrics_key is given as well, and nobody would need it; give one of them")
		}
	}
	for _, l := range []struct {
		key   string
		value int64
		least int64
	}{
		{"max_body_bytes", c.MaxBodyBytes, 1}, {"max_upload_bytes", c.MaxUploadBytes, 1},
		{"max_header_bytes", int64(c.MaxHeaderBytes), 4096}, {"max_connections", int64(c.MaxConnections), 1},
		{"max_json_depth", int64(c.MaxJSONDepth), 1},
		{"tunnels.max_open", int64(c.Tunnels.MaxOpen), 0}, {"tunnels.max_bytes", c.Tunnels.MaxBytes, 0},
	} {
		if l.value < l.least {
			fault("%s: %d is less than %d", l.key, l.value, l.least)
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"read_header_timeout", c.ReadHeaderTimeout}, {"body_timeout", c.BodyTimeout},
		{"idle_timeout", c.IdleTimeout}, {"drain_timeout", c.DrainTimeout},
		{"tunnels.idle_timeout", c.Tunnels.IdleTimeout},
	} {
		if d.value <= 0 {
			fault("%s: %v is not a time above 0", d.key, d.value)
		}
	}
	for i, name := range c.ForwardHeaders {
		if err := checkForward(name); err != nil {
			fault("forward_headers[%d]: %w", i, err)
		}
	}
	return errors.Join(faults...)
}

// CheckFiles opens the files that the configuration names, as a start would, and
// changes nothing. It returns all faults as Validate does.
func (c Config) CheckFiles() error { return errors.Join(c.TLS.checkFiles()...) }

// Validate returns all faults, each as "key: what is wrong", the key below
// `stream`.
func (c StreamConfig) Validate() error {
	var faults []error
	if c.Heartbeat < 0 {
		faults = append(faults, fmt.Errorf("heartbeat: %v is below 0", c.Heartbeat))
	}
	if c.BufferBytes < 4096 {
		faults = append(faults, fmt.Errorf("buffer_bytes: %d is less than 4096", c.BufferBytes))
	}
	if c.WriteTimeout <= 0 {
		faults = append(faults, fmt.Errorf("write_timeout: %v is not a time above 0", c.WriteTimeout))
	}
	return errors.Join(faults...)
}

// loopback reports whether only this machine can reach host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

func checkForward(name string) error {
	bare := strings.TrimSuffix(name, "*")
	if bare == "" || !httpguts.ValidHeaderFieldName(bare) {
		return fmt.Errorf("%q is not a header name, or the beginning of one and \"*\"", name)
	}
	if bare == name && withheld(textproto.CanonicalMIMEHeaderKey(name)) {
		return fmt.Errorf("%q is never forwarded", name)
	}
	return nil
}

// parseHash reads "sha256:<hex>".
func parseHash(s string) (sum [32]byte, err error) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	if !ok || len(digits) != 64 {
		return sum, errors.New(`not "sha256:" and 64 hexadecimal digits; make one with: sluice key hash`)
	}
	if _, err := hex.Decode(sum[:], []byte(digits)); err != nil {
		return sum, fmt.Errorf("read hash: %w", err)
	}
	return sum, nil
}
