// Package gateway assembles Sluice from its parts. It is the only place where
// they meet: what a stage holds, which upstreams there are, what is closed in
// which order.
//
// It promises that a configuration can be swapped for another one without
// dropping a request: requests that have begun finish on the parts they began
// on, and an upstream whose configuration did not change keeps its warm
// connections.
package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/codec"
	"sluice/internal/config"
	"sluice/internal/dashboard"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/memory/leak"
	"sluice/internal/perf"
	"sluice/internal/perf/process"
	"sluice/internal/perf/profiles"
	"sluice/internal/redis"
	"sluice/internal/spool"
)

// Options are what a Gateway needs besides its configuration.
type Options struct {
	Logger  *slog.Logger // nil logs nothing
	Version string
	Stdout  io.Writer // takes the start-up text; nil for none

	// AccessLog takes a line for each request; nil for none.
	AccessLog io.Writer
}

// Gateway is a whole Sluice. Its methods are safe for concurrent use, but for
// Listen and Run, which are called once each.
type Gateway struct {
	opts    Options
	log     *slog.Logger
	figures *perf.Registry
	monitor *monitor
	started time.Time
	redis   redis.Servers // that parts keep things in
	memory  *memory.Governor
	spools  *spool.Store
	front   *front.Server
	leaks   *leak.Watch
	live    atomic.Pointer[chain] // for requests that Close may wait for

	stages []stage
	hop    string // by which it knows requests that come back

	mu     sync.Mutex // guards what Reload changes
	cfg    *config.Config
	chain  *chain
	closed bool

	retired sync.WaitGroup // chains that still have requests
}

// New assembles a Gateway from a configuration that has been validated.
// Nothing is sent to an upstream and nothing listens for clients yet; the
// simulator, where no upstream is configured, listens on loopback.
func New(cfg *config.Config, o Options) (*Gateway, error) { return newGateway(cfg, o, stages()) }

