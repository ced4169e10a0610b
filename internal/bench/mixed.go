package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// beforeText says what is off where the configuration cannot express it.
const beforeText = "a gateway as they are commonly written (internal/bench/before): net/http on both sides, 100 connections, 20 kept for 30 s, bodies decoded and encoded, streams joined as strings, protojson without kept results, no cache, no batches, GOGC=100"

// The pool of before.
const connectionsBefore, keptBefore = 100, 20

// nowText says what is on.
const nowText = "Sluice as a user starts it: all as by default"

// kind is what a load consists of.
type kind struct {
	name string
	next func(r *run, n int) request
}

// mixed is a load of ten requests in turn: five streams of some 50 events, four chats and
// a message to be decoded.
func mixed(r *run, n int) request {
	switch n % 10 {
	case 0, 2, 4, 6, 8:
		return streamed(r, n)
	case 9:
		return r.decode(r.number())
	}
	return chatted(r, n)
}

func streamed(r *run, _ int) request { return r.stream(r.number(), "tokens=50,pace=2ms") }
func chatted(r *run, _ int) request  { return r.chat(r.number(), "tokens=150") }
func decoded(r *run, _ int) request  { return r.decode(r.number()) }

// costs measures what requests cost in processor time and in pauses of the collector,
// and whether anything is left behind.
func costs() experiment {
	const clients, warm = 64, 150 * time.Millisecond
	const load64 = "64 clients, each asking one request after the other, all new to the cache: of ten requests five are streams of some 50 events, one each 2 ms, four are chats (600 B in, 1 kB out), one is a protobuf message of 1 kB to be made JSON. "
	return experiment{
		rows: []Row{
			{
				ID: cpuRow, Title: "Processor time for each request",
				Claim:  Claim{Quote: "CPU使用优化：降低20-40%", Text: "20 to 40 % less CPU", Low: 0.2, High: 0.4},
				Method: load64 + "The growth of the gateway's own processor time, in its code and in the kernel's for it, divided by the requests answered in that time. Below: each kind by itself, each in every sixth round.",
				Off:    beforeText, On: nowText,
			},
			{
				ID: pausesRow, Title: "Pauses of the garbage collector",
				Claim:  Claim{Quote: "内存优化：减少GC暂停时间60%+", Text: "60 % less time in pauses of the collector, or better", Low: 0.6},
				Method: load64 + "How long collections stopped the whole gateway, for each request, by what Go's runtime writes of every collection (GODEBUG=gctrace=1).",
				Off:    beforeText, On: nowText,
			},
			{
				ID: leakRow, Title: "Leaks",
				Claim:  Claim{Quote: "内存泄漏防护：自动清理和监控", Text: "protection from leaks, by cleaning up and watching"},
				Method: "The gateway of the two rows above, at rest after each round: its goroutines, its open files but for connections, and its live heap after a forced collection less what the cache holds. Growth for 1,000 requests is the median of the slopes between each two rounds but the first. And what the gateway says itself (process/leaks of /v1/health/detailed).",
				On:     nowText,
			},
		},
		uses: true,
		why:  "thousands of requests would cost money, and the service would limit their rate",
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			g, stop, err := r.beforeAndNow(ctx)
			if err != nil {
				return err
			}
			defer stop()
			kinds := []kind{{"the mix", mixed}, {"a chat", chatted}, {"a stream", streamed}, {"a protobuf message", decoded}}
			cpu := make([]Figure, len(kinds))
			for i, k := range kinds {
				cpu[i] = Figure{Name: k.name, Unit: Seconds}
			}
			paused := Figure{Name: "paused, for each request", Unit: Seconds}
			longest := Figure{Name: "the longest pause of a round", Unit: Seconds}
			often := Figure{Name: "collections for 1,000 requests", Unit: Number}
			var rests []Rest
			served := 0.0
			err = r.each(ctx, func(round, side int) error {
				measured := []int{0} // the mix each time, in every second round one kind by itself
				if round%2 == 0 {
					measured = append(measured, 1+round/2%(len(kinds)-1))
				}
				for _, i := range measured {
					k, nth, slice := kinds[i], round, r.Slice
					if i > 0 {
						nth, slice = round/2/(len(kinds)-1), max(r.Slice, leastSlice)
					}
					m := meter{child: g[side]}
					l := load{addr: g[side].addr, key: r.key, clients: clients, warm: warm, slice: slice, next: func(n int) request { return k.next(r, n) }, begin: m.begin, end: m.end}
					if i == 0 {
						l.enough = m.collected
					}
					got, err := l.run(ctx)
					if err != nil {
						return fmt.Errorf("%s: %w", k.name, err)
					}
					n := float64(got.good + got.failed)
					*cpu[i].side(nth, side) = Side{Amount: m.cpu.Seconds(), Per: n}
					if i == 0 {
						*paused.side(round, side) = Side{Amount: sum(m.pauses), Per: n}
						*longest.side(round, side) = Side{Amount: slices.Max(append(m.pauses, 0)), Per: 1}
						*often.side(round, side) = Side{Amount: float64(len(m.pauses)), Per: n / 1000}
					}
					if side == 1 {
						served += n
					}
				}
				if side == 0 {
					return nil
				}
				rest, err := r.rest(ctx, g[1])
				rest.Requests = served
				rests = append(rests, rest)
				return err
			})
			if err != nil {
				return err
			}
			rows[cpuRow].Figures = cpu
			rows[pausesRow].Figures = []Figure{paused, longest, often}
			rows[leakRow].Rests = rests
			rows[leakRow].Watch, err = r.watch(ctx, g[1])
			return err
		},
	}
}

