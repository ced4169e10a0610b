// Package front is the HTTP surface of Sluice: it listens, checks keys, reads
// and checks requests, and writes replies, over HTTP/1.1 and HTTP/2.
//
// It promises that a request which reaches the chain of handlers has been
// authenticated, is bounded in size and depth and carries no credentials of
// the client; that reply bytes reach the client as they came; that the first
// event of a stream leaves at once and events that arrive together leave in
// one write; that a cut reply never looks complete; and that a slow or dead
// client holds a bounded amount of memory for a bounded time.
package front

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean"
	"sluice/internal/front/nethttp"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
	"sluice/internal/spool"
)

// Options are what a Server needs besides its configuration. Every one may be
// left out.
type Options struct {
	Logger  *slog.Logger // discards by default
	Metrics llm.Handler  // answers /metrics; without it that is a 404
	Version string       // goes into the Server header as "sluice/VERSION"

	Memory *memory.Governor // makes its own, without bounds, by default

	// Spools keep forms aside until their model comes; it makes its own of Memory, with
	// the bounds that memory.Default has, by default.
	Spools *spool.Store

	// Observers are told of every API request when it has ended. Those to
	// /healthz, /readyz, /metrics and Pages are none.
	Observers []perf.Observer

	// KeepReplies says whether an observer wants the bytes of whole replies, of
	// up to 64 KiB, which then are copied. Nil: none does.
	KeepReplies func() bool

	// Tracer decides which requests get spans. Without one a client's trace
	// context passes as it came.
	Tracer perf.Tracer

	// Pages answers GET and HEAD for /dashboard and what is below it, without a
	// key. Nil: there is no such page.
	Pages llm.Handler

	// Hop is the gateway's name in llm.LoopField: requests that have it are refused. Empty
	// for none.
	Hop string

	// Routes are requests for administrators. Among them every pair of method
	// and path is there once.
	Routes []Route

	// Ready says why requests cannot be answered, nil when they can; /readyz
	// shows it. It is called from any goroutine and does not block.
	Ready func() error
}

// Server is the HTTP surface. Its methods are safe for concurrent use.
type Server struct {
	log     *slog.Logger
	metrics llm.Handler
	server  string // value of the Server header
	routes  map[string][]Route
	ready   func() error
	pages   llm.Handler
	tracer  perf.Tracer

	observers   []perf.Observer
	keepReplies func() bool

	engine engine.Engine
	certs  *certificates
	state  atomic.Pointer[state]

	mu       sync.Mutex // one Commit or Listen at a time
	listener net.Listener

	draining atomic.Bool
	inFlight atomic.Int64 // API requests
	asking   atomic.Int64 // of these, those to the gateway itself
	aside    atomic.Int64 // other requests, and live streams
	endings  endings
	base     context.Context
	cutShort context.CancelCauseFunc // ends every request
	leaving  context.Context         // done when WebSockets are to end
	leave    context.CancelFunc

	memory *memory.Governor
	held   *memory.Account // what requests hold
	spools *spool.Store

	connected *memory.Account // what open connections take

	uploads uploads

	// Replies on their way whose clients need no key, and those with figures.
	strangers, readers crowd
	rendering          chan struct{} // has room for one

	forwarded []string // request fields that upstreams always see
	hop       string   // see Options
	pools
	stats stats
}

// state is what a Prepared replaces. It is not modified.
type state struct {
	cfg     Config
	stream  StreamConfig
	handler llm.Handler
	keys    keyring
	answers func(path string) bool // the handler's own paths; nil for none

	metricsKey *[sha256.Size]byte // nil for none
	forward    forwarding

	ended context.Context // done when live streams are to end
	end   context.CancelFunc

	users   atomic.Int64
	retired atomic.Bool
	once    sync.Once
	idle    chan struct{}
}

