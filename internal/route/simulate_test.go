package route

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// engine is a model service that keeps what it computed of the beginnings of
// prompts, by blocks, the ones used last. It computes prompts one after the other
// and then writes replies beside one another.
type engine struct {
	rate float64 // tokens of prompts a second
	step time.Duration
	room int // blocks

	mu       sync.Mutex
	free     time.Time // when the prompts before are computed
	kept     map[int]*list.Element
	order    list.List
	busy     time.Duration
	hit, all int
	requests int
}

// blockTokens is how many tokens a block is of.
const blockTokens = 512

type arrival struct {
	Timestamp    int   `json:"timestamp"`
	OutputLength int   `json:"output_length"`
	HashIDs      []int `json:"hash_ids"`
}

// prompt computes the blocks that are not kept and gives how long that takes from now.
func (e *engine) prompt(ids []int) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := 0
	for known < len(ids) && e.kept[ids[known]] != nil {
		known++
	}
	e.requests++
	e.hit, e.all = e.hit+known, e.all+len(ids)
	for _, id := range slices.Backward(ids) {
		if at := e.kept[id]; at != nil {
			e.order.MoveToFront(at)
			continue
		}
		e.kept[id] = e.order.PushFront(id)
		if e.order.Len() > e.room {
			delete(e.kept, e.order.Remove(e.order.Back()).(int))
		}
	}
	took := 20*time.Millisecond + time.Duration(float64((len(ids)-known)*blockTokens)/e.rate*float64(time.Second))
	e.busy += took
	now := time.Now()
	if e.free.Before(now) {
		e.free = now
	}
	e.free = e.free.Add(took)
	return e.free.Sub(now)
}

type idsKey struct{}

func (e *engine) Serve(ctx context.Context, _ *llm.Request, out llm.Sink) error {
	a := ctx.Value(idsKey{}).(*arrival)
	time.Sleep(e.prompt(a.HashIDs))
	if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream}); err != nil {
		return err
	}
	time.Sleep(time.Duration(a.OutputLength) * e.step)
	return nil
}

// conversation is a body in which each block is a message.
func conversation(ids []int) []byte {
	b := append(make([]byte, 0, len(ids)*2100), `{"model":"m","stream":true,"messages":[`...)
	for i, id := range ids {
		role := "assistant"
		if i == 0 {
			role = "system"
		} else if i%2 == 1 {
			role = "user"
		}
		b = fmt.Appendf(b, `{"role":%q,"content":"`, role)
		b = append(b, bytes.Repeat(fmt.Appendf(nil, "%016x", uint64(id)*0x9e3779b97f4a7c15), 128)...)
		b = append(b, `"},`...)
	}
	b[len(b)-1] = ']'
	return append(b, '}')
}

// beginning is a sink that notes when its reply began.
type beginning struct {
	begun time.Time
	took  time.Duration
}

func (f *beginning) Start(*llm.Head) error  { f.took = time.Since(f.begun); return nil }
func (f *beginning) Send([]llm.Event) error { return nil }

type simulated struct {
	hits                float64 // blocks
	imbalance, busiest  float64 // the most to the mean, of requests and of time spent on prompts
	mean, p50, p90, p99 time.Duration
}

