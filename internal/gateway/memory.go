package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/cache"
	"sluice/internal/cache/redis"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/route"
)

// memory is the cache and what belongs to it. Chains share it while its
// configuration stays the same, so that a reload keeps what is in it.
type memory struct {
	cfg    config.Cache
	dir    string
	cache  *cache.Cache
	level  *redis.Level // nil without a second level
	forget []func()     // takes the figures out; nil while they are not in
	chains atomic.Int32 // that hold it; the last one closes it

	begin sync.Once
	stop  context.CancelFunc
	ctx   context.Context
	done  sync.WaitGroup
}

// remember gives the memory of a configuration: that of the chain before where
// it is the same, else a new one that takes over from it; nil where the cache
// is off.
func (g *Gateway) remember(cfg *config.Config, before *chain) (*memory, error) {
	if !cfg.Cache.Enabled {
		return nil, nil
	}
	var old *cache.Cache
	if before != nil && before.memory != nil {
		if m := before.memory; m.dir == cfg.StateDir && reflect.DeepEqual(m.cfg, cfg.Cache) {
			return m, nil
		}
		old = before.memory.cache
	}
	m := &memory{cfg: cfg.Cache, dir: cfg.StateDir}
	m.ctx, m.stop = context.WithCancel(context.Background())
	var err error
	m.cache, err = cache.New(cfg.Cache.Config, cache.Options{Logger: g.log, StateDir: cfg.StateDir, Aside: g.aside, Before: old})
	if err != nil {
		return nil, err
	}
	if cfg.Cache.Redis.URL.IsZero() {
		return m, nil
	}
	m.level, err = redis.New(cfg.Cache.Redis, redis.Options{
		Logger: g.log, Servers: &g.redis, OnPurge: func(p cache.Purge) { m.cache.Forget(p) }, MaxValue: cfg.Cache.MaxEntryBytes + cache.Envelope,
		Epoch: readAside(m.cache.Restored()).Epoch,
	})
	if err == nil {
		err = m.cache.Attach(m.level)
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// start begins the background work, once.
func (m *memory) start() {
	m.begin.Do(func() { m.done.Go(func() { m.cache.Run(m.ctx) }) })
}

// close ends it, with the hot set written.
func (m *memory) close() {
	m.stop()
	m.done.Wait()
	if m.level != nil {
		m.level.Close()
	}
}

func (m *memory) join(figures *perf.Registry) {
	m.forget = append(m.forget, figures.Register("cache", m.cache))
	if m.level != nil {
		m.forget = append(m.forget, figures.Register("cache_l2", m.level))
	}
}

func (m *memory) leave() {
	for _, forget := range m.forget {
		forget()
	}
	m.forget = nil
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
	if c.memory != nil && c.memory.level != nil {
		a.Epoch = c.memory.level.Epoch()
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
	c := g.live.Load()
	if c.memory == nil {
		return nil, llm.Errorf(404, "cache_disabled", "There is nothing to delete: the cache is off (cache.enabled).")
	}
	p, err := parsePurge(req.RawQuery)
	if err != nil {
		return nil, err
	}
	if p.Model != "" {
		p.Model = c.router.ResolveModel(p.Model)
	}
	n, err := c.memory.cache.Purge(ctx, p)
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
