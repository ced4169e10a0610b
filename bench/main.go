// Command bench measures what a call costs in Sluice beside nginx as a plain
// proxy, in one run on one machine: CPU time per request, CPU time per
// stream, resident memory per open stream, time to the first answer and
// resident memory when idle.
//
// The proxy under test runs alone on CPU 0, the mock upstream and the load on
// CPU 1. A figure is the growth of the proxy's own user and system time
// (/proc/PID/stat) divided by the number of requests that succeeded: that
// holds on a noisy machine, which a latency or a rate does not. It needs
// Linux, nginx, wrk and taskset.
//
// "bench cache" measures what an answer from memory costs, beside nginx with
// proxy_cache. "bench traces" computes the hit ratios of the cache's policy on recorded
// traces, beside LRU and Bélády's optimum. "bench codec" measures what turning
// protobuf messages into JSON and back costs, beside protojson. "bench percentiles"
// measures what counting a duration costs, and how exact percentiles are, beside
// other histograms.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"time"
)

// plan is what a run does.
type plan struct {
	binary   string        // of Sluice; built when empty
	duration time.Duration // of one load
	rounds   int           // how often each load is repeated, the proxies in turn
	streams  int           // open at once when memory is measured
	conns    int           // of the load
	engine   string        // server.engine of Sluice
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run, args := proxies, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "mock":
			log.Fatal(serveMock(args[1]))
		case "traces":
			if err := hitRatios(os.Stdout, args[1:]); err != nil {
				log.Fatal(err)
			}
			return
		case "percentiles":
			if err := percentiles(os.Stdout, args[1:]); err != nil {
				log.Fatal(err)
			}
			return
		case "codec":
			if err := codecCost(ctx, os.Stdout, args[1:]); err != nil {
				log.Fatal(err)
			}
			return
		case "cache":
			run, args = hits, args[1:]
		}
	}
	var p plan
	flag.StringVar(&p.binary, "sluice", "", "binary to measure; built from the tree when empty")
	flag.DurationVar(&p.duration, "d", 4*time.Second, "duration of one load")
	flag.IntVar(&p.rounds, "rounds", 3, "rounds; the median is printed")
	flag.IntVar(&p.streams, "streams", 2000, "open streams when memory is measured")
	flag.IntVar(&p.conns, "c", 32, "connections of the load")
	flag.StringVar(&p.engine, "engine", "nethttp", "what speaks HTTP in Sluice: nethttp or lean")
	flag.CommandLine.Parse(args)
	if err := run(ctx, p); err != nil {
		log.Fatal(err)
	}
}

// proxies measures what passing on costs.
func proxies(ctx context.Context, p plan) error {
	lab, err := newLab(ctx, &p, passing())
	if err != nil {
		return err
	}
	defer lab.close()
	fmt.Printf("c=%d, %s per load, median of %d rounds\n\n", p.conns, p.duration, p.rounds)
	err = lab.compare(ctx, []load{
		{name: "non-stream, 600 B request, 1 kB reply", body: chatBody(false)},
		{name: "stream of 54 events, as fast as they come", body: chatBody(true)},
	})
	if err != nil {
		return err
	}
	return lab.memory(ctx)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