// beforeAndNow starts what was before, and the gateway as a user starts it.
func (r *run) beforeAndNow(ctx context.Context) (g [2]*child, stop func(), err error) {
	if g[0], err = r.before(ctx, connectionsBefore, keptBefore, 0); err != nil {
		return g, nil, err
	}
	if g[1], err = r.gateway(ctx, "the gateway", config{[]upstream{r.simulated()}, []string{fmt.Sprintf("protobuf: {schemas: [%q]}", r.schema)}}, tracedGC); err != nil {
		g[0].stop()
		return g, nil, err
	}
	return g, func() { g[0].stop(); g[1].stop() }, nil
}

// leastSlice is the shortest in which what takes a third of a second can be counted.
const leastSlice = 400 * time.Millisecond

// meter reads what a child uses between two moments.
type meter struct {
	child  *child
	cpu    time.Duration
	at     int64
	pauses []float64
}

func (m *meter) begin() (err error) {
	if m.at, err = m.child.logged(); err != nil {
		return err
	}
	m.cpu, err = cpuTime(m.child.pid())
	return err
}

func (m *meter) end() error {
	now, err := cpuTime(m.child.pid())
	if err != nil {
		return err
	}
	m.cpu = now - m.cpu
	log, err := m.child.loggedSince(m.at)
	m.pauses = pauses(log)
	return err
}

// collected reports whether the child has collected since the beginning. Shortly after a look
// at it at rest, which collects, it need not have, and that says nothing of how often it does.
func (m *meter) collected() bool {
	log, err := m.child.loggedSince(m.at)
	return err != nil || len(pauses(log)) > 0 // an error comes again at the end
}

func sum(values []float64) (all float64) {
	for _, v := range values {
		all += v
	}
	return all
}

// rest looks at a gateway that nobody asks anything, once it has come to rest.
func (r *run) rest(ctx context.Context, g *child) (Rest, error) {
	const patience, pause = 5 * time.Second, 50 * time.Millisecond
	at, err := g.logged()
	if err != nil {
		return Rest{}, err
	}
	var last Rest
	for begun := time.Now(); ; {
		if _, err := get(ctx, g.addr, r.key, "/debug/pprof/heap?gc=1"); err != nil {
			return Rest{}, err
		}
		f, err := r.figures(ctx, g, "client_connections_open", "upstream_connections_open", "go_goroutines", "go_heap_live_bytes", "cache_bytes")
		if err != nil {
			return Rest{}, err
		}
		now := Rest{Goroutines: f["go_goroutines"], Heap: f["go_heap_live_bytes"] - f["cache_bytes"]}
		if files, told := f["process_open_fds"]; told { // not by every system
			now.Files = files - f["client_connections_open"] - f["upstream_connections_open"]
		}
		if now.Goroutines == last.Goroutines && now.Files == last.Files || time.Since(begun) > patience {
			return now, g.tellsOfCollections(at)
		}
		last = now
		if err := sleep(ctx, pause); err != nil {
			return Rest{}, err
		}
	}
}

