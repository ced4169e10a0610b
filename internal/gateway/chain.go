package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/route"
	"sluice/internal/simulator"
	"sluice/internal/upstream"
	"sluice/internal/upstream/openai"
)

// simulatorName is the upstream that is there when none is configured.
const simulatorName = "simulator"

// chain is what a request passes through below the front, and what belongs to
// one configuration.
type chain struct {
	handler   llm.Handler // the first stage
	memory    *memory     // nil where the cache is off
	stage     llm.Handler // the cache's
	codec     *transcoder // nil where that is off
	router    *route.Router
	upstreams []*member
	forget    func() // takes the router's figures out of the registry

	stop  context.CancelFunc
	ctx   context.Context
	tasks sync.WaitGroup
}

// member is one upstream. Chains share it while its configuration stays the
// same, so that a reload keeps warm connections.
type member struct {
	cfg    config.Upstream
	stream openai.StreamConfig
	client *upstream.Client
	serve  *openai.Handler
	forget func()       // takes the client's figures out; nil while they are not in
	chains atomic.Int32 // that hold it; the last one closes it
}

// assemble builds the chain of a configuration, with the members of the chain
// before it where they are the same.
func (g *Gateway) assemble(cfg *config.Config, before *chain) (_ *chain, err error) {
	c := &chain{}
	c.ctx, c.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	list := cfg.Upstreams
	if len(list) == 0 {
		sim, err := g.simulated(cfg)
		if err != nil {
			return nil, err
		}
		list = []config.Upstream{sim}
	}
	var routed []route.Upstream
	for _, u := range list {
		stream := openai.StreamConfig{
			FlushInterval: cfg.Stream.FlushInterval, MaxEventBytes: cfg.Stream.MaxEventBytes,
			FirstEventTimeout: u.HTTPClient.FirstEventTimeout, IdleTimeout: u.HTTPClient.IdleTimeout,
		}
		m := before.find(u, stream)
		if m == nil {
			if m, err = g.connect(u, stream); err != nil {
				return nil, fmt.Errorf("set up upstream %s: %w", u.Name, err)
			}
		}
		m.chains.Add(1)
		c.upstreams = append(c.upstreams, m)
		id := identity(u)
		if len(cfg.Upstreams) == 0 {
			id = simulatorName // whatever its port
		}
		routed = append(routed, route.Upstream{Name: u.Name, Handler: m.serve, Weight: u.Weight, Models: u.Models, Identity: id})
	}
	if c.memory, err = g.remember(cfg, before); err != nil {
		return nil, fmt.Errorf("set up cache: %w", err)
	}
	var lists []route.List
	if c.memory != nil {
		c.memory.chains.Add(1)
		if before == nil {
			lists = readAside(c.memory.cache.Restored()).Lists
		}
	}
	c.router, err = route.New(cfg.Route, routed, route.Options{
		Logger: g.log, Before: before.routerOrNil(), ModelsTTL: cfg.Cache.ModelsTTL, Lists: lists,
	})
	if err != nil {
		return nil, fmt.Errorf("set up routing: %w", err)
	}
	c.handler = c.router
	if c.memory != nil {
		c.stage = c.memory.cache.Stage(c.router, c.router)
		c.handler = c.stage
	}
	if c.codec, err = g.transcode(cfg, before); err != nil {
		return nil, fmt.Errorf("set up protobuf: %w", err)
	}
	if c.codec != nil {
		c.codec.chains.Add(1)
		c.handler = c.codec.codec.Stage(c.handler)
	}
	return c, nil
}

// connect makes a new member.
func (g *Gateway) connect(u config.Upstream, stream openai.StreamConfig) (*member, error) {
	base, err := url.Parse(u.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse base_url: %w", err)
	}
	client, err := upstream.New(u.HTTPClient, upstream.Options{Name: u.Name, BaseURL: base, Logger: g.log})
	if err != nil {
		return nil, err
	}
	serve, err := openai.New(u.Config, u.Name, client, stream)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &member{cfg: u, stream: stream, client: client, serve: serve}, nil
}

func (c *chain) routerOrNil() *route.Router {
	if c == nil {
		return nil
	}
	return c.router
}