func newState(cfg Config, sc StreamConfig, h llm.Handler) (*state, error) {
	if err := errors.Join(cfg.Validate(), sc.Validate()); err != nil {
		return nil, err
	}
	keys, err := newKeyring(&cfg)
	if err != nil {
		return nil, err
	}
	st := &state{
		cfg: cfg, stream: sc, handler: h, keys: keys,
		forward: newForwarding(cfg.ForwardHeaders), idle: make(chan struct{}),
	}
	if o, ok := h.(interface{ Answers(path string) bool }); ok {
		st.answers = o.Answers
	}
	if cfg.MetricsKey != "" {
		sum, err := parseHash(cfg.MetricsKey)
		if err != nil {
			return nil, fmt.Errorf("metrics_key: %w", err)
		}
		st.metricsKey = &sum
	}
	st.ended, st.end = context.WithCancel(context.Background())
	return st, nil
}

// acquire returns the current state, which stays in use until release.
func (s *Server) acquire() *state {
	for {
		st := s.state.Load()
		st.users.Add(1)
		if s.state.Load() == st {
			return st
		}
		st.release()
	}
}

func (st *state) release() {
	if st.users.Add(-1) == 0 && st.retired.Load() {
		st.once.Do(func() { close(st.idle) })
	}
}

func (st *state) retire() {
	st.end()
	st.users.Add(1)
	st.retired.Store(true)
	st.release()
}

// errShutdown is the cause with which requests end that outlast the drain.
var errShutdown = &llm.Error{
	Fault: llm.ShuttingDown, Status: 503, Type: llm.TypeServer, Code: "shutting_down",
	Message: "The gateway is shutting down and the request took too long to finish. Send it again.", RetryAfter: time.Second,
}

// New makes a Server that hands requests to h.
func New(cfg Config, sc StreamConfig, h llm.Handler, o Options) (*Server, error) {
	st, err := newState(cfg, sc, h)
	if err != nil {
		return nil, err
	}
	s := &Server{
		log: o.Logger, metrics: o.Metrics, ready: o.Ready, pages: o.Pages, tracer: o.Tracer,
		observers: o.Observers, keepReplies: o.KeepReplies,
		endings: newEndings(), rendering: make(chan struct{}, 1),
		server: "sluice", routes: routesByPath(o.Routes), forwarded: forwarded(), hop: o.Hop,
	}
	s.gatewayTime.prefix, s.upstreamTime.prefix, s.queueTime.prefix = "gateway;dur=", "upstream;dur=", "queue;dur="
	if s.memory = o.Memory; s.memory == nil {
		s.memory = new(memory.Governor)
	}
	s.connected = s.memory.Budget.Account("connections")
	s.connected.AtMost(connectedShare)
	s.memory.Budget.Hurry = s.uploads.hurry
	s.buffers, s.held = &s.memory.Buffers, s.memory.Budget.Account("requests")
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Version != "" {
		s.server += "/" + o.Version
	}
	if s.spools = o.Spools; s.spools == nil {
		s.spools = spool.New(memory.Default(), s.memory, s.log)
	}
	s.state.Store(st)
	s.base, s.cutShort = context.WithCancelCause(context.Background())
	s.leaving, s.leave = context.WithCancel(context.Background())
	if err := s.loadCertificates(cfg.TLS); err != nil {
		return nil, err
	}
	s.engine = s.newEngine(cfg)
	return s, nil
}

func (s *Server) loadCertificates(cfg TLSConfig) error {
	if cfg.Cert == "" {
		return nil
	}
	certs, err := newCertificates(cfg, s.log)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	s.certs = certs
	return nil
}

// newEngine makes what speaks HTTP. It is the only place that says which that is.
func (s *Server) newEngine(cfg Config) engine.Engine {
	o := engine.Options{
		Handler: s, Log: s.log, Buffers: s.buffers, Base: s.base, Room: s.connRoom, Give: s.connected.Give,
		MaxHeaderBytes: cfg.MaxHeaderBytes, ReadHeaderTimeout: cfg.ReadHeaderTimeout, IdleTimeout: cfg.IdleTimeout,
		WriteTimeout: func() time.Duration { return s.state.Load().stream.WriteTimeout },
	}
	if s.certs != nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certs.get}
	}
	library := nethttp.New(o)
	if cfg.Engine == EngineNetHTTP {
		return library
	}
	return lean.New(o, library)
}

