//go:build leaktest

package gateway

import (
	"context"
	"os"
	"sync/atomic"

	"sluice/internal/config"
	"sluice/internal/llm"
)

// injected is a stage that leaks something with each hundredth request: what
// SLUICE_LEAKTEST says, goroutine, heap or file. It shows that leaks are found.
func injected() []stage {
	kind := os.Getenv("SLUICE_LEAKTEST")
	if kind == "" {
		return nil
	}
	return []stage{{
		name: "leaktest", key: func(*config.Config) any { return kind },
		build: func(*assembly) (*part, error) {
			l := &leaktest{kind: kind}
			return &part{is: l, stage: func(_ *chain, next llm.Handler) llm.Handler {
				return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
					if l.requests.Add(1)%100 == 0 {
						l.leak()
					}
					return next.Serve(ctx, req, out)
				})
			}}, nil
		},
	}}
}

// leaktest holds what leaked.
type leaktest struct {
	kind     string
	requests atomic.Int64
	held     atomic.Pointer[leaked]
}

type leaked struct {
	before *leaked
	bytes  []byte
	file   *os.File
}

func (l *leaktest) leak() {
	switch l.kind {
	case "goroutine":
		go l.leaktestWaits(make(chan struct{}))
	case "heap":
		l.held.Store(&leaked{before: l.held.Load(), bytes: make([]byte, 64<<10)})
	case "file":
		if f, err := os.Open(os.DevNull); err == nil {
			l.held.Store(&leaked{before: l.held.Load(), file: f})
		}
	}
}

func (*leaktest) leaktestWaits(c chan struct{}) { <-c }
