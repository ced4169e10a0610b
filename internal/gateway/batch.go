package gateway

import (
	"sluice/internal/batch"
	"sluice/internal/config"
	"sluice/internal/llm"
)

// batchStage makes few large calls of many small ones.
func batchStage() stage {
	return stage{
		name: "batch",
		key: func(cfg *config.Config) any {
			if !cfg.Batch.On() {
				return nil
			}
			return cfg.Batch
		},
		build: func(a *assembly) (*part, error) {
			b, err := batch.New(a.cfg.Batch, &a.memory.Buffers)
			if err != nil {
				return nil, err
			}
			return &part{
				is: b, figures: []figures{{"batch", b}}, close: b.Close,
				stage: func(_ *chain, next llm.Handler) llm.Handler { return b.Stage(next) },
			}, nil
		},
	}
}
