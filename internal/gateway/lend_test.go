package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/admit"
	"sluice/internal/batch"
	"sluice/internal/cache"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// queued is a cache in front of a batcher in front of an upstream that is asked one call
// at a time, each of which takes a second.
type queued struct {
	chain llm.Handler
	t     *testing.T
	begun time.Time
	calls sync.WaitGroup

	mu    sync.Mutex
	asked []string
	cut   int
}

const maxItems = 20

type oneGroup struct{}

func (oneGroup) Group(model string) (id [32]byte, name string, ok bool) {
	return sha256.Sum256([]byte(model)), model, true
}

func newQueued(t *testing.T) *queued {
	c, err := cache.New(cache.Default(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := batch.Default()
	cfg.Strategy, cfg.MaxItems = "time", maxItems
	b, err := batch.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	limits := admit.Default()
	limits.MaxConcurrency, limits.MinConcurrency, limits.QueueTimeout = 1, 1, time.Hour
	q := &queued{t: t, begun: time.Now()}
	q.chain = c.Stage(b.Stage(admit.New(limits, "up", 1).Stage(llm.HandlerFunc(q.upstream))), oneGroup{}, false)
	return q
}

// upstream answers with what it was asked.
func (q *queued) upstream(ctx context.Context, req *llm.Request, out llm.Sink) error {
	said := said(req)
	q.mu.Lock()
	q.asked = append(q.asked, said)
	q.mu.Unlock()
	req.Send()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		q.mu.Lock()
		q.cut++
		q.mu.Unlock()
		return ctx.Err()
	}
	body := fmt.Sprintf(`{"id":"1","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":%s}}]}`, said)
	if req.Op == llm.Embedding {
		inputs := strings.Split(strings.Trim(said, "[]"), ",")
		for i := range inputs {
			inputs[i] = fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%d]}`, i, i)
		}
		body = `{"object":"list","data":[` + strings.Join(inputs, ",") + `],"model":"m","usage":{"prompt_tokens":9,"total_tokens":9}}`
	}
	if err := out.Start(&llm.Head{Status: 200, Length: int64(len(body)), Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: []byte(body)}})
}

// said is the messages of a chat, or the inputs of an embedding.
func said(req *llm.Request) string {
	for _, member := range []string{"messages", "input"} {
		if v, ok := jsonscan.Get(req.Body, member); ok {
			return string(req.Body[v.Start:v.End])
		}
	}
	return ""
}

// asker is one who asks, and what became of that.
type asker struct {
	leave context.CancelFunc
	done  bool
	err   error
	at    time.Duration // since the beginning
	reply heard
}

type heard struct{ body []byte }

func (*heard) Start(*llm.Head) error { return nil }
func (c *heard) Send(events []llm.Event) error {
	for i := range events {
		c.body = append(c.body, events[i].Raw...)
	}
	return nil
}

// ask asks so urgently, with so much time, 0 for as much as it takes, and returns when
// that waits.
func (q *queued) ask(said string, p llm.Priority, within time.Duration) *asker {
	req := &llm.Request{Op: llm.Chat, Method: "POST", Path: "/v1/chat/completions", Model: "m", ModelSpan: llm.Span{Start: 9, End: 12}}
	req.Body = fmt.Appendf(nil, `{"model":"m","messages":%q}`, said)
	if input, ok := strings.CutPrefix(said, "embed "); ok {
		req.Op, req.Path = llm.Embedding, "/v1/embeddings"
		req.Body = fmt.Appendf(nil, `{"model":"m","input":%s}`, input)
	}
	req.BodyLen = int64(len(req.Body))
	if req.Priority, req.Turn = p, new(llm.Turn); within > 0 {
		req.Deadline = time.Now().Add(within)
	}
	c := new(asker)
	var ctx context.Context
	ctx, c.leave = context.WithCancel(q.t.Context())
	q.calls.Go(func() {
		defer c.leave()
		c.err = q.chain.Serve(ctx, req, &c.reply)
		c.done, c.at = true, time.Since(q.begun)
	})
	synctest.Wait()
	return c
}

func (q *queued) order() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Join(q.asked, " ")
}

func late(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return ok && e.Status == 504 && e.Fault == llm.TooLate
}

// expect has a caller's answer be there since then, an error where it was late.
func (q *queued) expect(name string, c *asker, at time.Duration, isLate bool) {
	q.t.Helper()
	if !c.done || c.at != at || late(c.err) != isLate || isLate == (c.err == nil) {
		q.t.Errorf("%s: at %v, %v", name, c.at, c.err)
	}
}

func TestLentPriority(t *testing.T) {
	// The call of low priority that one of high priority joins goes before those of
	// normal priority, and stays there when the joiner leaves, or its first caller.
	for name, leaves := range map[string]string{"": "", "the joiner leaves": "joiner", "the first leaves": "first"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueued(t)
				q.ask("first", 5, 0)
				low := q.ask("low", 2, 0)
				q.ask("normal", 5, 0)
				q.ask("other low", 2, 0)
				time.Sleep(time.Second / 2)
				high := q.ask("low", 8, 0)
				switch leaves {
				case "joiner":
					high.leave()
				case "first":
					low.leave()
				}
				q.calls.Wait()
				if got := q.order(); got != `"first" "low" "normal" "other low"` {
					t.Errorf("asked in the order %s", got)
				}
				if leaves == "" {
					q.expect("low", low, 2*time.Second, false)
				}
				if leaves != "joiner" {
					q.expect("high", high, 2*time.Second, false)
				}
				if string(high.reply.body) != string(low.reply.body) && leaves == "" {
					t.Errorf("%s, %s", high.reply.body, low.reply.body)
				}
			})
		})
	}
}

func TestLentDeadline(t *testing.T) {
	const second = time.Second
	for name, test := range map[string]func(t *testing.T, q *queued){
		"the joiner has no deadline": func(_ *testing.T, q *queued) {
			first := q.ask("x", 5, second/2)
			joiner := q.ask("x", 5, 0)
			q.calls.Wait()
			q.expect("first", first, 2*second, false)
			q.expect("joiner", joiner, 2*second, false)
		},
		"the joiner has more time": func(_ *testing.T, q *queued) {
			first := q.ask("x", 5, second/2)
			joiner := q.ask("x", 5, 3*second)
			q.calls.Wait()
			q.expect("first", first, 2*second, false)
			q.expect("joiner", joiner, 2*second, false)
		},
		"the joiner has less time": func(t *testing.T, q *queued) {
			first := q.ask("x", 5, 0)
			joiner := q.ask("x", 5, second/2)
			time.Sleep(second / 2)
			synctest.Wait()
			q.expect("joiner", joiner, second/2, true)
			q.calls.Wait()
			q.expect("first", first, 2*second, false)
		},
		"the joiner's time ends after the call was sent": func(t *testing.T, q *queued) {
			first := q.ask("x", 5, 0)
			joiner := q.ask("x", 5, second*3/2)
			q.calls.Wait()
			q.expect("joiner", joiner, 2*second, false)
			q.expect("first", first, 2*second, false)
		},
		"both are late": func(t *testing.T, q *queued) {
			first := q.ask("x", 5, second/4)
			joiner := q.ask("x", 5, second/2)
			soon := q.ask("x", 5, second/8)
			q.calls.Wait()
			q.expect("soon", soon, second/8, true)
			q.expect("first", first, second/2, true)
			q.expect("joiner", joiner, second/2, true)
			if got := q.order(); got != `"busy"` {
				t.Errorf("asked %s", got)
			}
		},
		"one comes as it is dropped": func(t *testing.T, q *queued) {
			first := q.ask("x", 5, second/2)
			time.Sleep(second / 2)
			joiner := q.ask("x", 5, 0) // before or after
			q.calls.Wait()
			if !late(first.err) && first.err != nil {
				t.Error(first.err)
			}
			q.expect("joiner", joiner, 2*second, false)
		},
		"the joiner leaves and the first has time": func(t *testing.T, q *queued) {
			first := q.ask("x", 5, 0)
			joiner := q.ask("x", 5, second/2)
			joiner.leave()
			q.calls.Wait()
			if !errors.Is(joiner.err, context.Canceled) {
				t.Error(joiner.err)
			}
			q.expect("first", first, 2*second, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueued(t)
				q.ask("busy", 5, 0)
				test(t, q)
			})
		})
	}
}

// What is lent reaches a call that the caller's items are a part of, be they many or one
// of several callers'.
func TestLentToBatch(t *testing.T) {
	var large []string
	for i := range maxItems + 1 {
		large = append(large, fmt.Sprintf(`"%d"`, i))
	}
	for name, inputs := range map[string][]string{
		"alone":           {`"a"`},
		"gathering":       {`"a"`, `"b"`},
		"more than fits":  {"[" + strings.Join(large, ",") + "]"},
		"a batch already": {"[" + strings.Join(large[:batch.Default().MaxBatchSize], ",") + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueued(t)
				q.ask("busy", 5, 0)
				var first []*asker
				for _, input := range inputs {
					first = append(first, q.ask("embed "+input, 2, time.Second/2))
				}
				time.Sleep(time.Second / 4) // until they have gathered
				q.ask("normal", 5, 0)
				joiner := q.ask("embed "+inputs[len(inputs)-1], 8, 0)
				soon := q.ask("embed "+inputs[0], 8, time.Second/8)
				time.Sleep(time.Second / 8)
				synctest.Wait()
				q.expect("soon", soon, time.Second*3/8, true)
				q.calls.Wait()
				calls, want := len(q.asked)-2, 1
				if name == "more than fits" {
					want = 2
				}
				if q.asked[len(q.asked)-1] != `"normal"` || calls != want {
					t.Errorf("asked in the order %s", q.order())
				}
				for i, c := range append(first, joiner) {
					if i == 0 && len(inputs) > 1 { // its call waits for the other, who was lent time
						q.expect("embedding", c, time.Second/2, true)
						continue
					}
					q.expect("embedding", c, time.Duration(1+calls)*time.Second, false)
				}
			})
		})
	}
}

// Callers of the same and of other things come, with any urgency, and leave. Each has one
// answer; nobody is late before his time, and nobody joins what is dropped for another's.
func TestLendAtRandom(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			q := newQueued(t)
			ms := func(n int) time.Duration { return time.Duration(r.IntN(n)) * time.Millisecond }
			type asked struct {
				*asker
				begun, within time.Duration
				left          bool
			}
			var all []*asked
			for range 200 {
				time.Sleep(ms(300))
				a := &asked{begun: time.Since(q.begun)}
				if r.IntN(2) == 0 {
					a.within = 1 + ms(4000)
				}
				what := fmt.Sprint("x", r.IntN(6))
				if r.IntN(3) == 0 {
					what = fmt.Sprintf(`embed "%s"`, what)
				}
				what = strings.Replace(what, "x", fmt.Sprint("x", len(all)/40), 1) // else all of it is stored soon
				a.asker = q.ask(what, llm.Priority(r.IntN(10)), a.within)
				if all = append(all, a); r.IntN(5) == 0 {
					a.left = true
					leaves := ms(2000)
					q.calls.Go(func() {
						time.Sleep(leaves)
						a.leave()
					})
				}
			}
			q.calls.Wait()
			served := 0
			for i, a := range all {
				switch {
				case a.err == nil:
					served++
				case late(a.err) && a.within > 0: // or it would have been
				case a.left && errors.Is(a.err, context.Canceled):
				default:
					t.Errorf("seed %d, %d: came at %v with %v, %v at %v", seed, i, a.begun, a.within, a.err, a.at)
				}
			}
			if served < 60 {
				t.Errorf("seed %d: %d were served", seed, served)
			}
		})
	}
}

// TestLentThroughTheFront has clients lend by what their requests say, over sockets.
func TestLentThroughTheFront(t *testing.T) {
	for _, queue := range []string{"admission", "pool"} {
		t.Run(queue, func(t *testing.T) {
			arrived, answer := make(chan string, 9), make(chan struct{})
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != "POST" {
					http.NotFound(w, r)
					return
				}
				arrived <- said(&llm.Request{Body: body})
				select {
				case <-answer:
				case <-t.Context().Done():
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}`)
			}))
			defer up.Close()
			cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.URL+"/v1")
			h := &cfg.HTTPClient
			if len(cfg.Upstreams) > 0 {
				h = &cfg.Upstreams[0].HTTPClient
			}
			if queue == "pool" {
				h.MaxConnections, h.MaxKeepaliveConnections, h.WarmConnections = 1, 1, 0
				cfg.Admit.MaxConcurrency = 9 // or they would wait to be admitted
			} else {
				cfg.Admit.MaxConcurrency, cfg.Admit.MinConcurrency = 1, 1
			}
			g, err := New(cfg, Options{Version: "test"})
			if err != nil {
				t.Fatal(err)
			}
			_, url := serve(t, g)
			var calls sync.WaitGroup
			ask := func(said, priority, timeout string, status int) <-chan struct{} {
				answered := make(chan struct{})
				calls.Go(func() {
					defer close(answered)
					req, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/chat/completions",
						strings.NewReader(`{"model":"one/m","messages":[{"role":"user","content":"`+said+`"}]}`))
					req.Header.Set("X-Priority", priority)
					if timeout != "" {
						req.Header.Set("X-Request-Timeout", timeout)
					}
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if body, _ := io.ReadAll(resp.Body); resp.StatusCode != status {
						t.Errorf("%s: %d, %s", said, resp.StatusCode, body)
					}
				})
				return answered
			}
			figure := func(name string) int {
				_, page := get(t, url+"/metrics")
				return testkit.Total(t, page, "sluice_"+name)
			}
			waits := func(n int) {
				name := map[string]string{"admission": "admit_queue_depth", "pool": "upstream_pool_waiting"}[queue]
				testkit.Until(t, fmt.Sprint(n, " wait"), func() bool { return figure(name) == n })
			}
			ask("first", "normal", "", 200)
			<-arrived
			ask("low", "low", "60", 200)
			waits(1)
			ask("normal", "normal", "", 200)
			waits(2)
			ask("low", "high", "", 200)
			<-ask("low", "high", "0.01", 504) // late by itself
			testkit.Until(t, "the others have joined", func() bool {
				_, page := get(t, url+"/metrics")
				return strings.Contains(page, `sluice_cache_requests_total{result="coalesced"} 2`)
			})
			order := []string{}
			for range 2 {
				answer <- struct{}{}
				order = append(order, <-arrived)
			}
			answer <- struct{}{}
			calls.Wait()
			if !slices.IsSortedFunc(order, strings.Compare) || !strings.Contains(order[0], "low") {
				t.Errorf("the upstream was asked in the order %v", order)
			}
		})
	}
}
