package gateway

import (
	"sluice/internal/cache/redis"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/responses"
)

// responsesKey is what the keeping of responses is made of.
type responsesKey struct {
	cfg   responses.Config
	redis redis.Config // which machines share, with the cache or without
}

// responsesStage keeps responses that their services do not. The next one takes over what
// is kept.
func responsesStage() stage {
	return stage{
		name: "responses",
		key: func(cfg *config.Config) any {
			if !cfg.Responses.Store {
				return nil
			}
			return responsesKey{cfg.Responses, cfg.Cache.Redis}
		},
		build: func(a *assembly) (*part, error) {
			o := responses.Options{
				Account: a.memory.Budget.Account("responses"), Buffers: &a.memory.Buffers, Before: predecessor[*responses.Responses](a, "responses"),
				Redis: a.shared(a.cfg.Cache.Redis),
			}
			r, err := responses.New(a.cfg.Responses, o)
			if err != nil {
				return nil, err
			}
			return &part{
				is: r, figures: []figures{{"responses", r}},
				stage:  func(_ *chain, next llm.Handler) llm.Handler { return r.Stage(next) },
				commit: func(any) { r.TakeOver() },
				tidy:   []memory.Task{{Name: "responses", Do: r.Tidy}},
				close:  r.Close,
			}, nil
		},
	}
}
