package gateway

import (
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/perf"
	"sluice/internal/upstream"
)

func TestClientsWithin(t *testing.T) {
	for _, test := range []struct {
		limit           uint64
		clients         int
		upstreams, each int
		tunnels         int
		want            int
	}{
		{1 << 63, 10_000, 1, 200, 0, 10_000}, {20_000, 10_000, 1, 200, 0, 10_000}, {1024, 10_000, 1, 200, 0, 696}, {1024, 500, 1, 200, 0, 500},
		{4096, 10_000, 30, 200, 0, 1888}, {256, 10_000, 1, 200, 0, 88}, {64, 10_000, 1, 200, 0, 16}, {1, 10_000, 1, 200, 0, 1}, {1024, 10_000, 0, 200, 0, 496},
		{20_000, 10_000, 1, 200, 500, 10_000}, {10_000, 10_000, 1, 200, 500, 8611}, {1024, 10_000, 1, 200, 500, 448}, {1024, 10_000, 1, 200, 50, 646}, {1024, 10_000, 0, 100, 50, 646},
	} {
		cfg := &config.Config{}
		cfg.Server.MaxConnections, cfg.HTTPClient.MaxConnections, cfg.Server.Tunnels.MaxOpen = test.clients, test.each, test.tunnels
		for range test.upstreams {
			cfg.Upstreams = append(cfg.Upstreams, config.Upstream{HTTPClient: cfg.HTTPClient})
		}
		if got := clientsWithin(test.limit, cfg); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

// TestExamineSockets: a shortage is told of for a minute, with what to do.
func TestExamineSockets(t *testing.T) {
	var last *upstream.Shortage
	p := &sockets{func() *upstream.Shortage { return last }}
	for _, test := range []struct {
		ago   time.Duration
		state perf.State
	}{{-1, perf.Healthy}, {0, perf.Degraded}, {shortFor, perf.Healthy}} {
		if test.ago >= 0 {
			last = &upstream.Shortage{At: time.Now().Add(-test.ago), Lack: "too many open files", Advice: "Raise it."}
		}
		var c perf.Condition
		p.Examine(func(found perf.Condition) { c = found })
		if c.Component != "process/sockets" || c.State != test.state || (c.Advice != "") != (test.state != perf.Healthy) {
			t.Errorf("%v ago: %+v", test.ago, c)
		}
	}
}