// simulate has arrivals answered by engines behind a Router.
func simulate(t *testing.T, cfg Config, arrivals []arrival, speed float64, engines []*engine) (s simulated) {
	synctest.Test(t, func(t *testing.T) {
		var ups []Upstream
		for i, e := range engines {
			e.kept = make(map[int]*list.Element)
			ups = append(ups, Upstream{Name: fmt.Sprint("up", i), Handler: e, Models: []string{"m"}})
		}
		r, err := New(cfg, ups, Options{Rand: seeded()})
		if err != nil {
			t.Fatal(err)
		}
		all := make([]beginning, len(arrivals))
		var wg sync.WaitGroup
		begun := time.Now()
		for i := range arrivals {
			a := &arrivals[i]
			time.Sleep(time.Duration(float64(a.Timestamp)/speed*1e6) - time.Since(begun))
			all[i].begun = time.Now()
			req := &llm.Request{Op: llm.Chat, Method: "POST", Path: "/v1/chat/completions", Model: "m", ModelSpan: llm.Span{Start: 9, End: 12}, Stream: true, Body: conversation(a.HashIDs)}
			req.BodyLen = int64(len(req.Body))
			wg.Go(func() {
				if err := r.Serve(context.WithValue(t.Context(), idsKey{}, a), req, &all[i]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s = sum(engines, all)
		idle(t, r)
	})
	return s
}

func sum(engines []*engine, all []beginning) (s simulated) {
	var hit, blocks, most int
	var busy, busiest time.Duration
	for _, e := range engines {
		hit, blocks, most = hit+e.hit, blocks+e.all, max(most, e.requests)
		busy, busiest = busy+e.busy, max(busiest, e.busy)
	}
	n := float64(len(engines))
	s.hits = float64(hit) / float64(blocks)
	s.imbalance = float64(most) / float64(len(all)) * n
	s.busiest = float64(busiest) / float64(busy) * n
	took := make([]time.Duration, len(all))
	for i := range all {
		took[i] = all[i].took
		s.mean += took[i] / time.Duration(len(all))
	}
	slices.Sort(took)
	at := func(p int) time.Duration { return took[(len(took)-1)*p/100] }
	s.p50, s.p90, s.p99 = at(50), at(90), at(99)
	return s
}

// traced gives arrivals that were recorded, or where own is true some of our own:
// conversations of several turns that begin with the same block.
func traced(t *testing.T, name string) (arrivals []arrival) {
	if name != "own" {
		testkit.Lines(t, "traces-mooncake/"+name+".jsonl.xz", func(a arrival) { arrivals = append(arrivals, a) })
		return arrivals
	}
	random := rand.New(rand.NewPCG(7, 8))
	next := 1
	for range 150 {
		ids, at := []int{0}, random.IntN(300_000)
		for range 1 + random.IntN(8) {
			for range 2 + random.IntN(20) {
				ids = append(ids, next)
				next++
			}
			arrivals = append(arrivals, arrival{Timestamp: at, OutputLength: 200, HashIDs: slices.Clone(ids)})
			at += 10_000 + random.IntN(30_000)
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.Timestamp - b.Timestamp })
	return arrivals
}

// TestPrefixCaches: conversations that stay where their beginnings are kept are
// answered sooner, and the engines have as much to do as each other. With -v it
// prints docs/balancing.md's table.
func TestPrefixCaches(t *testing.T) {
	testkit.Simulation(t)
	for _, trace := range []string{"own", "conversation_trace_first_half", "synthetic_trace"} {
		t.Run(trace, func(t *testing.T) {
			arrivals := traced(t, trace)
			replicas := []int{4}
			if testing.Verbose() {
				replicas = []int{2, 4, 8}
			} else {
				arrivals = arrivals[:min(len(arrivals), 1500)]
			}
			for _, n := range replicas {
				got := make(map[string]simulated)
				for _, balance := range balances()[1:] {
					cfg := Default()
					cfg.Balance = balance
					var engines []*engine
					for range n {
						engines = append(engines, &engine{rate: 15_000, step: 20 * time.Millisecond, room: 6000})
					}
					s := simulate(t, cfg, arrivals, float64(n)/5, engines)
					got[balance] = s
					t.Logf("| %d | `%s` | %.1f %% | %.2f | %.2f | %.2f s | %.2f s | %.2f s |", n, balance, s.hits*100, s.imbalance, s.busiest, s.mean.Seconds(), s.p50.Seconds(), s.p99.Seconds())
				}
				p, l, w := got[balancePrefix], got[balanceLeastLoaded], got[balanceWeighted]
				gain := 1.3
				if n == 2 { // where every other turn comes back by chance
					gain = 1.2
				}
				if p.hits < gain*max(l.hits, w.hits) {
					t.Errorf("%d engines: %.3f of the blocks are kept, %.3f and %.3f by load and weight", n, p.hits, l.hits, w.hits)
				}
				if p.mean > w.mean*95/100 || p.p99 > w.p99*110/100 {
					t.Errorf("%d engines: %v, P99 %v; by weight %v, P99 %v", n, p.mean, p.p99, w.mean, w.p99)
				}
				if p.busiest > bound || l.busiest > 1.25 {
					t.Errorf("%d engines: the busiest has %.2f of its share, by load %.2f", n, p.busiest, l.busiest)
				}
			}
		})
	}
}
