package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
	"sluice/internal/upstream/http1"
)

func urgent(body string, p llm.Priority) *Call {
	call := post(body)
	call.Urgency.Priority = p
	return call
}

// Calls that wait go by priority, over one connection of HTTP/1.1 as over one stream
// of HTTP/2, and every tenth turn is that of who has waited longest.
func TestQueueByPriority(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			arrived, release := make(chan string, 100), make(chan struct{}, 100)
			srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				arrived <- string(body)
				<-release
			}), func(s *httptest.Server) {
				s.Config.Protocols = new(http.Protocols)
				s.Config.Protocols.SetHTTP1(!h2)
				s.Config.Protocols.SetUnencryptedHTTP2(h2)
			})
			c := newClient(t, srv.URL, func(cfg *Config, _ *Options) {
				cfg.MaxConnections, cfg.MaxKeepaliveConnections, cfg.H2C, cfg.MaxStreamsPerConnection = 1, 1, h2, 1
			})
			var wg sync.WaitGroup
			ask := func(i int, p llm.Priority) {
				wg.Go(func() {
					r, _, err := fetch(context.Background(), c, urgent(fmt.Sprint(i), p))
					if err != nil || i > 0 && r.Queued <= 0 || i == 0 && r.Queued > 0 {
						t.Errorf("call %d: %v, %v", i, r, err)
					}
				})
			}
			ask(0, 0)
			<-arrived
			// Each third of them is low, and comes first.
			priorities := []llm.Priority{2, 5, 8, 2, 5, 8, 2, 5, 8, 2, 5, 8}
			for i, p := range priorities {
				ask(i+1, p)
				testkit.Until(t, "call waits", func() bool { return waiting(c) == i+1 })
			}
			var order []string
			for range priorities {
				release <- struct{}{}
				order = append(order, <-arrived)
			}
			release <- struct{}{}
			wg.Wait()
			// The first call had the first turn where it waited for its connection.
			if want := strings.Fields("3 6 9 12 2 5 8 11 1 4 7 10"); !slices.Equal(order, want) {
				t.Errorf("they came in the order %v, want %v", order, want)
			}
			if c.stats.createdH1.Load()+c.stats.createdH2.Load() != 1 {
				t.Error("more than one connection was made")
			}
		})
	}
}

// The last one of low priority goes before others of high priority that keep coming.
func TestQueueAges(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) { cfg.MaxConnections, cfg.MaxKeepaliveConnections = 1, 1 })
	var wg sync.WaitGroup
	ask := func(body string, p llm.Priority) {
		wg.Go(func() { _, _, _ = fetch(context.Background(), c, urgent(body, p)) })
	}
	ask("first", 9)
	<-arrived
	ask("low", 0)
	testkit.Until(t, "low waits", func() bool { return waiting(c) == 1 })
	for turn := range 10 {
		ask("high", 9)
		testkit.Until(t, "high waits", func() bool { return waiting(c) == 2 })
		release <- struct{}{}
		if <-arrived == "low" {
			break
		}
		if turn == 9 {
			t.Error("low still waits after ten turns")
		}
	}
	for waiting(c) > 0 {
		release <- struct{}{}
		<-arrived
	}
	release <- struct{}{}
	wg.Wait()
}

// A call whose deadline comes while it waits is not sent, and one that comes after its
// deadline neither, whether there is a connection or not.
func TestQueueDeadline(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) { cfg.MaxConnections, cfg.MaxKeepaliveConnections = 1, 1 })
	late := func(after time.Duration, waits bool) {
		t.Helper()
		call := post("late")
		call.Urgency.Deadline = time.Now().Add(after)
		_, _, err := fetch(context.Background(), c, call)
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Status != 504 || e.Code != "deadline_exceeded" || !e.Unprocessed || e.Fault != llm.TooLate || (e.Queued > 0) != waits {
			t.Errorf("%#v (%v)", err, err)
		}
	}
	late(-time.Second, false)
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = fetch(context.Background(), c, post("holds it")) })
	<-arrived
	late(-time.Second, false)
	late(20*time.Millisecond, true)
	if n := waiting(c); n != 0 {
		t.Errorf("%d still wait", n)
	}
	release <- struct{}{}
	wg.Wait()
	if n := c.stats.poolLate.Load(); n != 3 || c.stats.poolTimeouts.Load() > 0 {
		t.Errorf("%d were too late", n)
	}
}

