package upstream

import (
	"fmt"
	"sync/atomic"

	"sluice/internal/perf"
)

// stats are a Client's own figures.
type stats struct {
	createdH1, createdH2 atomic.Uint64
	reusedH1, reusedH2   atomic.Uint64
	closed               atomic.Uint64
	dialFailures         atomic.Uint64
	shortages            atomic.Uint64
	tlsResumed           atomic.Uint64
	poolTimeouts         atomic.Uint64
	poolLate             atomic.Uint64
	staleRetries         atomic.Uint64
	ownOpen              atomic.Int64 // connections that are not the pool's

	wait perf.Histogram // for a connection, of the calls that had to wait
	dial perf.Histogram // look-up, connect and proxy
	tls  perf.Histogram
}

func (s *stats) created(h2 bool) {
	if h2 {
		s.createdH2.Add(1)
	} else {
		s.createdH1.Add(1)
	}
}

func (s *stats) reused(h2 bool) {
	if h2 {
		s.reusedH2.Add(1)
	} else {
		s.reusedH1.Add(1)
	}
}

// Open is how many connections there are to the upstream, those of tunnels included.
func (c *Client) Open() int { return c.pool.snapshot().open + int(c.stats.ownOpen.Load()) }

// Tidy closes idle connections that the upstream has ended, and tells how many.
func (c *Client) Tidy() int { return c.pool.tidy() }

// crowded is the part of MaxConnections that has to wait for the queue to be a
// fault. A few wait in every burst.
const crowded = 0.1

// Examine implements perf.Examined: whether calls queue for connections.
func (c *Client) Examine(report func(perf.Condition)) {
	found := perf.Condition{Component: "upstream/" + c.opts.Name + "/connections"}
	if n := c.pool.snapshot().waiting; float64(n) > crowded*float64(c.cfg.MaxConnections) {
		found.State = perf.Degraded
		found.Error = fmt.Sprintf("%d calls wait for one of %d connections", n, c.cfg.MaxConnections)
		found.Advice = "The upstream is slow, or there are more requests at once than it is given connections: raise http_client.max_connections if it can take more."
	}
	report(found)
}

// Figures reports the connections of this upstream; see perf.Source.
func (c *Client) Figures(r perf.Reporter) {
	s, name := &c.stats, c.opts.Name
	p := c.pool.snapshot()
	h1, h2 := s.createdH1.Load(), s.createdH2.Load()
	r1, r2 := s.reusedH1.Load(), s.reusedH2.Load()
	counter := func(figure, help string, v uint64, labels ...string) {
		r.Counter(figure, help, float64(v), append([]string{"upstream", name}, labels...)...)
	}
	gauge := func(figure, help string, v float64) { r.Gauge(figure, help, v, "upstream", name) }

	const created, reused = "upstream_connections_created_total", "upstream_connections_reused_total"
	counter(created, "Connections made.", h1, "protocol", "http/1.1")
	counter(created, "Connections made.", h2, "protocol", "h2")
	counter(reused, "Calls that went over a connection made earlier.", r1, "protocol", "http/1.1")
	counter(reused, "Calls that went over a connection made earlier.", r2, "protocol", "h2")
	counter("upstream_connections_closed_total", "Connections closed, by either side.", s.closed.Load())
	counter("upstream_dial_failures_total", "Connections that could not be made.", s.dialFailures.Load())
	counter("upstream_dial_shortages_total", "Connections that could not be made for want of file descriptors, ports or memory of the gateway's own.", s.shortages.Load())
	counter("upstream_tls_resumed_total", "TLS handshakes that resumed a session.", s.tlsResumed.Load())
	counter("upstream_pool_timeouts_total", "Calls that waited for a connection in vain.", s.poolTimeouts.Load())
	counter("upstream_pool_late_total", "Calls that were not sent because their deadline came before they had a connection.", s.poolLate.Load())
	counter("upstream_stale_retries_total", "Calls sent again because a kept connection turned out closed.", s.staleRetries.Load())

	gauge("upstream_connections_open", "Connections open or being made.", float64(p.open))
	gauge("upstream_connections_idle", "Open connections with no call on them.", float64(p.idle))
	gauge("upstream_tunnel_connections_open", "Open connections that carry a tunnel or ask for one. They are none of the pool's.", float64(s.ownOpen.Load()))
	gauge("upstream_pool_waiting", "Calls waiting for a connection.", float64(p.waiting))
	r.Ratio("upstream_connection_reuse_ratio", "Part of the uses of connections that needed no new one: reused, of created and reused.",
		float64(r1+r2), float64(h1+h2+r1+r2), "upstream", name)

	r.Histogram("upstream_pool_wait_seconds", "Wait for a connection, of calls that had to wait.", &s.wait, "upstream", name)
	r.Histogram("upstream_dial_seconds", "Look-up and connect, through a proxy included.", &s.dial, "upstream", name)
	r.Histogram("upstream_tls_seconds", "TLS handshakes.", &s.tls, "upstream", name)
}
