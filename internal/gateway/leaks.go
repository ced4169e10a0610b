package gateway

import (
	"runtime/metrics"

	"sluice/internal/memory/leak"
	"sluice/internal/perf/process"
)

// readLoad tells what the process holds, and how much it has to do. It is called a few
// times a minute from any goroutine, after collections of garbage too.
func (g *Gateway) readLoad(r *leak.Reading) {
	runtime := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(runtime[:])
	r.Heap, r.Goroutines = int64(runtime[0].Value.Uint64()), int64(runtime[1].Value.Uint64())
	load := g.front.Load()
	r.Requests, r.InFlight, r.Clients = load.Done, load.InFlight, load.Connections
	r.Files = -1
	if n, ok := process.OpenFiles(); ok {
		r.Files = int64(n)
	}
	for _, m := range members(g.live.Load().parts) {
		r.Upstreams += int64(m.client.Open())
	}
	r.Stored = g.stored()
	n, bytes := g.memory.Objects.Sum()
	r.Objects, r.ObjectBytes = int64(n), bytes
}
