package gateway

import (
	"fmt"
	"slices"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/route"
)

// stages are the parts that every gateway may have, each after what it uses. Those
// that requests pass through stand in the order in which requests do.
func stages() []stage {
	return append(injected(), schemasStage(), codecStage(), responsesStage(), dedupStage(), cacheStage(), ratelimitStage(), batchStage(), admitStage(), routeStage())
}

// chain is what a request passes through below the front, and what belongs to one
// configuration.
type chain struct {
	handler  llm.Handler // the first stage
	router   *route.Router
	strict   bool          // requests of which something would be lost are refused
	parts    []*part       // in the order of their making
	handlers []llm.Handler // of each part; nil where it has no place in the way
	renewals []func()      // of parts that the chain before has too
}

// assembly is a chain in the making.
type assembly struct {
	*Gateway
	cfg    *config.Config
	before *chain // nil for none
	parts  []*part
	uses   []used // by the part that is being built
}

// assemble makes the chain of a configuration, with the parts of the chain before
// it where they are the same. It has no effect on that chain: the new one can be
// closed instead of being used.
func (g *Gateway) assemble(cfg *config.Config, before *chain) (_ *chain, err error) {
	a := &assembly{Gateway: g, cfg: cfg, before: before}
	// What a part keeps of its assembly must not keep the chain before, and all before that.
	defer func() { a.before, a.parts, a.uses = nil, nil, nil }()
	c := &chain{strict: cfg.Translate.Strict}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for _, s := range slices.Concat(upstreamStages(cfg), g.stages) {
		key := s.key(cfg)
		if key == nil {
			continue
		}
		p, renewal, err := a.make(s, key)
		if err != nil {
			return nil, fmt.Errorf("set up %s: %w", s.name, err)
		}
		p.chains.Add(1)
		a.parts = append(a.parts, p)
		c.parts = a.parts
		if renewal != nil {
			c.renewals = append(c.renewals, renewal)
		}
		if r, ok := p.is.(*route.Router); ok {
			c.router = r
		}
	}
	c.join()
	return c, nil
}

// make gives a part: that of the chain before where it is the same, else a new
// one.
func (a *assembly) make(s stage, key any) (p *part, renewal func(), err error) {
	if p := a.old(s.name); p != nil && !s.anew && p.fits(key, a.parts) {
		if p.renew != nil {
			renewal, err = p.renew(a.cfg)
		}
		return p, renewal, err
	}
	a.uses = nil
	if p, err = s.build(a); err != nil {
		return nil, nil, err
	}
	p.name, p.key, p.uses = s.name, key, a.uses
	return p, nil, nil
}

// old gives the part of a name in the chain before, nil for none.
func (a *assembly) old(name string) *part {
	if a.before == nil {
		return nil
	}
	return find(a.before.parts, name)
}

// predecessor gives what the part of a name is in the chain before: the zero T
// where there is none.
func predecessor[T any](a *assembly, name string) (is T) {
	if p := a.old(name); p != nil {
		is, _ = p.is.(T)
	}
	return is
}

// use gives what another part of the chain is, the zero T where there is none. The
// part that is being built will not outlive it, and not be there before it.
func use[T any](a *assembly, name string) (is T) {
	p := find(a.parts, name)
	a.uses = append(a.uses, used{name, p})
	if p != nil {
		is, _ = p.is.(T)
	}
	return is
}

// held gives what a part of the chain is, the zero T where there is none.
func held[T any](c *chain, name string) (is T) {
	if p := find(c.parts, name); p != nil {
		is, _ = p.is.(T)
	}
	return is
}

// join puts the stages in front of each other.
func (c *chain) join() {
	c.handlers = make([]llm.Handler, len(c.parts))
	var answers []answerer
	for i, p := range slices.Backward(c.parts) {
		if p.stage == nil {
			continue
		}
		c.handler = p.stage(c, c.handler)
		c.handlers[i] = c.handler
		if a, ok := c.handler.(answerer); ok {
			answers = append(answers, a)
		}
	}
	if _, ok := c.handler.(answerer); !ok && answers != nil || len(answers) > 1 {
		c.handler = answering{c.handler, answers}
	}
}

// answerer is a stage that answers requests for paths of its own.
type answerer interface{ Answers(path string) bool }

// answering is a chain of which other stages than the first have paths of their
// own.
type answering struct {
	llm.Handler
	stages []answerer
}

// Answers reports whether a stage answers requests for a path.
func (a answering) Answers(path string) bool {
	return slices.ContainsFunc(a.stages, func(s answerer) bool { return s.Answers(path) })
}

// commit has the parts take over from those of the chain before, which is nil for
// none. From here on the chain is used.
func (c *chain) commit(before *chain) {
	for _, renew := range c.renewals {
		renew()
	}
	c.renewals = nil
	for _, p := range c.without(before) {
		if p.commit == nil {
			continue
		}
		var old any
		if before != nil {
			old = held[any](before, p.name)
		}
		p.commit(old)
	}
}

// start begins the background work of the parts.
func (c *chain) start() {
	for _, p := range c.parts {
		p.start()
	}
}

// enter puts the figures of the parts into the registry, and tells each its handler.
func (c *chain) enter(registry *perf.Registry) {
	for i, p := range c.parts {
		p.join(registry)
		if p.use != nil {
			p.use(c.handlers[i])
		}
	}
}

// leave takes out what the next chain, nil for none, does not have, before that
// one enters: two upstreams of one name would spoil the scrape.
func (c *chain) leave(next *chain) {
	for _, p := range c.without(next) {
		p.leave()
		if p.use != nil {
			p.use(nil)
		}
	}
}

// close gives the parts back, each before those that it uses. A chain before this
// one may still have requests.
func (c *chain) close() {
	for _, p := range slices.Backward(c.parts) {
		p.release()
	}
}

// without lists the parts that other, which may be nil, does not share.
func (c *chain) without(other *chain) []*part {
	if other == nil {
		return c.parts
	}
	return slices.DeleteFunc(slices.Clone(c.parts), func(p *part) bool { return slices.Contains(other.parts, p) })
}
