package gateway

import (
	"context"
	"errors"
	"sync"

	"sluice/internal/config"
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/route"
	"sluice/internal/simulator"
	"sluice/internal/translate"
	"sluice/internal/upstream"
	"sluice/internal/upstream/openai"
)

// simulatorName is the upstream that is there when none is configured.
const simulatorName = "simulator"

// simulatorShare is what part of the memory budget its replies may have.
const simulatorShare = 0.5

// member is one upstream. Chains share it while its configuration stays the
// same, so that a reload keeps warm connections.
type member struct {
	cfg      config.Upstream
	identity string
	client   *upstream.Client
	protocol llm.Handler // its protocol's
	serve    llm.Handler // that with translation in front
}

// memberKey is what a member is made of.
type memberKey struct {
	cfg       config.Upstream
	stream    upstream.StreamConfig
	translate translate.Config
}

// upstreamStages make the upstreams of a configuration, or the simulator as one.
func upstreamStages(cfg *config.Config) (list []stage) {
	if len(cfg.Upstreams) == 0 {
		u := config.Upstream{Name: simulatorName, Weight: 1, HTTPClient: cfg.HTTPClient}
		return []stage{simulatorStage(), upstreamStage(cfg, u, func(a *assembly) (*member, error) {
			u := u
			u.Settings = &openai.Config{BaseURL: "http://" + use[*service](a, simulatorName).addr + "/v1"}
			m, err := a.connect(u, cfg)
			if err == nil {
				m.identity = simulatorName // whatever its port
			}
			return m, err
		})}
	}
	for _, u := range cfg.Upstreams {
		list = append(list, upstreamStage(cfg, u, func(a *assembly) (*member, error) { return a.connect(u, cfg) }))
	}
	return list
}

func upstreamStage(cfg *config.Config, u config.Upstream, connect func(*assembly) (*member, error)) stage {
	key := memberKey{u, streamConfig(cfg, u), cfg.Translate}
	return stage{
		name: "upstream " + u.Name,
		key:  func(*config.Config) any { return key },
		build: func(a *assembly) (*part, error) {
			m, err := connect(a)
			if err != nil {
				return nil, err
			}
			return m.part(), nil
		},
	}
}

// part makes a part of the member, with what its protocol's handler has of a part.
func (m *member) part() *part {
	p := &part{is: m, figures: []figures{{"upstream", m.client}}, close: m.client.Close}
	if source, ok := m.protocol.(perf.Source); ok {
		p.figures = append(p.figures, figures{"upstream", source})
	}
	if translation, ok := m.serve.(*translate.Handler); ok {
		p.figures = append(p.figures, figures{"translate", translation})
	}
	if h, ok := m.protocol.(interface{ Close() }); ok {
		p.close = func() { h.Close(); m.client.Close() }
	}
	if h, ok := m.protocol.(interface{ Renew() }); ok {
		p.renew = func(*config.Config) (func(), error) { return h.Renew, nil }
	}
	return p
}

// warm opens connections in advance, and has the protocol's handler get ready.
func (m *member) warm(ctx context.Context) {
	m.client.Warm(ctx)
	if h, ok := m.protocol.(interface{ Warm(context.Context) }); ok {
		h.Warm(ctx)
	}
}

// streamConfig is how the streams of an upstream are read.
func streamConfig(cfg *config.Config, u config.Upstream) upstream.StreamConfig {
	return upstream.StreamConfig{
		FlushInterval: cfg.Stream.FlushInterval, MaxEventBytes: cfg.Stream.MaxEventBytes,
		FirstEventTimeout: u.HTTPClient.FirstEventTimeout, IdleTimeout: u.HTTPClient.IdleTimeout,
	}
}

