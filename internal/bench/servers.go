package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ChildCommand is the hidden command with which this binary is started again, and what
// it is then: the gateway as serve runs it, the simulator, or the program of before.
const (
	ChildCommand   = "bench-child"
	ChildGateway   = "gateway"
	ChildSimulator = "simulator"
	ChildBefore    = "before"
)

// How the collector of children works: as it does by default, and telling of its pauses.
const (
	defaultGC = "GOGC=100"
	tracedGC  = "GODEBUG=gctrace=1"
)

// The pool as the note has it before and after.
const (
	poolBefore = "max_connections: 100, max_keepalive_connections: 20, keepalive_expiry: 30s"
	poolAfter  = "max_connections: 200, max_keepalive_connections: 50, keepalive_expiry: 60s"
)

// upstream is an entry of the configuration.
type upstream struct {
	name, url string
	more      string // further keys, with a comma before each
}

// config is a gateway's configuration, in YAML of one line for each section.
type config struct {
	upstreams []upstream
	sections  []string
}

// text writes it. Whoever has the key is an administrator: figures and profiles are
// theirs.
func (c config) text(hash string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server: {port: 0, forward_headers: [X-Sim-Fault], api_keys: [{name: bench, hash: %q, admin: true}]}\nupstreams:\n", hash)
	for _, u := range c.upstreams {
		fmt.Fprintf(&b, "  - {name: %s, base_url: %q, models: [%q]%s}\n", u.name, u.url, "*", u.more)
	}
	for _, s := range c.sections {
		b.WriteString(s + "\n")
	}
	return b.String()
}

// gateway starts a gateway as serve runs it.
func (r *run) gateway(ctx context.Context, name string, c config, env ...string) (*child, error) {
	file := filepath.Join(r.dir, fmt.Sprintf("%d.yaml", r.started+1))
	if err := os.WriteFile(file, []byte(c.text(r.HashKey(r.key))), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return r.start(ctx, name, env, ChildGateway, file)
}

// before starts the program that is as the note found its own, before the simulator or
// before others.
func (r *run) before(ctx context.Context, connections, keepalive int, patience time.Duration, upstreams ...string) (*child, error) {
	if len(upstreams) == 0 {
		upstreams = []string{"http://" + r.simulator.addr}
	}
	return r.start(ctx, "the program of before", []string{defaultGC, tracedGC}, ChildBefore,
		strings.Join(upstreams, ","), r.schema, strconv.Itoa(connections), strconv.Itoa(keepalive), patience.String())
}

// simulated is the simulator as an upstream.
func (r *run) simulated() upstream {
	return upstream{name: "sim", url: "http://" + r.simulator.addr + "/v1"}
}

// pair starts two gateways, of which the first one is off.
func (r *run) pair(ctx context.Context, off, on config, env ...string) (pair [2]*child, stop func(), err error) {
	if pair[0], err = r.gateway(ctx, "the gateway without", off, env...); err != nil {
		return pair, nil, err
	}
	if pair[1], err = r.gateway(ctx, "the gateway", on, env...); err != nil {
		pair[0].stop()
		return pair, nil, err
	}
	return pair, func() { pair[0].stop(); pair[1].stop() }, nil
}

// figures are what a gateway's /metrics say, summed over labels, by name without the
// prefix. Those that are needed have to be there: what is not told of does not grow.
func (r *run) figures(ctx context.Context, g *child, needed ...string) (map[string]float64, error) {
	b, err := get(ctx, g.addr, r.key, "/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(name, "{") && strings.Contains(line, "} ") { // labels may hold blanks
			name, value = line[:strings.Index(line, "{")], strings.TrimSpace(line[strings.LastIndex(line, "} ")+2:])
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[strings.TrimPrefix(name, "sluice_")] += v
		}
	}
	for _, name := range needed {
		if _, told := all[name]; !told {
			return nil, fmt.Errorf("read /metrics: %s is not there", name)
		}
	}
	return all, nil
}
