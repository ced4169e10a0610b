package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/report"
)

// examineEvery is the time between two looks at all components, which tell
// since when each is as it is.
const examineEvery = 5 * time.Second

// watch looks at all components until ctx is done, and logs when the whole
// changes.
func (g *Gateway) watch(ctx context.Context) {
	tick := time.NewTicker(examineEvery)
	defer tick.Stop()
	last := perf.Healthy
	for {
		if h := g.figures.Examine(); h.State != last {
			last = h.State
			g.log.Info("health changed", "status", last.String(), "why", because(h))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// because names the components that are not well.
func because(h perf.Health) (list []string) {
	for _, f := range h.Findings {
		if f.State != perf.Healthy {
			list = append(list, f.Component)
		}
	}
	return list
}

// health answers GET /v1/health/detailed: 503 where no upstream can answer, else
// 200.
func (g *Gateway) health(context.Context, *llm.Request) ([]byte, error) {
	h := g.figures.Examine()
	reply := struct {
		Status     string             `json:"status"`
		Version    string             `json:"version"`
		Uptime     float64            `json:"uptime_seconds"`
		Components []report.Component `json:"components"`
	}{h.State.String(), g.opts.Version, time.Since(g.started).Seconds(), report.Components(h)}
	b, err := json.Marshal(reply)
	if err != nil {
		return nil, fmt.Errorf("write health: %w", err)
	}
	b = append(b, '\n')
	if h.State == perf.Unhealthy {
		return nil, &llm.Error{Status: 503, Message: "unhealthy", Reply: &llm.ErrorReply{Body: b}}
	}
	return b, nil
}