// connect makes a new member.
func (g *Gateway) connect(u config.Upstream, cfg *config.Config) (*member, error) {
	base, err := u.Settings.Base()
	if err != nil {
		return nil, err
	}
	client, err := upstream.New(u.HTTPClient, upstream.Options{Name: u.Name, BaseURL: base, Logger: g.log, Buffers: &g.memory.Buffers, Hop: g.hop})
	if err != nil {
		return nil, err
	}
	protocol, err := u.Settings.Handler(upstream.Setup{Name: u.Name, Client: client, Stream: streamConfig(cfg, u)})
	if err != nil {
		client.Close()
		return nil, err
	}
	serve := translate.New(protocol, g.translation(u, cfg.Translate))
	return &member{cfg: u, identity: identityWith(u, cfg.Translate), client: client, protocol: protocol, serve: serve}, nil
}

// maxTranslated bounds a whole reply that is translated, in bytes.
const maxTranslated = 32 << 20

// translation is how requests for an upstream are translated.
func (g *Gateway) translation(u config.Upstream, cfg translate.Config) translate.Options {
	speech := upstream.SpeechOf(u.Settings)
	o := translate.Options{
		To: speech.Asks, Options: dialect.Options{MaxTokens: cfg.MaxTokens, CompletionTokens: speech.CompletionTokens},
		Strict: cfg.Strict, MaxReply: maxTranslated, Buffers: &g.memory.Buffers, Account: g.memory.Budget.Account("translate"), Name: u.Name,
	}
	for _, op := range speech.Native {
		o.Native[op] = true
	}
	for _, op := range speech.Perhaps {
		o.Perhaps[op] = true
	}
	return o
}

// members are the upstreams among some parts.
func members(parts []*part) (list []*member) {
	for _, p := range parts {
		if m, ok := p.is.(*member); ok {
			list = append(list, m)
		}
	}
	return list
}

// service is the simulator and where it listens.
type service struct {
	addr string
}

// simulatorStage makes the simulator, which listens on loopback, where no upstream is
// configured.
func simulatorStage() stage {
	return stage{
		name: simulatorName,
		key:  func(*config.Config) any { return simulator.Config{} },
		build: func(a *assembly) (*part, error) {
			sim := simulator.New(simulator.Config{Account: a.memory.Budget.Account(simulatorName)})
			addr, err := sim.Listen("127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			end := sync.OnceFunc(func() {
				if err := sim.Close(); err != nil && !errors.Is(err, context.Canceled) {
					a.log.Warn("close simulator", "error", err)
				}
			})
			return &part{is: &service{addr.String()}, close: end, run: func(ctx context.Context) {
				defer context.AfterFunc(ctx, end)()
				if err := sim.Serve(); err != nil {
					a.log.Error("simulator ended", "error", err)
				}
			}}, nil
		},
	}
}

// routeStage ends the way: it brings requests to upstreams. Each chain has a router
// of its own, which learns from the one before.
func routeStage() stage {
	return stage{name: "route", anew: true, key: func(cfg *config.Config) any { return cfg.Route }, build: func(a *assembly) (*part, error) {
		ups := members(a.parts)
		routed := make([]route.Upstream, len(ups))
		admits := use[*admission](a, "admit")
		for i, m := range ups {
			up := route.Upstream{Name: m.cfg.Name, Handler: admits.before(m.cfg.Name, m.serve), Weight: m.cfg.Weight, Models: m.cfg.Models, Identity: m.identity}
			if h, ok := m.serve.(*translate.Handler); ok {
				up.Translates = h.Translates
			}
			routed[i] = up
		}
		o := route.Options{Logger: a.log, Before: predecessor[*route.Router](a, "route"), ModelsTTL: a.cfg.Cache.ModelsTTL, Spools: a.spools}
		if c := use[*cached](a, "cache"); c != nil && a.before == nil {
			o.Lists = readAside(c.Restored()).Lists
		}
		router, err := route.New(a.cfg.Route, routed, o)
		if err != nil {
			return nil, err
		}
		return &part{
			is: router, figures: []figures{{"route", router}},
			stage: func(*chain, llm.Handler) llm.Handler { return router },
			// Warm connections and model lists.
			run: func(ctx context.Context) {
				var tasks sync.WaitGroup
				for _, m := range ups {
					tasks.Go(func() { m.warm(ctx) })
				}
				_ = router.Run(ctx)
				tasks.Wait()
			},
		}, nil
	}}
}
