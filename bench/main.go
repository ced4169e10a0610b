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
// "bench traces" computes the hit ratios of the cache's policy on recorded
// traces, beside LRU and Bélády's optimum.
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
	sluice   string        // the binary; built when empty
	duration time.Duration // of one load
	rounds   int           // how often each load is repeated, the proxies in turn
	streams  int           // open at once when memory is measured
	conns    int           // of the load
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "mock" {
		log.Fatal(serveMock(os.Args[2]))
	}
	if len(os.Args) > 1 && os.Args[1] == "traces" {
		if err := hitRatios(os.Stdout, os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	var p plan
	flag.StringVar(&p.sluice, "sluice", "", "binary to measure; built from the tree when empty")
	flag.DurationVar(&p.duration, "d", 4*time.Second, "duration of one load")
	flag.IntVar(&p.rounds, "rounds", 3, "rounds; the median is printed")
	flag.IntVar(&p.streams, "streams", 2000, "open streams when memory is measured")
	flag.IntVar(&p.conns, "c", 32, "connections of the load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, p plan) error {
	lab, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer lab.close()

	loads := []load{
		{name: "non-stream, 600 B request, 1 kB reply", path: "/v1/chat/completions", body: chatBody(false)},
		{name: "stream of 54 events, as fast as they come", path: "/v1/chat/completions", body: chatBody(true)},
	}
	fmt.Printf("c=%d, %s per load, median of %d rounds\n\n", p.conns, p.duration, p.rounds)
	fmt.Printf("%-44s %14s %14s %8s\n", "CPU µs per request", "nginx", "sluice", "ratio")
	for _, l := range loads {
		var nginx, sluice, ratio []float64
		for range p.rounds {
			a, err := lab.cpuPerRequest(ctx, lab.nginx, l)
			if err != nil {
				return fmt.Errorf("load nginx: %w", err)
			}
			b, err := lab.cpuPerRequest(ctx, lab.sluice, l)
			if err != nil {
				return fmt.Errorf("load sluice: %w", err)
			}
			nginx, sluice, ratio = append(nginx, a), append(sluice, b), append(ratio, b/a)
		}
		fmt.Printf("%-44s %14.1f %14.1f %8.2f\n", l.name, median(nginx), median(sluice), median(ratio))
	}
	return lab.memory(ctx)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
