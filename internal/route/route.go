// Package route brings each request to an upstream that serves its model, and
// to another one when that fails.
//
// It promises that a request is sent again only where no upstream can have
// acted on it or one said that it did not, and never after the first byte of a
// reply. The one exception is a stream that was cut or stalled before its
// first event. It is the only part of Sluice that repeats requests.
package route

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// Upstream is a model service that requests can go to.
type Upstream struct {
	Name    string // of letters, digits, '.', '_' and '-'
	Handler llm.Handler

	// Weight is the share of the requests for a model that several upstreams
	// serve; less than 1 is 1.
	Weight int

	// Models are the models it serves. One that ends in "*" stands for all
	// that begin so. When there are none the upstream is asked for its list.
	Models []string
}

// Options are what a Router needs besides its configuration. All may be zero.
type Options struct {
	Logger *slog.Logger
	// Rand gives a random number in [0, 1), from any goroutine.
	Rand func() float64
	// Before is the Router that this one takes the place of. What it knows of
	// upstreams whose Handler is the same goes over.
	Before *Router
}

// Router is the llm.Handler at the end of the chain of stages. It is safe for
// concurrent use.
type Router struct {
	cfg        Config
	ups        []*upstream
	byName     map[string]*upstream
	def        *upstream
	allStatic  bool
	aliases    map[string]string // to what they stand for in the end
	aliasNames []string
	log        *slog.Logger
	rand       func() float64
	clock      clock

	table atomic.Pointer[table]
	kick  chan struct{} // has Run read the lists

	mu         sync.Mutex
	news       chan struct{} // closed when a list changed or a reading ended
	running    bool
	refreshing bool          // or about to
	refreshed  bool          // every list was asked for at least once
	asked      time.Duration // when an unknown name last had the lists read

	fallbacks, unavailable, notFounds atomic.Uint64
	retries                           [outcomes]atomic.Uint64
}

// upstream is an Upstream and what is known of it.
type upstream struct {
	Upstream
	router  *Router
	breaker breaker
	cooling cooling
	static  bool // models are configured

	// Guarded by Router.mu.
	known   knowledge
	models  []object
	listErr error

	results [outcomes]atomic.Uint64
}

// New makes a Router. The error joins all faults of cfg and ups.
func New(cfg Config, ups []Upstream, o Options) (*Router, error) {
	names := make([]string, len(ups))
	for i := range ups {
		names[i] = ups[i].Name
	}
	if err := errors.Join(cfg.Validate(), cfg.ValidateUpstreams(names)); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	r := &Router{
		cfg: cfg, log: o.Logger, rand: o.Rand, clock: newClock(o.Before),
		byName: make(map[string]*upstream), aliases: make(map[string]string),
		aliasNames: slices.Sorted(maps.Keys(cfg.Aliases)), allStatic: true,
		kick: make(chan struct{}, 1), news: make(chan struct{}),
	}
	for _, alias := range r.aliasNames {
		r.aliases[alias], _ = cfg.follow(alias)
	}
	for _, u := range ups {
		r.add(u, o.Before)
	}
	r.refreshed = !slices.ContainsFunc(r.ups, func(up *upstream) bool { return up.known == unasked })
	r.refreshing = !r.refreshed // Run is about to: who comes before it waits
	r.def = r.ups[0]
	if cfg.DefaultUpstream != "" {
		r.def = r.byName[cfg.DefaultUpstream]
	}
	r.table.Store(r.newTable())
	return r, nil
}

func (r *Router) add(u Upstream, before *Router) {
	u.Weight = max(u.Weight, 1)
	up := &upstream{Upstream: u, router: r, static: len(u.Models) > 0}
	up.breaker.clock, up.breaker.cfg = r.clock, r.cfg.Breaker
	up.cooling.clock = r.clock
	for _, id := range u.Models {
		up.models = append(up.models, object{id, ownObject(id, u.Name)})
	}
	if up.static {
		up.known = listed
	} else {
		r.allStatic = false
	}
	up.inherit(before)
	r.ups = append(r.ups, up)
	r.byName[u.Name] = up
}

