// Package route brings each request to an upstream that serves its model, and
// to another one when that fails.
//
// It promises that a request is sent again only where no upstream can have
// acted on it or one said that it did not, and never after the first byte of a
// reply. The one exception is a streamed call that failed before its first
// event: one other upstream is asked, never the same. It is the only part of
// Sluice that repeats requests.
package route

import (
	"cmp"
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
	"sluice/internal/monotonic"
	"sluice/internal/spool"
)

// Upstream is a model service that requests can go to.
type Upstream struct {
	Name    string // of letters, digits, '.', '_' and '-'
	Handler llm.Handler

	// Weight is the share of the requests for a model that several upstreams
	// serve, other things being equal; less than 1 is 1. See Config.Balance.
	Weight int

	// Models are the models it serves, and no others, however they are named. One
	// that ends in "*" stands for all that begin so. When there are none the upstream
	// is asked for its list.
	Models []string

	// Identity is what stands behind the upstream as far as its answers go, such
	// as a digest of its address and key. It is opaque and goes to disk with what
	// is kept: two upstreams of equal Name and Identity answer alike.
	Identity string

	// Translates reports whether requests of an operation are written anew in another
	// dialect for it; nil for none.
	Translates func(llm.Operation) bool
}

// Options are what a Router needs besides its configuration. All may be zero.
type Options struct {
	Logger *slog.Logger
	// Rand gives a random number in [0, 1), from any goroutine.
	Rand func() float64
	// Before is the Router that this one takes the place of. What it knows of
	// upstreams whose Handler is the same goes over.
	Before *Router
	// ModelsTTL is how long a model list is fresh after it was read; 0 is 300 s.
	// It is read again a little earlier.
	ModelsTTL time.Duration
	// Lists are model lists from an earlier run. Each is taken over by the
	// upstream of its name and identity, if that has none from Before.
	Lists []List
	// Spools keep bodies that can be read once, so that such a request can be sent
	// again; nil keeps none.
	Spools *spool.Store
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
	clock      monotonic.Clock
	ttl        time.Duration // of a model list

	prefixes *prefixes
	spools   *spool.Store

	table      atomic.Pointer[table]
	calls      sync.Pool     // of *call
	picks      sync.Pool     // of *pick
	beginnings sync.Pool     // of *prefix
	kick       chan struct{} // has Run read the lists

	mu         sync.Mutex
	news       chan struct{} // closed when a list changed or a reading ended
	running    bool
	refreshing bool          // or about to
	refreshed  bool          // every list was asked for at least once
	began      time.Duration // when refreshing last became true
	refreshes  uint64        // how many have ended
	asked      time.Duration // when an unknown name last had the lists read

	fallbacks, unavailable, notFounds atomic.Uint64
	retries                           [outcomes]atomic.Uint64
	listReplies                       [llm.CacheBypass + 1]atomic.Uint64
}

// upstream is an Upstream and what is known of it.
type upstream struct {
	Upstream
	router  *Router
	breaker breaker // of connections; what a model fails is held against that
	cooling cooling
	load    *load
	static  bool // models are configured

	circuits circuits

	// Guarded by Router.mu.
	known   knowledge
	models  []object
	readAt  time.Duration // when the upstream gave models
	listErr error

	results [outcomes]atomic.Uint64
	fault   atomic.Pointer[llm.Error] // of the last time that it could not be reached; nil for none
}

// New makes a Router. The error joins all faults of cfg and ups.
func New(cfg Config, ups []Upstream, o Options) (*Router, error) {
	if err := errors.Join(cfg.Validate(), cfg.ValidateUpstreams(ups)); err != nil {
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
		ttl: cmp.Or(o.ModelsTTL, defaultTTL),
	}
	for _, alias := range r.aliasNames {
		r.aliases[alias], _ = cfg.follow(alias)
	}
	r.spools = o.Spools
	r.prefixes = new(prefixes)
	if o.Before != nil {
		r.prefixes = o.Before.prefixes
	}
	for _, u := range ups {
		r.add(u, o)
	}
	r.refreshed = !slices.ContainsFunc(r.ups, func(up *upstream) bool { return up.known == unasked })
	if !r.refreshed {
		r.begin() // Run is about to: who comes before it waits
	}
	r.def = r.ups[0]
	if cfg.DefaultUpstream != "" {
		r.def = r.byName[cfg.DefaultUpstream]
	}
	r.table.Store(r.newTable())
	return r, nil
}

func (r *Router) add(u Upstream, o Options) {
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
	up.inherit(o.Before)
	if up.load == nil {
		up.load = r.newLoad(u.Name, o.Before)
	}
	up.restore(o.Lists)
	r.ups = append(r.ups, up)
	r.byName[u.Name] = up
}

// newLoad makes the load of an upstream that is new, and starts slowly beside those
// that are not.
func (r *Router) newLoad(name string, before *Router) *load {
	var used uint64
	for _, up := range r.ups {
		used |= up.load.bit
	}
	if before == nil {
		return newLoad(name, used)
	}
	for _, up := range before.ups {
		used |= up.load.bit
	}
	l := newLoad(name, used)
	l.back.Store(max(int64(r.clock.Now()), 1))
	return l
}

// Serve answers req from an upstream, or from the model lists.
func (r *Router) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Op == llm.ListModels {
		return r.listModels(ctx, req, out)
	}
	c := r.take(req, out)
	done, err := r.prepare(ctx, req, c)
	switch {
	case done:
	case c.spool != nil:
		err = c.tell(c.askOnce(ctx))
	default:
		err = c.tell(c.ask(ctx))
	}
	c.drop()
	r.forget(c)
	return err
}

// take makes a call. What it, and forget, take on the stack is not there while the
// call waits.
func (r *Router) take(req *llm.Request, out llm.Sink) *call {
	c, ok := r.calls.Get().(*call)
	if !ok {
		c = new(call)
	}
	c.router, c.req, c.out, c.targets = r, *req, out, c.few[:0]
	return c
}

// forget makes it one for other requests.
func (r *Router) forget(c *call) {
	*c = call{}
	r.calls.Put(c)
}

// prepare finds who may answer a call. done is true where no upstream is needed, or
// there is none.
func (r *Router) prepare(ctx context.Context, req *llm.Request, c *call) (done bool, err error) {
	if c.inPath = namedInPath(req); c.inPath {
		if done, err = r.serveModel(ctx, c); done {
			return true, err
		}
	}
	err = r.find(ctx, c)
	c.since = time.Now()
	if err != nil {
		return true, err
	}
	if req.BodyReader != nil && req.Upgrade == "" { // else it is read when the reply has begun
		if c.spool = spool.Of(req.BodyReader); c.spool == nil {
			c.spool = r.spools.Spool(req.BodyReader, req.BodyLen)
			c.spool.ID = req.ID
		}
	}
	return false, nil
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