// What a call waits while its connection is made is the upstream's time; what it waits
// for one that is in use is its turn's.
func TestQueued(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(100, 0).Add(d) }
	for name, tc := range map[string]struct{ begun, made, want time.Duration }{
		"made long before":        {-9, -8, 10},
		"made for it":             {0, 10, 0},
		"being made when it came": {-5, 3, 7},
		"made in between":         {2, 6, 6},
		"made when there is room": {7, 10, 7},
	} {
		g := grant{at: at(10), begun: at(tc.begun), made: at(tc.made)}
		if got := g.queued(at(0)); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// A call that waits goes by what it is lent meanwhile: before others, and beyond its own
// deadline.
func TestQueueLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxConnections, cfg.MaxKeepaliveConnections = 1, 1
		p := newFakePool(t, cfg, func(context.Context) error { return nil })
		var wg sync.WaitGroup
		begun := time.Now()
		var mu sync.Mutex
		var order []string
		ask := func(name string, within time.Duration) *Call {
			call := &Call{Urgency: llm.Urgency{Priority: 5, Deadline: begun.Add(within), Turn: new(llm.Turn)}}
			wg.Go(func() {
				c, _, err := p.acquire(context.Background(), call)
				if err != nil {
					name += " is late"
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				if c != nil {
					time.Sleep(time.Second)
					p.release(c, true)
				}
			})
			synctest.Wait()
			return call
		}
		ask("first", time.Hour)
		ask("normal", time.Hour)
		ask("late", time.Second/2)
		low, high := ask("lent time", time.Second/2), ask("lent priority", time.Second/2)
		if low.Urgency.Lend(2, time.Time{}); !high.Urgency.Lend(8, begun.Add(time.Hour)) || high.Urgency.Sent() {
			t.Error("not lent")
		}
		wg.Wait()
		if got := strings.Join(order, ", "); got != "first, late is late, lent priority, normal, lent time" {
			t.Errorf("they went in the order %s", got)
		}
		p.close()
	})
}

// newFakePool makes a Client whose connections cost nothing and carry nothing.
func newFakePool(t *testing.T, cfg Config, dial func(context.Context) error) *pool {
	u, _ := url.Parse("http://127.0.0.1:1")
	c, err := New(cfg, Options{Name: "test", BaseURL: u, Proxy: direct})
	if err != nil {
		t.Fatal(err)
	}
	c.pool = newPool(c, 1, func(ctx context.Context, _ netip.AddrPort) (*conn, error) {
		if err := dial(ctx); err != nil {
			return nil, err
		}
		nc, other := net.Pipe()
		_ = other.Close()
		return &conn{stats: &c.stats, nc: nc, socket: nc, keep: cfg.KeepaliveExpiry, h1: http1.NewConn(nc, http1.Limits{})}, nil
	})
	return c.pool
}

