package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The rows.
const (
	hitRow        = "hit"
	connectRow    = "connect"
	batchRow      = "batch"
	throughputRow = "throughput"
	cpuRow        = "cpu"
	pausesRow     = "gc"
	memoryRow     = "memory"
	leakRow       = "leak"
	faultsRow     = "faults"
)

// experiments are all there are.
func experiments() []experiment {
	return []experiment{hits(), connections(), batching(), costs(), throughput(), footprint(), recovery()}
}

// What repeats in the descriptions.
const (
	upstreamTime = 50 * time.Millisecond // that the simulator takes for a reply, where nothing else is said
	fiftyMs      = "latency=50ms"
)

// hits measures what an answer from memory saves its client.
func hits() experiment {
	return experiment{
		rows: []Row{{
			ID: hitRow, Title: "Response time of a cache hit",
			Claim:  Claim{Quote: "缓存命中时响应时间减少90%+", Text: "a cache hit takes 90 % less response time, or better", Low: 0.9},
			Method: "One client asks the same question again and again, once without the cache and once with it, in turn, each on a connection of its own. The time from sending the request to the end of the reply; a round's value is the median of its samples. The simulator takes 50 ms for a reply, which is quick for a model; a real upstream takes what it takes.",
			Off:    "cache: {enabled: false}",
			On:     "cache: as by default",
		}},
		real: func(rounds int) int { return rounds * (1 + realHits) },
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			f := Figure{Name: "response time", Unit: Seconds}
			pair, stop, err := r.pair(ctx, config{[]upstream{r.upstream()}, []string{"cache: {enabled: false}"}}, config{upstreams: []upstream{r.upstream()}}, r.credentials()...)
			if err != nil {
				return err
			}
			defer stop()
			fault, times := fiftyMs, r.times(upstreamTime, 3, 60)
			if r.Upstream != "" {
				fault, times = "", realHits
			}
			for round := range r.Rounds {
				if err := r.hitRound(ctx, pair, r.chat(r.number(), fault), &f, round, times); err != nil {
					return err
				}
				r.progress.round()
			}
			rows[hitRow].Figures = []Figure{f}
			return nil
		},
	}
}

// realHits is how often a real upstream is asked the same in a round, without the cache.
const realHits = 4

// hitRound asks the same question of both sides in turn.
func (r *run) hitRound(ctx context.Context, pair [2]*child, q request, f *Figure, round, times int) error {
	var clients [2]client
	for side, g := range pair {
		clients[side] = client{addr: g.addr, key: r.key}
		defer clients[side].close()
	}
	if a := clients[1].ask(ctx, q); !a.good { // is stored
		return a.err
	}
	for n := range times {
		for turn := range 2 {
			side := (turn + n) % 2
			a := clients[side].ask(ctx, q)
			if !a.good {
				return a.err
			}
			if hit := a.cache == "HIT"; hit != (side == 1) {
				return fmt.Errorf("X-Cache is %q where the cache is to answer: %v", a.cache, side == 1)
			}
			s := f.side(round, side)
			s.Samples = append(s.Samples, a.took.Seconds())
		}
	}
	return nil
}

// connections measures how much of establishing connections is saved by keeping them.
func connections() experiment {
	const roundTrip = 20 * time.Millisecond
	return experiment{
		rows: []Row{{
			ID: connectRow, Title: "Time spent on establishing connections",
			Claim: Claim{Quote: "连接复用：减少连接建立时间50-80%", Text: "reuse takes 50 to 80 % off the time of establishing connections", Low: 0.5, High: 0.8},
			Method: "Bursts of calls at once, of sizes spread evenly from 1 to 100, which is as many as the pool of before could have, in an order drawn by the seed, one burst after the other. " +
				"The upstream is reached over real TLS and a distance with a round trip of 20 ms, which the handshake of TCP costs too. " +
				"What the gateway took for connecting and for TLS (upstream_dial_seconds and upstream_tls_seconds of its /metrics), for each call. Both sides resume TLS sessions. How long idle connections are kept, 30 s or 60 s, does not show in bursts that follow one another.",
			Off: "http_client: {" + poolBefore + "}",
			On:  "http_client: {" + poolAfter + "}, the default",
		}},
		real: func(rounds int) int {
			all := 0
			for _, size := range realBursts() {
				all += size
			}
			return 2 * (rounds*all + middle(realBursts()))
		},
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			up, fault, sizes := r.upstream(), fiftyMs, spread(r.times(150*time.Millisecond, 3, 20), maxBurst)
			if r.Upstream != "" {
				fault, sizes = "", realBursts()
			} else {
				secure, ca, err := r.certificate()
				if err != nil {
					return err
				}
				far, err := connect(r.simulator.addr, roundTrip, secure)
				if err != nil {
					return err
				}
				defer far.close()
				up = upstream{name: "far", url: "https://" + far.addr + "/v1", more: fmt.Sprintf(", http_client: {http2: false, tls: {ca: %q}}", ca)}
			}
			gateways := func(pool string) config {
				return config{[]upstream{up}, []string{"http_client: {" + pool + "}", "cache: {enabled: false}"}}
			}
			pair, stop, err := r.pair(ctx, gateways(poolBefore), gateways(poolAfter), r.credentials()...)
			if err != nil {
				return err
			}
			defer stop()
			took := Figure{Name: "connecting and TLS, for each call", Unit: Seconds}
			often := Figure{Name: "connections made, for each call", Unit: Share}
			clients := [2]*crowd{r.crowd(pair[0]), r.crowd(pair[1])}
			defer clients[0].close()
			defer clients[1].close()
			for _, c := range clients { // as a gateway that has been running
				if err := c.burst(ctx, r, middle(sizes), fault); err != nil {
					return err
				}
			}
			err = r.each(ctx, func(round, side int) error {
				order := append([]int(nil), sizes...)
				r.shuffled(round, order)
				before, err := r.figures(ctx, pair[side], dialed, shook, made)
				if err != nil {
					return err
				}
				calls := 0
				for _, size := range order {
					if err := clients[side].burst(ctx, r, size, fault); err != nil {
						return err
					}
					calls += size
				}
				after, err := r.figures(ctx, pair[side], dialed, shook, made)
				if err != nil {
					return err
				}
				grown := func(name string) float64 { return after[name] - before[name] }
				*took.side(round, side) = Side{Amount: grown(dialed) + grown(shook), Per: float64(calls)}
				*often.side(round, side) = Side{Amount: grown(made), Per: float64(calls)}
				return nil
			})
			rows[connectRow].Figures = []Figure{took, often}
			return err
		},
	}
}

