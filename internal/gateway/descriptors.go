package gateway

import (
	"slices"
	"time"

	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/perf"
	"sluice/internal/perf/process"
	"sluice/internal/ratelimit"
	"sluice/internal/upstream"
)

// ownFiles is how many file descriptors the gateway needs besides those of clients
// and upstreams: its listener, files, the second level, collectors, webhooks.
const ownFiles = 64

// spoolFiles is how many files bodies may be kept in at once, with limit descriptors.
func spoolFiles(limit uint64) int { return int(min(limit/16, 1024)) }

// frontConfig is the front's configuration; the simulator's fault header is
// let through where the simulator is the upstream, and no more connections are
// than there are file descriptors for. Keys have the meters of the chain.
func frontConfig(cfg *config.Config, c *chain) front.Config {
	fc := metered(cfg.Server, held[*ratelimit.Limits](c, "ratelimit"))
	if limit, ok := process.MaxFiles(); ok {
		fc.MaxConnections = clientsWithin(limit, cfg)
	}
	if len(cfg.Upstreams) == 0 {
		fc.ForwardHeaders = append(slices.Clone(fc.ForwardHeaders), "X-Sim-Fault")
	}
	return fc
}

// tellFewer says where the limit of open files does not allow for
// server.max_connections besides what upstreams need. Clients alone could take all
// descriptors otherwise, and every request would fail.
func (g *Gateway) tellFewer(cfg *config.Config) {
	limit, ok := process.MaxFiles()
	if !ok {
		return
	}
	if n := clientsWithin(limit, cfg); n < cfg.Server.MaxConnections {
		g.log.Warn("fewer client connections are taken than server.max_connections, because of the limit of open files (ulimit -n, LimitNOFILE=)",
			"max_connections", cfg.Server.MaxConnections, "taken", n, "open_files", limit)
	}
}

// clientsWithin is how many client connections there may be with limit file
// descriptors. Where these are few, what the gateway itself does not need is shared
// with the upstreams half and half: each client may need one of theirs.
func clientsWithin(limit uint64, cfg *config.Config) int {
	most := cfg.Server.MaxConnections
	if limit > 1<<30 { // no limit
		return most
	}
	upstreams := cfg.Server.Tunnels.MaxOpen // each has a connection beside the pools
	for _, u := range cfg.Upstreams {
		upstreams += u.HTTPClient.MaxConnections
	}
	if len(cfg.Upstreams) == 0 {
		upstreams += 2 * cfg.HTTPClient.MaxConnections // the simulator has their other ends
	}
	shared := int(limit) - min(ownFiles+spoolFiles(limit), int(limit)/2)
	return max(min(most, shared-min(upstreams, shared/2)), 1)
}

// sockets tells whether connections to upstreams could be made, as far as that is
// the gateway's own affair. It has no figures: upstreams have them.
type sockets struct {
	shortage func() *upstream.Shortage // the last one, nil for none
}

// shortFor is how long a shortage of sockets is told of.
const shortFor = time.Minute

// Figures implements perf.Source.
func (sockets) Figures(perf.Reporter) {}

// Examine implements perf.Examined.
func (s sockets) Examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "process/sockets"}
	if last := s.shortage(); last != nil && time.Since(last.At) < shortFor {
		c.State = perf.Degraded
		c.Error = "no connection to an upstream could be made: " + last.Lack
		c.Advice = last.Advice
	}
	report(c)
}

// shortage is the last of the upstreams' that says something about the gateway.
func (g *Gateway) shortage() (last *upstream.Shortage) {
	for _, m := range members(g.live.Load().parts) {
		if s := m.client.Shortage(); s != nil && (last == nil || s.At.After(last.At)) {
			last = s
		}
	}
	return last
}
