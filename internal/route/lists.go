package route

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// defaultTTL is how long a list is fresh where nothing else is said.
	defaultTTL = 300 * time.Second
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
	// readEvery bounds how often lists are read again for clients that want them
	// new, and for a short TTL.
	readEvery = time.Second
	// failedEvery is when a list that could not be had is asked for again.
	failedEvery = 30 * time.Second
)

// Run reads the upstreams' model lists until ctx is done, and returns nil. It
// is called once. A Router works without it, but knows only what is configured,
// and requests for other models wait some seconds for it.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.begin()
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

// begin marks that the lists are read, or are about to be. r.mu is held.
func (r *Router) begin() {
	if !r.refreshing {
		r.refreshing, r.began = true, r.clock.Now()
	}
}

// refresh reads all lists at once and returns when to do so again: a little
// before they are no longer fresh, so that no reply is stale while an upstream
// takes its usual time.
func (r *Router) refresh(ctx context.Context) (next time.Duration) {
	r.mu.Lock()
	r.begin()
	select {
	case <-r.kick: // is served by this
	default:
	}
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
	r.refreshes++
	r.announce()
	next = max(r.ttl-min(r.ttl/10, listTimeout), readEvery)
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
		up.models, up.known, up.readAt = models, listed, r.clock.Now()
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
		now := r.clock.Now()
		if r.allStatic || r.asked > 0 && now-r.asked < unknownEvery {
			return false
		}
		r.asked = max(now, 1)
		r.begin()
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