func (c *chain) find(u config.Upstream, stream openai.StreamConfig) *member {
	if c == nil {
		return nil
	}
	i := slices.IndexFunc(c.upstreams, func(m *member) bool {
		return m.stream == stream && reflect.DeepEqual(m.cfg, u)
	})
	if i < 0 {
		return nil
	}
	return c.upstreams[i]
}

// start begins the chain's background work: warm connections, model lists.
func (c *chain) start() {
	for _, m := range c.upstreams {
		c.tasks.Go(func() { m.client.Warm(c.ctx) })
	}
	c.tasks.Go(func() { _ = c.router.Run(c.ctx) })
	if c.memory != nil {
		c.memory.start()
	}
}

// join puts the chain's figures into the registry and makes it the one by which
// the cache itself asks.
func (c *chain) join(figures *perf.Registry) {
	c.forget = figures.Register("route", c.router)
	if m := c.memory; m != nil {
		m.cache.Use(c.stage)
		if m.forget == nil {
			m.join(figures)
		}
	}
	if t := c.codec; t != nil && t.forget == nil {
		t.forget = figures.Register("codec", t.codec)
	}
	for _, m := range c.upstreams {
		if m.forget == nil {
			m.forget = figures.Register("upstream", m.client)
		}
	}
}

// leave takes out what the next chain does not have, before that one joins:
// two upstreams of one name would spoil the scrape.
func (c *chain) leave(next *chain) {
	c.forget()
	for _, m := range c.without(next) {
		m.forget()
	}
	if m := c.memory; m != nil && (next == nil || next.memory != m) {
		m.leave()
		m.cache.Use(nil)
		if next != nil && next.memory != nil {
			m.cache.Retire()
		}
	}
	if t := c.codec; t != nil && (next == nil || next.codec != t) {
		t.forget()
	}
}

// close ends the background work and closes the members that no other chain
// holds. A chain before this one may still have requests.
func (c *chain) close() {
	c.stop()
	c.tasks.Wait()
	if m := c.memory; m != nil && m.chains.Add(-1) == 0 {
		m.close() // before the upstreams, which it asks
	}
	if t := c.codec; t != nil && t.chains.Add(-1) == 0 {
		t.codec.Close()
	}
	for _, m := range c.upstreams {
		if m.chains.Add(-1) == 0 {
			m.client.Close()
		}
	}
}

// without lists the members that other, which may be nil, does not share.
func (c *chain) without(other *chain) []*member {
	if other == nil {
		return c.upstreams
	}
	return slices.DeleteFunc(slices.Clone(c.upstreams), func(m *member) bool {
		return slices.Contains(other.upstreams, m)
	})
}

// simulated starts the simulator where it does not run yet, and describes it
// as an upstream.
func (g *Gateway) simulated(cfg *config.Config) (config.Upstream, error) {
	if g.sim == nil {
		sim := simulator.New(simulator.Config{})
		addr, err := sim.Listen("127.0.0.1:0")
		if err != nil {
			return config.Upstream{}, fmt.Errorf("start simulator: %w", err)
		}
		g.sim, g.simAddr = sim, addr.String()
		go func() {
			if err := sim.Serve(); err != nil {
				g.log.Error("simulator ended", "error", err)
			}
		}()
	}
	return config.Upstream{
		Name:       simulatorName,
		Config:     openai.Config{BaseURL: "http://" + g.simAddr + "/v1"},
		Weight:     1,
		HTTPClient: cfg.HTTPClient,
	}, nil
}

// frontConfig is the front's configuration; the simulator's fault header is
// let through where the simulator is the upstream, and no more connections are
// than there are file descriptors for.
func (g *Gateway) frontConfig(cfg *config.Config) front.Config {
	fc := cfg.Server
	fc.MaxConnections = g.affordable(cfg)
	if len(cfg.Upstreams) == 0 {
		fc.ForwardHeaders = append(slices.Clone(fc.ForwardHeaders), "X-Sim-Fault")
	}
	return fc
}

func (g *Gateway) closeSimulator() {
	if g.sim == nil {
		return
	}
	if err := g.sim.Close(); err != nil && !errors.Is(err, context.Canceled) {
		g.log.Warn("close simulator", "error", err)
	}
	g.sim = nil
}
