package route

import (
	"context"
	"time"

	"sluice/internal/llm"
)

// view is what a request about the models is answered from, and what the reply
// says of the lists that it comes from. Those are all of them for the merged
// list, and for one model the list that has it.
type view struct {
	*table
	body  []byte // nil where no list has the model
	cache llm.CacheStatus
	age   time.Duration // of the oldest of the lists

	waited time.Duration // for lists to be read

	fixed  bool          // they are configured
	read   bool          // some were read
	oldest time.Duration // when the oldest of those was
	whole  bool          // there is no further one that may still be read
}

// look gives the view of one model, or with name "" of all, for a client's
// policy.
//
// The lists are refreshed ahead, so a request waits only for the first reading,
// or where its policy wants newer lists than there are: with no-cache, no-store
// and a max-age that, with max-stale, is less than the lists' age. An upstream
// that is down does not make them unavailable: what is known is served, however
// stale, so max-stale alone and min-fresh change nothing.
func (r *Router) look(ctx context.Context, p llm.CachePolicy, name string) (view, error) {
	v := r.seen(name)
	newer := p.NoCache || p.NoStore || p.HasMaxAge && v.age-p.MaxAge > p.MaxStale
	switch {
	case v.fixed:
		return v, nil
	case p.OnlyIfCached && (newer || v.none()):
		return view{}, notCached()
	case p.OnlyIfCached:
		return v, nil
	case !newer && !r.starting():
		return v, nil
	}
	begun := time.Now()
	var err error
	if newer {
		v, err = r.renew(ctx, name)
	} else {
		err = r.await(ctx, r.starting, never)
		v = r.seen(name)
	}
	v.waited = time.Since(begun)
	return v, err
}

// seen is the view of what is known now.
func (r *Router) seen(name string) view {
	t := r.table.Load()
	v := view{table: t, body: t.list, cache: llm.CacheHit, fixed: r.allStatic,
		read: len(t.readAt) > 0, oldest: t.oldest, whole: t.whole}
	if name != "" {
		var up *upstream
		if v.body, up = t.modelObject(r, name); up != nil {
			v.fixed, v.read, v.oldest, v.whole = up.static, !up.static, t.readAt[up], true
		}
	}
	if v.read {
		v.age = r.clock.Now() - v.oldest
		if v.age >= r.ttl {
			v.cache = llm.CacheStale
		}
	}
	return v
}

// renew has the lists read again, waits for those that the view comes from, and
// gives the view then.
func (r *Router) renew(ctx context.Context, name string) (v view, err error) {
	since, n := r.force()
	renewed := func() bool {
		v = r.seen(name)
		return v.whole && v.read && v.oldest >= since
	}
	err = r.await(ctx, func() bool { return r.reading(n) }, renewed)
	if renewed() || v.whole && !v.read { // no upstream has a list
		v.cache, v.age = llm.CacheMiss, 0
	} else {
		v.cache = llm.CacheStale
	}
	return v, err
}

// force has the lists read again, unless they are being read or were just now.
// Lists that were read at since or later count as new; n is for reading.
func (r *Router) force() (since time.Duration, n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	switch {
	case r.refreshing || r.running && now-r.began < readEvery:
		return r.began, r.refreshes
	case !r.running:
		return now, r.refreshes
	}
	r.begin()
	r.kick <- struct{}{} // has room: nobody else sends before refreshing ends
	return r.began, r.refreshes
}

// reading reports whether the refresh that followed n others is under way.
func (r *Router) reading(n uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refreshing && r.refreshes == n
}

func never() bool { return false }

// notCached is the error for a client that takes only what is stored, when
// nothing is that would do.
func notCached() error {
	return llm.Errorf(504, "not_cached", "There is no stored reply that the request's Cache-Control allows. Drop only-if-cached to have one made.")
}