// What gateways tell of connections, in /metrics.
const dialed, shook, made = "upstream_dial_seconds_sum", "upstream_tls_seconds_sum", "upstream_connections_created_total"

// maxBurst is the largest burst, as before could have connections.
const maxBurst = connectionsBefore

// realBursts are the sizes of those that a real upstream is asked.
func realBursts() []int { return spread(3, 60) }

// middle is the size in the middle.
func middle(sizes []int) int { return sizes[len(sizes)/2] }

// spread gives n sizes, spread evenly from 1 to most, whose mean is half of most.
func spread(n, most int) (sizes []int) {
	for i := range n {
		sizes = append(sizes, max(1, most*(2*i+1)/(2*n)))
	}
	return sizes
}

// shuffled puts sizes in the order of a round, which is the same on both sides.
func (r *run) shuffled(round int, sizes []int) {
	random := seeded(r.Seed, uint64(round)+1)
	random.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
}

// crowd is clients that ask at the same time, on connections that they keep.
type crowd struct {
	clients [maxBurst]client
}

func (r *run) crowd(g *child) *crowd {
	c := new(crowd)
	for i := range c.clients {
		c.clients[i] = client{addr: g.addr, key: r.key}
	}
	return c
}

func (c *crowd) close() {
	for i := range c.clients {
		c.clients[i].close()
	}
}

// burst has so many of them ask at once, each something new.
func (c *crowd) burst(ctx context.Context, r *run, size int, fault string) error {
	var asking sync.WaitGroup
	errs := make([]error, size)
	for i := range size {
		asking.Go(func() { errs[i] = c.clients[i].ask(ctx, r.chat(r.number(), fault)).err })
	}
	asking.Wait()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d requests at once failed, the first one so: %w", len(failed), size, failed[0])
	}
	return nil
}

// batching measures how many more small calls an upstream answers when they share calls.
func batching() experiment {
	const callers, model = 64, "sim-embed?call-cost=10ms&item-cost=100us"
	return experiment{
		rows: []Row{{
			ID: batchRow, Title: "Efficiency of batches",
			Claim: Claim{Quote: "批处理：批量请求处理效率提升200-500%", Text: "requests in batches are worked off 200 to 500 % more efficiently", More: true, Low: 2, High: 5},
			Method: "64 callers each embed one new text after the other. The simulated model works at one call at a time, 10 ms for each call and 0.1 ms for each text in it, as an accelerator does whose cost is mostly that of the call. Answers a second. " +
				"What batching is worth depends on those two costs: it cannot exceed the size of a batch, and where a call costs nothing by itself it is worth nothing.",
			Off: "batch: {strategy: \"off\"}, cache: {enabled: false}",
			On:  "batch: as by default (adaptive, 10 in a batch), cache: {enabled: false}",
		}},
		why: "a service's own prices and limits decide what a batch is worth there, and the calls that fill batches cost money",
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			up, uncached := []upstream{r.simulated()}, "cache: {enabled: false}"
			pair, stop, err := r.pair(ctx, config{up, []string{`batch: {strategy: "off"}`, uncached}}, config{up, []string{uncached}})
			if err != nil {
				return err
			}
			defer stop()
			f := Figure{Name: "answers", Unit: PerSecond, More: true}
			err = r.each(ctx, func(round, side int) error {
				got, err := load{addr: pair[side].addr, key: r.key, clients: callers, warm: max(r.Slice/10, 100*time.Millisecond), slice: r.Slice, begin: nothing, end: nothing,
					next: func(int) request { return r.embedding(r.number(), model, "") }}.run(ctx)
				if err != nil {
					return err
				}
				*f.side(round, side) = Side{Amount: float64(got.good), Per: got.elapsed}
				return pair[side].alive()
			})
			rows[batchRow].Figures = []Figure{f}
			return err
		},
	}
}
