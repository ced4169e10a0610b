package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

const (
	// listTimeout bounds the wait for one upstream's model list.
	listTimeout = 5 * time.Second
	// listWait bounds a request's wait for the lists. It is longer, so that a
	// list that hangs is known to when the wait ends.
	listWait = listTimeout + time.Second
	// maxListBytes and maxModelName bound what is kept of one. The longest
	// lists known are about 1 MB, of some hundred models.
	maxListBytes = 8 << 20
	maxModelName = 512
	// unknownEvery bounds how often unknown names have the lists read again.
	unknownEvery = 10 * time.Second
	// failedEvery is when a list that could not be had is asked for again.
	failedEvery = 30 * time.Second
)

// Run reads the upstreams' model lists until ctx is done, and returns nil. It
// is called once. A Router works without it, but knows only what is configured,
// and requests for other models wait some seconds for it.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running, r.refreshing = true, true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running, r.refreshing = false, false
		r.announce()
		r.mu.Unlock()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.kick:
		}
		timer.Reset(r.refresh(ctx))
	}
}

// refresh reads all lists at once and returns when to do so again.
func (r *Router) refresh(ctx context.Context) (next time.Duration) {
	r.mu.Lock()
	r.refreshing = true
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, up := range r.ups {
		if !up.static {
			wg.Go(func() {
				models, err := fetch(ctx, up)
				if ctx.Err() == nil {
					r.learn(up, models, err)
				}
			})
		}
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refreshing = false
	r.refreshed = true
	r.announce()
	next = r.cfg.ModelsRefresh
	for _, up := range r.ups {
		if up.listErr != nil && !hasNoList(up.listErr) {
			next = min(next, failedEvery)
		}
	}
	return next
}

// learn takes in one upstream's list. A list that was known stays when it
// cannot be read again.
func (r *Router) learn(up *upstream, models []object, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := up.known == unasked || (err == nil) != (up.listErr == nil)
	up.listErr = err
	switch {
	case err == nil:
		up.models, up.known = models, listed
	case up.known == unasked:
		up.known = unlisted
	}
	r.table.Store(r.newTable())
	r.announce()
	if err != nil && first {
		r.log.Warn("model list not read", slog.String("upstream", up.Name), slog.Any("error", err))
	} else if first {
		r.log.Info("model list read", slog.String("upstream", up.Name), slog.Int("models", len(models)))
	}
}

// announce wakes those who wait for the lists. r.mu is held.
func (r *Router) announce() {
	close(r.news)
	r.news = make(chan struct{})
}

// ask has the lists read again, for a name that is unknown, unless that was
// done just now. It reports whether there will be news.
func (r *Router) ask() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.refreshing {
		if !r.running {
			return false
		}
		now := r.clock.now()
		if r.allStatic || r.asked > 0 && now-r.asked < unknownEvery {
			return false
		}
		r.asked = max(now, 1)
		r.refreshing = true
		r.kick <- struct{}{} // has room: nobody else sends before refreshing ends
	}
	return true
}

// starting reports whether some list was not asked for yet, but will be.
func (r *Router) starting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refreshing && !r.refreshed
}

// await calls found at all news until it is true, or more says that there will
// be no others, for listWait at most.
func (r *Router) await(ctx context.Context, more, found func() bool) error {
	timer := time.NewTimer(listWait)
	defer timer.Stop()
	for {
		r.mu.Lock()
		news := r.news // before the look, so that none is missed after it
		r.mu.Unlock()
		if found() || !more() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-news:
		}
	}
}

// hasNoList reports whether an upstream said that it knows no model lists, so
// that there is no point in asking soon again.
func hasNoList(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return ok && (e.Status == 404 || e.Status == 405 || e.Status == 501)
}

// fetch asks an upstream for its model list.
func fetch(ctx context.Context, up *upstream) ([]object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	req := &llm.Request{Op: llm.ListModels, ID: "models-" + up.Name, Method: "GET", Path: "/v1/models"}
	var reply capture
	if err := up.Handler.Serve(ctx, req, &reply); err != nil {
		return nil, fmt.Errorf("get model list: %w", err)
	}
	models, err := parseList(reply.body)
	if err != nil {
		return nil, fmt.Errorf("read model list: %w", err)
	}
	return models, nil
}

// parseList reads {"data":[{"id":…},…]}, or the array alone, as some services
// send it. Entries that are no models are passed over.
func parseList(b []byte) (models []object, err error) {
	if err := jsonscan.Validate(b, jsonscan.DefaultDepth); err != nil {
		return nil, err
	}
	all, ok := jsonscan.Get(b)
	if ok && b[all.Start] == '{' {
		all, ok = jsonscan.Get(b, "data")
	}
	if !ok || b[all.Start] != '[' {
		return nil, errors.New("there is no array of models in it")
	}
	b = b[all.Start:all.End]
	seen := make(map[string]bool)
	jsonscan.Elements(b, func(v llm.Span) bool {
		raw := b[v.Start:v.End]
		if raw[0] != '{' {
			return true
		}
		span, ok := jsonscan.Get(raw, "id")
		if !ok {
			return true
		}
		id, err := jsonscan.String(raw[span.Start:span.End])
		if err == nil && id != "" && len(id) <= maxModelName && !seen[id] {
			seen[id] = true
			models = append(models, object{strings.Clone(id), raw})
		}
		return true
	})
	return models, nil
}

// capture is a sink that keeps the reply.
type capture struct{ body []byte }

func (c *capture) Start(h *llm.Head) error {
	if h.Status != 200 {
		return llm.Errorf(502, "upstream_bad_reply", "The upstream answered with status %d.", h.Status)
	}
	if h.Kind == llm.EventStream {
		return llm.Errorf(502, "upstream_bad_reply", "The upstream answered with a stream.")
	}
	return nil
}

func (c *capture) Send(events []llm.Event) error {
	for _, e := range events {
		if len(c.body)+len(e.Raw) > maxListBytes {
			return llm.Errorf(502, "upstream_bad_reply", "The upstream's model list is larger than %d bytes.", maxListBytes)
		}
		c.body = append(c.body, e.Raw...)
	}
	return nil
}
