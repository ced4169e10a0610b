// Command bench measures what a call costs in Sluice beside nginx as a plain
// proxy, in one run on one machine: CPU time per request, per answer from memory
// and per stream, resident memory per open stream, time to the first event, what a
// second CPU brings, the latency that is added, and what many clients get.
//
// The proxy under test runs alone on CPU 0, the mock upstream and the load on
// CPU 1. A figure is the growth of the proxy's own user and system time
// (/proc/PID/stat) divided by the number of requests that succeeded: that
// holds on a noisy machine, which a latency or a rate does not. It needs
// Linux 5.11, nginx, wrk and taskset.
//
// "bench cache" looks closer at answers from memory, beside nginx with
// proxy_cache. "bench traces" computes the hit ratios of the cache's policy on recorded
// traces, beside LRU and Bélády's optimum. "bench codec" measures what turning
// protobuf messages into JSON and back costs, beside protojson. "bench percentiles"
// measures what counting a duration costs, and how exact percentiles are, beside
// other histograms. "bench batch", "bench overload", "bench admission" and "bench
// balance" measure what batching, admission and balancing bring, and what admission
// costs, before an upstream that takes a while for a call and for each of its items.
// "bench mapped" measures what an event costs that comes as protobuf, beside one of OpenAI's, and
// what vanguard takes for the messages of the same server.
// "bench dedup" computes what de-duplication takes out of recorded conversations, and off
// their bill. "bench dialects" measures what it costs to turn requests and events from one
// dialect into another. "bench compare" measures Sluice beside other gateways and proxies,
// and writes docs/benchmarks.md. "bench soak" loads one Sluice with all kinds of requests
// for a while, and fails where something leaks; "bench hardening" does while what it depends
// on fails, and checks every reply.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/bench/soak"
)

// plan is what a run does.
type plan struct {
	binaries []string       // of Sluice; built when there are none
	engines  []string       // server.engine of Sluice; "" is a binary's own choice
	mockKind string         // mockLean or mockNetHTTP
	mockAt   string         // where it listens; anywhere when empty
	bare     bool           // Sluice without access log, and without cache where it passes on
	only     *regexp.Regexp // the lines that are measured
	duration time.Duration  // of one load
	rounds   int            // how often each load is repeated, the proxies in turn
	conns    int            // of the load
	streams  []int          // open at once when memory is measured
	calls    int            // of which latencies are taken
}

// flags are those of the commands that start proxies.
func (p *plan) flags(set *flag.FlagSet) {
	p.engines, p.streams, p.calls, p.only = []string{""}, []int{2000, 10_000}, 1000, regexp.MustCompile("")
	set.Func("sluice", "binaries to measure, separated by commas; built from the tree when empty", func(s string) error {
		p.binaries = strings.Split(s, ",")
		return nil
	})
	set.Func("engine", "what speaks HTTP in Sluice: nethttp, lean, or both separated by a comma; what the binary chooses when empty", func(s string) error {
		p.engines = strings.Split(s, ",")
		return nil
	})
	set.StringVar(&p.mockKind, "mock", mockLean, "the upstream: "+mockLean+", which costs less than a proxy, or "+mockNetHTTP)
	set.BoolVar(&p.bare, "bare", false, "switch off Sluice's access log and, where it passes on, its cache")
	set.DurationVar(&p.duration, "d", 4*time.Second, "duration of one load")
	set.IntVar(&p.rounds, "rounds", 3, "rounds; the median is printed")
	set.IntVar(&p.conns, "c", 32, "connections of the load")
}

// check says what is wrong with a plan.
func (p *plan) check() error {
	if p.rounds < 1 || p.duration < time.Second || p.conns < 1 || p.calls < 1 {
		return fmt.Errorf("%d rounds of %v with %d connections and %d calls measure nothing; wrk counts whole seconds", p.rounds, p.duration, p.conns, p.calls)
	}
	if p.mockKind != mockLean && p.mockKind != mockNetHTTP {
		return fmt.Errorf("there is no mock %q: %s or %s", p.mockKind, mockLean, mockNetHTTP)
	}
	return nil
}

func main() {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "", "cache":
		return beside(ctx, command, args)
	case "traces":
		return hitRatios(os.Stdout, args)
	case "dedup":
		return dedupSavings(os.Stdout, args)
	case "dialects":
		return dialectCosts(os.Stdout, args)
	case "percentiles":
		return percentiles(os.Stdout, args)
	case "codec":
		return codecCost(ctx, os.Stdout, args)
	case "batch", "overload", "admission", "balance", "memory":
		return workloads()[command].run(ctx, command, args)
	case "mapped":
		return mapped(ctx, os.Stdout, args)
	case "compare":
		return compared(ctx, os.Stdout, args)
	case "soak":
		return soak.Run(ctx, os.Stdout, args)
	case "hardening":
		return soak.Hardening(ctx, os.Stdout, args)
	case "vanguard": // for "bench mapped"
		if len(args) != 2 {
			return errors.New("usage: bench vanguard ADDRESS UPSTREAM")
		}
		return serveVanguard(args[0], args[1])
	case "mock": // for the other commands
		if len(args) != 3 {
			return fmt.Errorf("usage: bench mock %s|%s ADDRESS TIMES-SLOWER", mockLean, mockNetHTTP)
		}
		slower, err := strconv.Atoi(args[2])
		if err != nil || slower < 1 {
			return fmt.Errorf("%s times slower is no mock", args[2])
		}
		defer context.AfterFunc(ctx, func() { os.Exit(0) })() // it has nothing to finish
		return serveMock(args[0], args[1], slower)
	}
	return fmt.Errorf("there is no command %q", command)
}

// beside runs what is measured beside nginx.
func beside(ctx context.Context, command string, args []string) error {
	var p plan
	flags := flag.NewFlagSet("bench "+command, flag.ExitOnError)
	p.flags(flags)
	measure := hits
	if command == "" {
		measure = proxies
		flags.Func("streams", "open streams when memory is measured, separated by commas (default 2000,10000)", p.setStreams)
		flags.IntVar(&p.calls, "calls", p.calls, "calls of which the latency is taken")
		flags.Func("run", "regular expression of the lines to measure: "+strings.Join(lineNames(), ", "), func(s string) (err error) {
			p.only, err = regexp.Compile(s)
			return err
		})
	}
	flags.Parse(args)
	if err := p.check(); err != nil {
		return err
	}
	return measure(ctx, os.Stdout, p)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
