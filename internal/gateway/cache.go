package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/redis"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/route"
)

// cached is the cache and its second level.
type cached struct {
	*cache.Cache
	level *redis.Level // nil without a second level
}

// close gives back what it holds.
func (c *cached) close() {
	if c.level != nil {
		c.level.Close()
	}
	c.Close()
}

// cacheKey is what a cache is made of.
type cacheKey struct {
	cfg config.Cache
	dir string
}

// cacheStage answers from memory. The next cache takes over what is in it.
func cacheStage() stage {
	return stage{
		name: "cache",
		key: func(cfg *config.Config) any {
			if !cfg.Cache.Enabled {
				return nil
			}
			return cacheKey{cfg.Cache, cfg.StateDir}
		},
		build: func(a *assembly) (*part, error) {
			c, err := a.newCache()
			if err != nil {
				return nil, err
			}
			p := &part{
				is:      c,
				figures: []figures{{"cache", c.Cache}},
				stage:   func(ch *chain, next llm.Handler) llm.Handler { return c.Stage(next, ch.router, ch.strict) },
				commit:  func(any) { c.TakeOver() },
				use:     c.Use,
				run:     c.Run,
				tidy:    []memory.Task{{Name: "replies", Do: c.Tidy}},
				close:   c.close,
			}
			if c.level != nil {
				p.figures = append(p.figures, figures{"cache_l2", c.level})
				p.commit = func(any) {
					c.level.Start()
					c.TakeOver()
				}
			}
			return p, nil
		},
	}
}

// newCache makes the cache of a configuration, and its second level, which does not
// connect yet.
func (a *assembly) newCache() (*cached, error) {
	o := cache.Options{
		Logger: a.log, StateDir: a.cfg.StateDir, Aside: a.aside, Account: a.memory.Budget.Account("cache"),
		Shared: a.memory.Budget.Account("shared_calls"), Scarce: func() bool { return a.memory.Level() > memory.Normal },
	}
	if old := predecessor[*cached](a, "cache"); old != nil {
		o.Before = old.Cache
	}
	c := &cached{}
	var err error
	if c.Cache, err = cache.New(a.cfg.Cache.Config, o); err != nil {
		return nil, err
	}
	if a.cfg.Cache.Redis.URL.IsZero() {
		return c, nil
	}
	c.level, err = redis.New(a.cfg.Cache.Redis, redis.Options{
		Logger: a.log, Servers: &a.redis, OnPurge: func(p cache.Purge) { c.Forget(p) }, MaxValue: a.cfg.Cache.MaxEntryBytes + cache.Envelope,
		Epoch: readAside(c.Restored()).Epoch,
	})
	if err != nil {
		return nil, err
	}
	if err := c.Attach(c.level); err != nil {
		c.level.Close()
		return nil, err
	}
	return c, nil
}

// aside is what is kept with the hot set.
type aside struct {
	Written time.Time    `json:"written"`
	Lists   []route.List `json:"lists"`
	Epoch   string       `json:"epoch,omitempty"` // of the second level: which purges are known
}

// aside gives it for the chain that is in use. It is called while the hot set is
// written, which may be before the first chain is or while the last one closes.
func (g *Gateway) aside() []byte {
	c := g.live.Load()
	if c == nil {
		return nil
	}
	a := aside{Written: time.Now(), Lists: c.router.Lists()}
	if c := held[*cached](c, "cache"); c != nil && c.level != nil {
		a.Epoch = c.level.Epoch()
	}
	b, err := json.Marshal(a)
	if err != nil {
		g.log.Warn("model lists are not kept", "error", err)
		return nil
	}
	return b
}

// readAside reads what aside made. Of what is damaged nothing is used.
func readAside(b []byte) (a aside) {
	if len(b) == 0 || json.Unmarshal(b, &a) != nil {
		return aside{}
	}
	since := time.Since(a.Written)
	if since < 0 { // the clock was set back: nobody knows how old they are
		a.Lists = nil
	}
	for i := range a.Lists {
		a.Lists[i].Age += since
	}
	return a
}

// purge answers DELETE /v1/cache. The query says what: ?model=, by the name that
// clients use, ?key=, as in X-Cache-Key, or with neither everything.
func (g *Gateway) purge(ctx context.Context, req *llm.Request) ([]byte, error) {
	live := g.live.Load()
	c := held[*cached](live, "cache")
	if c == nil {
		return nil, llm.Errorf(404, "cache_disabled", "There is nothing to delete: the cache is off (cache.enabled).")
	}
	p, err := parsePurge(req.RawQuery)
	if err != nil {
		return nil, err
	}
	if p.Model != "" {
		p.Model = live.router.ResolveModel(p.Model)
	}
	n, err := c.Purge(ctx, p)
	if err != nil {
		e := llm.Errorf(502, "second_level_failed", "%d replies were deleted here, but the second level could not be reached: other machines may still have some. "+
			"They expire within the time that the cache keeps them; or try again.", n)
		e.Fault, e.Err = llm.Unavailable, err
		return nil, e
	}
	return fmt.Appendf(nil, `{"object":"cache","deleted":true,"entries":%d}`+"\n", n), nil
}

func parsePurge(query string) (p cache.Purge, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, llm.Errorf(400, "invalid_query", "The query cannot be read: %v.", err)
	}
	for name, list := range values {
		if name != "model" && name != "key" || len(list) > 1 || list[0] == "" || len(values) > 1 {
			// Deleting everything because of a slip would be worse than nothing.
			return p, llm.Errorf(400, "invalid_query", "Give either ?model=NAME or ?key=KEY, once and not empty, or neither to delete everything.")
		}
	}
	if key := values.Get("key"); key != "" {
		if p.Key, err = cache.ParseKey(key); err != nil {
			return p, llm.Errorf(400, "invalid_key", "The key is not as in X-Cache-Key: %v.", err)
		}
	}
	p.Model = values.Get("model")
	return p, nil
}