// Serve answers req from an upstream, or from the model lists.
func (r *Router) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Op == llm.ListModels {
		return r.listModels(ctx, out)
	}
	c := &call{router: r, req: *req, out: out}
	c.targets = c.few[:0]
	if req.BodyReader != nil {
		c.body.r = req.BodyReader
		c.req.BodyReader = &c.body
	}
	if c.inPath = namedInPath(req); c.inPath {
		if done, err := r.serveModel(ctx, c); done {
			return err
		}
	}
	if err := r.find(ctx, c); err != nil {
		return err
	}
	return c.run(ctx)
}

// find fills in the targets of a call.
func (r *Router) find(ctx context.Context, c *call) error {
	model := c.req.Model
	if model == "" {
		// A stored prompt can name the model of a response.
		if c.req.Op != llm.Passthrough && c.req.Op != llm.Response {
			e := llm.Errorf(400, "missing_required_parameter", "The request names no model. Give one as `model`.")
			e.Param = "model"
			return e
		}
		c.targets = append(c.targets, target{up: r.def})
		return nil
	}
	name := r.follow(model)
	t := r.table.Load()
	c.targets = t.resolve(c.targets, name, 0, false)
	if len(c.targets) == 0 {
		err := r.await(ctx, r.ask, func() bool {
			t = r.table.Load()
			c.targets = t.resolve(c.targets, name, 0, false)
			return len(c.targets) > 0
		})
		if err != nil {
			return err
		}
		if len(c.targets) == 0 {
			t = r.table.Load()
			c.targets = t.resolve(c.targets, name, 0, true)
		}
	}
	if !c.inPath { // what is said of one model is not meant for another
		r.findFallbacks(t, c, name)
	}
	if len(c.targets) == 0 {
		r.notFounds.Add(1)
		return t.notFound(model)
	}
	return c.keepNames()
}

// findFallbacks adds the fallbacks of the model as the client named it, or else
// of what that stands for.
func (r *Router) findFallbacks(t *table, c *call, name string) {
	refs, ok := r.cfg.Fallbacks[c.req.Model]
	if !ok {
		refs = r.cfg.Fallbacks[name]
	}
	for i, ref := range refs {
		n := len(c.targets)
		c.targets = t.resolve(c.targets, r.follow(ref), i+1, true)
		for j := n; j < len(c.targets); {
			if contains(c.targets[:j], c.targets[j].up, c.targets[j].model) {
				c.targets = slices.Delete(c.targets, j, j+1)
			} else {
				j++
			}
		}
	}
}

// follow gives what an alias stands for.
func (r *Router) follow(name string) string {
	if end, ok := r.aliases[name]; ok {
		return end
	}
	return name
}

// keepNames drops the targets that know the model by another name, where the
// name cannot be changed in the body.
func (c *call) keepNames() error {
	if c.req.ModelSpan != (llm.Span{}) || c.inPath {
		return nil
	}
	first := c.targets[0]
	c.targets = slices.DeleteFunc(c.targets, func(t target) bool { return t.model != c.req.Model })
	if len(c.targets) == 0 {
		e := llm.Errorf(400, "model_name_not_replaceable",
			"The model's name cannot be changed in a body of this kind. Name it as its upstream does: `%s`.", first.model)
		e.Param = "model"
		return e
	}
	return nil
}

// works and settle keep what a request shows about the upstream.
func (up *upstream) works(probe bool) {
	if up.breaker.succeed(probe) {
		up.router.log.Info("upstream is back", slog.String("upstream", up.Name))
	}
}

func (up *upstream) settle(o outcome, probe bool) {
	up.results[o].Add(1)
	switch works, known := o.healthy(); {
	case !known:
		up.breaker.leave(probe)
	case works:
		up.works(probe)
	case up.breaker.fail(probe):
		up.router.log.Warn("upstream fails and is left alone", slog.String("upstream", up.Name),
			slog.String("cause", o.String()), slog.Duration("for", up.router.cfg.Breaker.OpenFor))
	}
}

// Ready returns an error while the model lists are being read for the first
// time. It says nothing of the upstreams' health: taking the gateway out of
// service does not help one that is down.
func (r *Router) Ready() error {
	if r.starting() {
		return errors.New("model lists are being read")
	}
	return nil
}