// tellsOfCollections gives an error where the child has told of none since, though one was
// asked for: a log that cannot be written would make all pauses none.
func (c *child) tellsOfCollections(since int64) error {
	log, err := c.loggedSince(since)
	if err == nil && len(pauses(log)) == 0 {
		err = fmt.Errorf("%s tells of no collection", c.name)
	}
	return err
}

// watch is what a gateway says about leaks.
func (r *run) watch(ctx context.Context, g *child) (string, error) {
	b, err := get(ctx, g.addr, r.key, "/v1/health/detailed")
	if err != nil {
		return "", err
	}
	var health struct {
		Components []struct {
			Name      string `json:"name"`
			Status    string `json:"status"`
			LastError string `json:"last_error"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &health); err != nil {
		return "", fmt.Errorf("read health: %w", err)
	}
	for _, c := range health.Components {
		if c.Name == "process/leaks" && c.Status == "healthy" {
			return "healthy", nil
		} else if c.Name == "process/leaks" {
			return c.Status + ": " + c.LastError, nil
		}
	}
	return "", fmt.Errorf("read health: it has no process/leaks")
}

// waits has a model take 150 to 350 ms.
func waits(n int) string { return fmt.Sprintf("latency=%dms", 150+n%5*50) }

// crowded is a load of ten requests in turn: six new chats, two of twenty that come again
// and again, and two embeddings.
func crowded(r *run, n int) request {
	switch n % 10 {
	case 3, 8:
		return r.embedding(r.number(), "sim-embed", "latency=250ms")
	case 1, 6:
		return r.chat(-(n/5)%20, waits(1))
	}
	return r.chat(r.number(), waits(n))
}

// throughput measures how many requests many clients get answered.
func throughput() experiment {
	const clients, warm = 400, 400 * time.Millisecond
	return experiment{
		rows: []Row{{
			ID: throughputRow, Title: "Concurrent throughput",
			Claim: Claim{Quote: "并发处理能力：提升150-300%", Text: "150 to 300 % more requests at once", More: true, Low: 1.5, High: 3},
			Method: "400 clients, each asking one request after the other, of a model that takes 150 to 350 ms: of ten requests six are new chats, two are one of 20 chats that were asked before, two are embeddings of a new text. Answers a second. " +
				"The pool alone, 200 connections in place of 100, is worth +100 % where all waits for the model; what is more comes from the cache and from shared calls, and so depends on how much is asked again. Below: new chats alone, in every third round.",
			Off: beforeText, On: nowText,
		}},
		why: "it takes thousands of requests, which would cost money, and the service would limit their rate",
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			g, stop, err := r.beforeAndNow(ctx)
			if err != nil {
				return err
			}
			defer stop()
			kinds := []kind{
				{"the mix", crowded},
				{"new chats alone", func(r *run, n int) request { return r.chat(r.number(), waits(n)) }},
			}
			figures := make([]Figure, len(kinds))
			for i, k := range kinds {
				figures[i] = Figure{Name: k.name, Unit: PerSecond, More: true}
			}
			err = r.each(ctx, func(round, side int) error {
				for i, k := range kinds {
					if round%(2*i+1) != 0 {
						continue // new chats alone in every third round
					}
					got, err := load{addr: g[side].addr, key: r.key, clients: clients, warm: warm, slice: max(r.Slice, leastSlice), next: func(n int) request { return k.next(r, n) }, begin: nothing, end: nothing}.run(ctx)
					if err != nil {
						return err
					}
					*figures[i].side(round/(2*i+1), side) = Side{Amount: float64(got.good), Per: got.elapsed}
				}
				return nil
			})
			rows[throughputRow].Figures = figures
			return err
		},
	}
}

// footprint measures what streams that are open take.
func footprint() experiment {
	const streams, connections = 500, "max_connections: 600"
	return experiment{
		rows: []Row{{
			ID: memoryRow, Title: "Memory under load",
			Claim: Claim{Quote: "内存使用效率：降低30-50%", Text: "30 to 50 % less memory", Low: 0.3, High: 0.5},
			Method: "A fresh process each time, in front of 500 streams that are open at once, each with an event every 200 ms. All that is resident of the gateway (VmRSS), pages of its program's file included, which both sides have: the median of ten looks. " +
				"Both may have 600 connections here: with the 100 of before only 100 streams could be open, which would be another load.",
			Off: beforeText + "; 600 connections", On: nowText + ", and http_client: {" + connections + "}",
		}},
		uses: true,
		why:  "it takes hundreds of streams at once, which would cost money",
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			f := Figure{Name: "resident", Unit: Bytes}
			idle := Figure{Name: "resident before the load", Unit: Bytes}
			later := Figure{Name: fmt.Sprintf("resident when each stream has had %d events more", moreEvents), Unit: Bytes}
			err := r.each(ctx, func(round, side int) (err error) {
				var g *child
				if side == 0 {
					g, err = r.before(ctx, 600, keptBefore, 0)
				} else {
					g, err = r.gateway(ctx, "the gateway", config{[]upstream{r.simulated()}, []string{"http_client: {" + connections + "}"}})
				}
				if err != nil {
					return err
				}
				defer g.stop()
				start, err := resident(g.pid())
				if err != nil {
					return err
				}
				*idle.side(round, side) = Side{Amount: start, Per: 1}
				const every = 3 // rounds, since it takes long
				more := time.Duration(0)
				if round%every == 0 && r.Slice >= time.Second { // not with --quick
					more = moreEvents * eventPause
				}
				young, old, err := r.open(ctx, g, streams, more)
				*f.side(round, side) = Side{Samples: young}
				if more > 0 {
					*later.side(round/every, side) = Side{Samples: old}
				}
				return err
			})
			rows[memoryRow].Figures = []Figure{f, idle, later}
			return err
		},
	}
}

func endedEarly(err error) error {
	if err == nil {
		err = io.EOF
	}
	return fmt.Errorf("a stream ended early: %w", err)
}

// The streams of footprint: how far apart their events are, how many each has had more when
// it is looked at again, and for how long at most they are looked at, and are there.
const (
	eventPause   = 200 * time.Millisecond
	moreEvents   = 50
	longestLook  = 30 * time.Second
	lastingAtAll = 2 * time.Minute
)

// open looks at the memory of a gateway while so many streams are open, which have just
// begun, and once more when they are older by some time, unless that is 0.
func (r *run) open(ctx context.Context, g *child, streams int, more time.Duration) (young, old []float64, err error) {
	const ready = 20 * time.Second
	ctx, leave := context.WithCancel(ctx)
	begun, ended := make(chan struct{}, streams), make(chan error, streams)
	left := streams
	for range streams {
		go func() {
			c := client{addr: g.addr, key: r.key, first: func() { begun <- struct{}{} }, patience: lastingAtAll}
			defer c.close()
			ended <- c.ask(ctx, r.stream(r.number(), fmt.Sprintf("tokens=1000,pace=%v", eventPause))).err
		}()
	}
	defer func() {
		leave()
		for range left {
			<-ended //nolint:errcheck // all of them were cut
		}
	}()
	late := time.NewTimer(ready)
	defer late.Stop()
	for range streams {
		select {
		case <-begun:
		case err := <-ended:
			left--
			return nil, nil, endedEarly(err)
		case <-late.C:
			return nil, nil, fmt.Errorf("not all of %d streams began within %v", streams, ready)
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	look := func(during time.Duration) (samples []float64, err error) {
		const looks = 10
		for range looks {
			if err := sleep(ctx, during/looks); err != nil {
				return nil, err
			}
			select {
			case err := <-ended:
				left--
				return nil, endedEarly(err)
			default:
			}
			v, err := resident(g.pid())
			if err != nil {
				return nil, err
			}
			samples = append(samples, v)
		}
		return samples, nil
	}
	during := min(r.Slice, longestLook)
	if young, err = look(during); err != nil || more == 0 {
		return young, nil, err
	}
	if err := sleep(ctx, max(more-during, 0)); err != nil {
		return nil, nil, err
	}
	old, err = look(min(during, time.Second))
	return young, old, err
}