// Calls of any priority come, leave, are served and fail, over connections that end at
// any time, and also as they are handed over. Each has one answer, in time; nobody
// waits while there is something for him; nothing is left in the end.
func TestNoWakeUpIsLost(t *testing.T) {
	all := make(map[string]int) // which call has which answer is for the scheduler to say
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			rnd := rand.New(rand.NewPCG(seed, 1))
			n := func(below int) int {
				mu.Lock()
				defer mu.Unlock()
				return rnd.IntN(below)
			}
			ms := func(below int) time.Duration { return time.Duration(n(below)) * time.Millisecond }
			cfg := Default()
			cfg.MaxConnections, cfg.MaxKeepaliveConnections, cfg.PoolTimeout, cfg.KeepaliveExpiry = 4, 3, 400*time.Millisecond, 50*time.Millisecond
			down := errors.New("down")
			p := newFakePool(t, cfg, func(ctx context.Context) error {
				select {
				case <-time.After(ms(10)):
				case <-ctx.Done():
					return ctx.Err()
				}
				if n(8) == 0 {
					return down
				}
				return nil
			})
			var wg sync.WaitGroup
			answers := make(map[string]int)
			var next context.CancelFunc // of the call that came last
			for i := range 600 {
				time.Sleep(ms(8))
				ctx, cancel := context.WithCancel(context.Background())
				call := &Call{Urgency: llm.Urgency{Priority: llm.Priority(n(10))}}
				switch n(6) {
				case 0:
					call.Urgency.Deadline = time.Now().Add(ms(60))
				case 1:
					time.AfterFunc(ms(60), cancel)
				case 2: // as a connection comes back
					mu.Lock()
					next = cancel
					mu.Unlock()
				}
				if n(3) == 0 {
					call.Urgency.Turn = new(llm.Turn)
					lends, until, to := ms(40), time.Now().Add(ms(200)), llm.Priority(n(10))
					wg.Go(func() {
						time.Sleep(lends)
						call.Urgency.Lend(to, until)
					})
				}
				wg.Go(func() {
					defer cancel()
					begun := time.Now()
					take := p.acquire
					if i%7 == 0 {
						take = func(ctx context.Context, call *Call) (*conn, bool, error) {
							c, err := p.fresh(ctx, call)
							return c, false, err
						}
					}
					c, _, err := take(ctx, call)
					took := time.Since(begun)
					kind := "served"
					e, told := errors.AsType[*llm.Error](err)
					switch _, d := call.Urgency.Now(); {
					case err == nil && !d.IsZero() && time.Now().After(d) && i%7 > 0:
						t.Errorf("served %v after its deadline", time.Since(d))
					case err == nil:
					case told && e.Status == 504:
						if kind = "late"; !time.Now().Equal(d) && took > 0 || time.Now().Before(d) {
							t.Errorf("dropped %v after its deadline", time.Since(d))
						}
					case errors.Is(err, context.Canceled):
						kind = "left"
					case told:
						if kind = "busy"; took < cfg.PoolTimeout {
							t.Errorf("gave up after %v", took)
						}
					case errors.Is(err, down):
						kind = "down"
					default:
						t.Error(err)
					}
					if call.queued > took || err != nil && told && call.queued != took && i%7 > 0 {
						t.Errorf("%s: queued for %v of %v", kind, call.queued, took)
					}
					mu.Lock()
					answers[kind]++
					mu.Unlock()
					if c == nil {
						return
					}
					time.Sleep([]time.Duration{5, 20}[n(2)] * time.Millisecond)
					keep := n(4) > 0
					mu.Lock()
					leave := next
					next = nil
					mu.Unlock()
					if leave != nil {
						leave()
					}
					p.release(c, keep)
				})
				synctest.Wait()
				p.mu.Lock()
				if w := p.queue.Len(); w > 0 && (len(p.idle) > 0 || p.dialing < w && p.open < cfg.MaxConnections) {
					t.Errorf("%d wait, %d connections are idle, %d of %d are open, of which %d are being made", w, len(p.idle), p.open, cfg.MaxConnections, p.dialing)
				}
				p.mu.Unlock()
			}
			wg.Wait()
			time.Sleep(10 * time.Millisecond) // a connection may be made for one who has left
			if s := p.snapshot(); s.waiting > 0 || s.open != s.idle || s.open > cfg.MaxKeepaliveConnections {
				t.Errorf("%+v", s)
			}
			total := 0
			for _, n := range answers {
				total += n
			}
			if total != 600 || answers["served"] < 300 {
				t.Errorf("%v", answers)
			}
			for what, n := range answers {
				all[what] += n
			}
			p.close()
			if s := p.snapshot(); s.open != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
	if all["late"] == 0 || all["left"] == 0 || all["down"] == 0 {
		t.Errorf("%v", all)
	}
}
