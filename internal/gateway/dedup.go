package gateway

import (
	"sluice/internal/config"
	"sluice/internal/dedup"
	"sluice/internal/llm"
)

// dedupKey is what the de-duplication is made of.
type dedupKey struct {
	cfg  dedup.Config
	keys map[string]string // modes by API key
}

// dedupStage has what a request says twice be said once.
func dedupStage() stage {
	return stage{
		name: "dedup",
		key: func(cfg *config.Config) any {
			key := dedupKey{cfg.Dedup, cfg.DedupKeys()}
			if key.cfg.Off(key.keys) {
				return nil
			}
			return key
		},
		build: func(a *assembly) (*part, error) {
			d, err := dedup.New(a.cfg.Dedup, dedup.Options{Keys: a.cfg.DedupKeys(), Account: a.memory.Budget.Account("dedup"), Buffers: &a.memory.Buffers})
			if err != nil {
				return nil, err
			}
			return &part{
				is: d, figures: []figures{{"dedup", d}},
				stage: func(ch *chain, next llm.Handler) llm.Handler {
					return d.Stage(next, ch.router.Names, ch.router.Translates)
				},
			}, nil
		},
	}
}