// Listen opens the listening socket and returns its address.
func (s *Server) Listen() (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return s.listener.Addr(), nil
	}
	cfg := &s.state.Load().cfg
	lc := net.ListenConfig{Control: boundUnsent}
	l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(strings.Trim(cfg.Host, "[]"), strconv.Itoa(cfg.Port)))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.listener = &listener{Listener: l, server: s}
	return l.Addr(), nil
}

// Serve answers requests, calling Listen first where that was not done, until
// ctx is done. Then it drains for at most the configured drain_timeout. It
// returns nil after Drain or Close too.
func (s *Server) Serve(ctx context.Context) error {
	if _, err := s.Listen(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Serve(s.listener) }()
	var drained error
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.state.Load().cfg.DrainTimeout)
		defer cancel()
		drained = s.Drain(limit)
	}
	return errors.Join(drained, <-ended)
}

// Prepared is another configuration and handler for a Server, checked and read in
// full, with which nothing can go wrong any more. One that is not used is dropped.
type Prepared struct {
	server *Server
	state  *state
	cert   *certificate // nil without TLS
}

// Prepare checks a configuration and a handler that are to replace those in use.
// It changes nothing. The address, the engine, whether TLS is used, and the limits of the
// listener itself (max_header_bytes, read_header_timeout, idle_timeout) cannot
// change without a restart: the error says so where they differ.
func (s *Server) Prepare(cfg Config, sc StreamConfig, h llm.Handler) (*Prepared, error) {
	if err := restartNeeded(&s.state.Load().cfg, &cfg); err != nil {
		return nil, err
	}
	st, err := newState(cfg, sc, h)
	if err != nil {
		return nil, err
	}
	p := &Prepared{server: s, state: st}
	if s.certs != nil {
		if p.cert, err = readCertificate(cfg.TLS); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	return p, nil
}

// Commit puts it in the place of what is in use. Requests that have begun go on
// with that; idle is closed when the last of them has ended, and the old handler
// can then be closed.
func (p *Prepared) Commit() (idle <-chan struct{}) {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.cert != nil {
		s.certs.use(p.cert)
	}
	old := s.state.Swap(p.state)
	old.retire()
	return old.idle
}

func restartNeeded(old, cfg *Config) error {
	var faults []error
	for _, k := range []struct {
		key     string
		changed bool
	}{
		{"host", old.Host != cfg.Host}, {"port", old.Port != cfg.Port}, {"engine", old.Engine != cfg.Engine},
		{"tls", (old.TLS.Cert == "") != (cfg.TLS.Cert == "")},
		{"max_header_bytes", old.MaxHeaderBytes != cfg.MaxHeaderBytes},
		{"read_header_timeout", old.ReadHeaderTimeout != cfg.ReadHeaderTimeout},
		{"idle_timeout", old.IdleTimeout != cfg.IdleTimeout},
	} {
		if k.changed {
			faults = append(faults, fmt.Errorf("%s: a change takes a restart", k.key))
		}
	}
	return errors.Join(faults...)
}

// Drain refuses new API requests with 503, /readyz too, waits until those under
// way have ended, and closes everything. WebSockets, which end when their clients
// please, are told to end at once. When ctx is done the rest are ended,
// with an error that their clients see, and Drain says how many there were.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.state.Load().end()
	s.leave()
	var err error
	if !s.quiet(ctx) {
		err = fmt.Errorf("drain: %d requests had to be cut short: %w", s.inFlight.Load(), context.Cause(ctx))
		s.cutShort(errShutdown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		s.quiet(last)
		cancel()
	}
	// The last replies may still be on their way to the socket, which Shutdown
	// waits for. It would wait longer for connections without a request.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.engine.Shutdown(last)
	return errors.Join(err, s.Close())
}

// quiet waits for the last request and reports whether it ended in time.
func (s *Server) quiet(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return s.inFlight.Load() == 0
		case <-tick.C:
		}
	}
	return true
}

// Close ends every request and closes the listener and all connections.
func (s *Server) Close() error {
	s.draining.Store(true)
	s.leave()
	s.cutShort(errShutdown)
	err := s.engine.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		// Where Serve was never called the engine does not know the listener.
		if lerr := s.listener.Close(); !errors.Is(lerr, net.ErrClosed) {
			err = errors.Join(err, lerr)
		}
	}
	if err != nil {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}