func newGateway(cfg *config.Config, o Options, stages []stage) (*Gateway, error) {
	g := &Gateway{opts: o, log: o.Logger, cfg: cfg, figures: perf.New(), started: time.Now(), stages: stages, hop: llm.NewHop()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.memory = memory.New(memory.Options{Logger: g.log, Cached: g.stored, Bound: g.boundStored, Tasks: g.tasks})
	g.memory.Budget.Account(streamsAccount).AtMost(streamsShare)
	g.memory.Budget.Account(simulatorName).AtMost(simulatorShare)
	g.spools = spool.New(cfg.Memory, g.memory, g.log)
	if limit, ok := process.MaxFiles(); ok {
		g.spools.MostFiles = spoolFiles(limit)
	}
	if err := g.build(cfg); err != nil {
		if g.monitor != nil {
			g.monitor.close()
		}
		if g.chain != nil {
			g.chain.close()
		}
		return nil, err
	}
	g.tellFewer(cfg)
	g.figures.Register("front", g.front)
	g.figures.Register("process", process.New(g.started))
	g.figures.Register("process", &sockets{g.shortage})
	g.leaks = leak.New(leak.Options{Read: g.readLoad, Logger: g.log})
	g.figures.Register("process", g.leaks)
	g.live.Store(g.chain)
	g.memory.Use(cfg.Memory)
	g.chain.commit(nil)
	g.chain.enter(g.figures)
	g.monitor.traffic.Know(func(model string) bool { return g.live.Load().router.Known(model) })
	return g, nil
}

// build makes the parts. What is there when it fails is to be closed.
func (g *Gateway) build(cfg *config.Config) (err error) {
	if g.chain, err = g.assemble(cfg, nil); err != nil {
		return err
	}
	if g.monitor, err = g.observe(cfg); err != nil {
		return fmt.Errorf("set up monitoring: %w", err)
	}
	profile := &profiles.Profiles{}
	g.front, err = front.New(frontConfig(cfg, g.chain), cfg.Stream.StreamConfig, g.chain.handler, front.Options{
		Memory:  g.memory,
		Spools:  g.spools,
		Logger:  g.log,
		Metrics: g.figures,
		Version: g.opts.Version,
		Hop:     g.hop,
		Ready:   g.ready,
		Routes: slices.Concat(g.schemaRoutes(int64(cfg.Protobuf.Catalog.MaxSchemaBytes)), g.monitor.routes(), []front.Route{
			{Method: "DELETE", Path: "/v1/cache", Handler: front.JSON(g.purge)},
			{Method: "GET", Path: "/v1/health/detailed", Handler: front.JSON(g.health)},
			{Method: "GET", Path: profiles.Path, Handler: profile},
			{Method: "GET", Path: profiles.Path + "/", Handler: profile},
		}),
		Observers: g.monitor.observers(), KeepReplies: g.monitor.wantsReplies, Tracer: g.monitor.tracer(), Pages: dashboard.Handler(),
	})
	if err != nil {
		return fmt.Errorf("set up listener: %w", err)
	}
	return nil
}

// Listen opens the listening socket and returns its address.
func (g *Gateway) Listen() (net.Addr, error) { return g.front.Listen() }

// Run answers requests until ctx is done, then lets those under way finish
// within server.drain_timeout, and closes everything. It calls Listen where
// that was not done.
func (g *Gateway) Run(ctx context.Context) error {
	addr, err := g.front.Listen()
	if err != nil {
		_ = g.Close()
		return err
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.chain.start()
	if g.opts.Stdout != nil {
		g.announce(g.opts.Stdout, addr)
	}
	g.mu.Unlock()
	beside, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	g.monitor.timeline.Start() // before requests come, so that it knows all of them
	tasks.Go(func() { g.memory.Run(beside) })
	tasks.Go(func() { g.leaks.Run(beside) })
	tasks.Go(func() { g.watch(beside) })
	tasks.Go(func() { g.monitor.run(beside) })
	err = g.front.Serve(ctx)
	stop()
	tasks.Wait()
	_ = g.Close()
	return err
}

// Reload swaps in another configuration that has been validated. When it
// cannot be used the error says why, and nothing has changed.
func (g *Gateway) Reload(cfg *config.Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fmt.Errorf("reload configuration: the gateway is closed")
	}
	next, err := g.assemble(cfg, g.chain)
	if err != nil {
		return fmt.Errorf("reload configuration: %w", err)
	}
	edge, err := g.front.Prepare(frontConfig(cfg, next), cfg.Stream.StreamConfig, next.handler)
	if err != nil {
		next.close()
		return fmt.Errorf("reload configuration: %w", err)
	}
	g.swap(cfg, next, edge)
	return nil
}

// swap puts what was prepared in the place of what is in use. It cannot fail.
func (g *Gateway) swap(cfg *config.Config, next *chain, edge *front.Prepared) {
	old := g.chain
	g.live.Store(next) // first: what is purged from here on must not be taken over
	g.memory.Use(cfg.Memory)
	g.spools.Use(cfg.Memory)
	next.commit(old)
	if c := held[*cached](old, "cache"); c != nil && c != held[*cached](next, "cache") {
		c.Bound(0) // it may outlive this for as long as a stream does
	}
	if c := held[*codec.Codec](old, "codec"); c != nil && c != held[*codec.Codec](next, "codec") {
		c.Bound(0)
	}
	next.start() // before requests come: it has model lists to read
	idle := edge.Commit()
	old.leave(next)
	next.enter(g.figures)
	g.cfg, g.chain = cfg, next
	g.monitor.use(cfg)
	g.retired.Go(func() {
		<-idle
		old.close()
	})
	g.tellFewer(cfg)
	g.log.Info("configuration reloaded", "upstreams", len(members(next.parts)))
}

// Close ends every request and frees everything. It is safe to call twice.
func (g *Gateway) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	err := g.front.Close()
	g.retired.Wait()
	g.chain.leave(nil)
	g.chain.close()
	g.monitor.close()
	return err
}

// ready is called by a request that Close may be waiting for, so it takes no
// lock.
func (g *Gateway) ready() error { return g.live.Load().router.Ready() }

// HashKey gives the form in which a client's key stands in the configuration.
func HashKey(key string) string { return front.HashKey(key) }
