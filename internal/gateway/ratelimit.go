package gateway

import (
	"slices"

	"sluice/internal/cache/redis"
	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/ratelimit"
	server "sluice/internal/redis"
)

// limitsKey is what the rate limits are made of.
type limitsKey struct {
	cfg   ratelimit.Config
	keys  []ratelimit.Spec
	redis redis.Config // which machines share, with the cache or without
}

// unkeyed is the ID of all clients together, where there are no keys.
const unkeyed = "unkeyed"

// ratelimitStage bounds what keys use. The next one goes on from what was used.
func ratelimitStage() stage {
	return stage{
		name: "ratelimit",
		key: func(cfg *config.Config) any {
			if key := limitsOf(cfg); len(key.keys) > 0 {
				return key
			}
			return nil
		},
		build: func(a *assembly) (*part, error) {
			key := limitsOf(a.cfg)
			o := ratelimit.Options{Before: predecessor[*ratelimit.Limits](a, "ratelimit"), Redis: a.shared(key.redis)}
			l, err := ratelimit.New(key.cfg, key.keys, o)
			if err != nil {
				return nil, err
			}
			return &part{
				is: l, figures: []figures{{"ratelimit", l}},
				stage:  func(_ *chain, next llm.Handler) llm.Handler { return l.Stage(next) },
				commit: func(any) { l.TakeOver() }, run: l.Run, close: l.Close,
			}, nil
		},
	}
}

// shared is where machines share, nil for nowhere.
func (a *assembly) shared(at redis.Config) *server.Use {
	if at.URL.IsZero() {
		return nil
	}
	return &server.Use{URL: at.URL.Reveal(), Timeout: at.Timeout, Prefix: at.Prefix, Servers: &a.redis, Logger: a.log}
}

// limitsOf gives the keys that are limited. A key is told by the hash that it is
// checked by, so that another name for it does not make it another one.
func limitsOf(cfg *config.Config) limitsKey {
	key := limitsKey{cfg: cfg.RateLimit, redis: cfg.Cache.Redis}
	add := func(name, id, requests, tokens string) {
		s := ratelimit.Spec{Name: name, ID: id}
		s.RequestsPerMinute, _ = front.PerMinute(requests, cfg.RateLimit.RequestsPerMinute) // they were checked
		s.TokensPerMinute, _ = front.PerMinute(tokens, cfg.RateLimit.TokensPerMinute)
		if s.RequestsPerMinute > 0 || s.TokensPerMinute > 0 {
			key.keys = append(key.keys, s)
		}
	}
	for _, k := range cfg.Server.APIKeys {
		add(k.Name, k.Hash, k.RequestsPerMinute, k.TokensPerMinute)
	}
	if len(cfg.Server.APIKeys) == 0 {
		add(unkeyed, unkeyed, "", "")
	}
	return key
}

// metered is the front's configuration with what bounds the use of its keys.
func metered(fc front.Config, l *ratelimit.Limits) front.Config {
	if l == nil {
		return fc
	}
	if k := l.Key(unkeyed); k != nil {
		fc.Meter = k
	}
	fc.APIKeys = slices.Clone(fc.APIKeys)
	for i := range fc.APIKeys {
		if k := l.Key(fc.APIKeys[i].Hash); k != nil {
			fc.APIKeys[i].Meter = k
		}
	}
	return fc
}
