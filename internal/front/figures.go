package front

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// The causes for which a reply did not reach its end.
const (
	abortClient   = iota // the client left
	abortSlow            // the client took nothing for write_timeout
	abortUpstream        // an error of the upstream's after the reply had begun
	abortShutdown        // the drain's time was up
	abortRequest         // what the client still sent is faulty
	abortInternal        // a fault of the gateway
	abortIdle            // a WebSocket in which nothing was sent
	abortLimit           // a WebSocket in which too much was
	abortCauses
)

var abortNames = [abortCauses]string{
	perf.AbortClient, perf.AbortSlow, perf.AbortUpstream, perf.AbortShutdown, perf.AbortRequest, perf.AbortInternal,
	perf.AbortIdle, perf.AbortLimit,
}

// byStatus counts requests by the class of their status: 1xx … 5xx, 0 where the
// client left first, and broken where the reply began well and ended in an error.
type byStatus [7]atomic.Uint64

const broken = 6

// count takes note of an exchange that has ended.
func (c *byStatus) count(status int, e *perf.Exchange) {
	class := status / 100 % broken
	if e.Told || class > 0 && class < 4 && e.Class() != perf.Sound {
		class = broken
	}
	c[class].Add(1)
}

// stats are the figures of a Server.
type stats struct {
	connections atomic.Int64
	rejected    [rejections]atomic.Uint64
	overShare   atomic.Uint64
	notAccepted atomic.Uint64
	lacked      atomic.Pointer[acceptFailure]
	requests    [llm.Operations]byStatus
	own         byStatus // requests to the gateway itself

	streams     atomic.Int64
	firstEvent  perf.Histogram
	betweenSend perf.Histogram
	events      atomic.Uint64
	bytes       atomic.Uint64
	writes      atomic.Uint64
	merged      atomic.Uint64
	heartbeats  atomic.Uint64

	tunnels             atomic.Int64
	tunnelsRejected     atomic.Uint64
	tunnelIn, tunnelOut atomic.Uint64 // bytes, of those that have ended

	aborts [abortCauses]atomic.Uint64
}

// Examine implements perf.Examined: how near the limit of connections is, and
// whether they can be accepted.
func (s *Server) Examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "connections"}
	open, most := s.stats.connections.Load(), int64(s.state.Load().cfg.MaxConnections)
	if open*10 > most*9 {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("%d of %d client connections are open", open, most)
		c.Advice = "Raise server.max_connections (and the limit of file descriptors), or find out which clients keep connections open: one more than that is told 503."
	}
	if f := s.stats.lacked.Load(); f != nil && time.Since(f.at) < acceptToldFor {
		c.State = perf.Degraded
		c.Error = "client connections could not be accepted: " + f.err.Error()
		c.Advice = "Raise the limit of open files (ulimit -n, LimitNOFILE=), or lower server.max_connections: clients wait until others leave."
	}
	report(c)
}

// Figures reports what the Server has counted.
func (s *Server) Figures(r perf.Reporter) {
	st := &s.stats
	r.Gauge("client_connections_open", "Client connections that are open.", float64(st.connections.Load()))
	r.Counter("memory_key_refused_total", "Requests that were refused because those of their API key hold half of the memory budget.", float64(st.overShare.Load()))
	for cause := range st.rejected {
		r.Counter("client_connections_rejected_total", "Client connections that were closed for others' sake, by cause: above max_connections (limit), none of the memory that connections may have was left (memory), without a request for longest when another one needed that (idle).",
			float64(st.rejected[cause].Load()), "cause", rejectionNames[cause])
	}
	s.engine.Figures(r)
	r.Counter("client_accept_failures_total", "Times that a client connection could not be accepted, for want of file descriptors or memory.", float64(st.notAccepted.Load()))
	asking := s.asking.Load() // first, so that there are not more of them than in all
	r.Gauge("requests_in_flight", "API requests under way, but for those to the gateway itself.", float64(max(s.inFlight.Load()-asking, 0)))
	r.Gauge("side_requests_in_flight", "Requests under way for /healthz, /readyz, /metrics and the dashboard's page, and live streams of figures.", float64(s.aside.Load()))
	for op := range llm.Operations {
		st.requests[op].report(r, "requests_total", "API requests answered, by operation and class of status; broken: the reply began well and ended in an error.", "operation", op.String())
	}
	st.own.report(r, "own_requests_total", "Administrators' requests to the gateway itself, such as GET /v1/performance, by class of status.")
	r.Gauge("streams_active", "Event streams and WebSockets that have begun and not ended.", float64(st.streams.Load()))
	r.Histogram("stream_first_event_seconds", "Time from a request's head to its stream's first event.", &st.firstEvent)
	r.Histogram("stream_between_events_seconds", "Time between events of a stream that arrived one after the other.", &st.betweenSend)
	r.Counter("stream_events_total", "Events that went to clients, before any were merged.", float64(st.events.Load()))
	r.Counter("stream_bytes_total", "Bytes of event streams written.", float64(st.bytes.Load()))
	r.Counter("stream_writes_total", "Writes of event streams.", float64(st.writes.Load()))
	r.Counter("stream_events_merged_total", "Events that were merged into the one before because the client was slow.", float64(st.merged.Load()))
	r.Counter("stream_heartbeats_total", "Comments sent while the upstream had not begun to answer.", float64(st.heartbeats.Load()))
	r.Gauge("tunnels_open", "WebSockets that are open or being asked for; those that are open are streams too.", float64(st.tunnels.Load()))
	r.Counter("tunnels_rejected_total", "WebSockets above tunnels.max_open.", float64(st.tunnelsRejected.Load()))
	const carried = "Bytes that WebSockets have carried which have ended, by direction: in is from clients."
	r.Counter("tunnel_bytes_total", carried, float64(st.tunnelIn.Load()), "direction", "in")
	r.Counter("tunnel_bytes_total", carried, float64(st.tunnelOut.Load()), "direction", "out")
	for cause := range st.aborts {
		r.Counter("replies_aborted_total", "Replies that began and did not reach their end, by cause.",
			float64(st.aborts[cause].Load()), "cause", abortNames[cause])
	}
}

// report tells of the statuses that there were, and of those that are to be hoped
// for in any case: before the first request there were none, which is known.
func (c *byStatus) report(r perf.Reporter, name, help string, labels ...string) {
	for class, status := range [...]string{"client_left", "1xx", "2xx", "3xx", "4xx", "5xx", "broken"} {
		if n := c[class].Load(); n > 0 || class == 2 {
			r.Counter(name, help, float64(n), append(slices.Clip(labels), "status", status)...)
		}
	}
}
