package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// bodyOf is a chat's body of n bytes.
func bodyOf(n int) string {
	const begin, end = `{"model":"m","x":"`, `"}`
	return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
}

// budgeted is a Governor with a budget of n bytes.
func budgeted(n int64) *memory.Governor {
	g := new(memory.Governor)
	g.Budget.Resize(n)
	return g
}

// pipe is a body of unknown length that comes when the test says so.
func pipe(t *testing.T, client *http.Client, url string) (*io.PipeWriter, <-chan *http.Response) {
	t.Helper()
	r, w := io.Pipe()
	req := newRequest(t, t.Context(), "POST", url, "")
	req.Body, req.ContentLength = r, -1
	got := make(chan *http.Response, 1)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		got <- resp
	}()
	return w, got
}

// What a request takes is reserved while it is under way, by the size of what it
// holds, and given back with its end, whatever that is.
func TestBodiesAreReserved(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			g := budgeted(64 << 20)
			hold, release := make(chan struct{}, 9), make(chan struct{}, 9)
			s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				hold <- struct{}{}
				<-release
				return sendUnary(out, `{}`)
			}, Options{Memory: g})
			client := e.client(t, s)
			held := g.Budget.Account("requests").Held
			for _, n := range []int{100, 20 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20} {
				for _, announced := range []bool{true, false} {
					body := io.Reader(strings.NewReader(bodyOf(n)))
					if !announced {
						body = io.MultiReader(body)
					}
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						req := newRequest(t, t.Context(), "POST", s.url(chatPath), "")
						req.Body, req.ContentLength = io.NopCloser(body), -1
						if announced {
							req.ContentLength = int64(n)
						}
						if resp, text := do(t, client, req); resp.StatusCode != 200 {
							t.Errorf("%d: status %d, %s", n, resp.StatusCode, text)
						}
					}()
					<-hold
					if got := held(); got < int64(n+callBytes) || got > int64(max(2*n, unannounced)+callBytes+4096) && got > int64(16*unannounced+callBytes) {
						t.Errorf("%d bytes, announced: %v: %d reserved", n, announced, got)
					}
					release <- struct{}{}
					<-ended
					testkit.Until(t, "it is given back", func() bool { return held() == 0 })
				}
			}
		})
	}
}

// A body that cannot have memory is refused before it is read: at once where it never
// could, and else when it has waited. Small ones are not held up by that.
func TestNoMemoryForBodies(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			g := budgeted(16 << 20)
			hold, release := make(chan struct{}, 1), make(chan struct{})
			s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				if req.BodyLen > memory.Small {
					hold <- struct{}{}
					<-release
				}
				return sendUnary(out, `{}`)
			}, Options{Memory: g})
			client := e.client(t, s)
			ask := func(n int) (int, string) {
				resp, text := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), bodyOf(n)))
				if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				return resp.StatusCode, text
			}
			if status, text := ask(12 << 20); status != 413 || !strings.Contains(text, "memory") {
				t.Errorf("more than there is: %d, %s", status, text)
			}
			first := make(chan int)
			go func() { status, _ := ask(8 << 20); first <- status }()
			<-hold
			second := make(chan int)
			go func() { status, _ := ask(8 << 20); second <- status }()
			testkit.Until(t, "the second waits", g.Budget.Waiting)
			for range 10 {
				if status, text := ask(1000); status != 200 {
					t.Errorf("small: %d, %s", status, text)
				}
			}
			if status := <-second; status != 503 {
				t.Errorf("second: %d", status)
			}
			go func() { status, _ := ask(8 << 20); second <- status }()
			testkit.Until(t, "another one waits", g.Budget.Waiting)
			release <- struct{}{}
			if status := <-first; status != 200 {
				t.Errorf("first: %d", status)
			}
			<-hold
			release <- struct{}{}
			if status := <-second; status != 200 {
				t.Errorf("the one that waited for it: %d", status)
			}
		})
	}
}

// Bodies that wait for memory keep no other of their connection of HTTP/2 from coming, in
// whose window they have a part each.
func TestWaitingIsInNoOthersWay(t *testing.T) {
	g := budgeted(20 << 20)
	s := startWith(t, unary(`{}`), Options{Memory: g})
	client := h2c(t, s)
	full := g.Budget.Account("all that large ones may have")
	full.Hold(12 << 20)
	const waiting = 5
	done := make(chan int, waiting)
	for range waiting {
		go func() {
			resp, _ := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), bodyOf(4<<20)))
			done <- resp.StatusCode
		}()
	}
	testkit.Until(t, "they wait", func() bool { return figuresOf(g)["memory_waiting"] == waiting })
	for range 3 {
		if resp, text := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), bodyOf(10_000))); resp.StatusCode != 200 {
			t.Errorf("%d, %s", resp.StatusCode, text)
		}
	}
	full.Give(full.Held())
	for range waiting {
		if status := <-done; status != 200 {
			t.Errorf("status %d of one that has waited", status)
		}
	}
}

// A body of unknown length that grows beyond what there is gets the same answer, and
// gives back what it had.
func TestNoMemoryForMore(t *testing.T) {
	g := budgeted(8 << 20)
	s := startWith(t, unary(`{}`), Options{Memory: g})
	w, got := pipe(t, h1(t, s), s.url(chatPath))
	go func() {
		_, _ = io.WriteString(w, bodyOf(7<<20))
		_ = w.Close()
	}()
	resp := <-got
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 && resp.StatusCode != 413 {
		t.Errorf("status %d", resp.StatusCode)
	}
	testkit.Until(t, "it is given back", func() bool { return g.Budget.Used() == 0 })
}

// Clients that announce much and send nothing do not keep others from their turn for
// longer than body_timeout; those that leave, not at all.
func TestAnnouncedAndNotSent(t *testing.T) {
	for _, leave := range []bool{false, true} {
		testkit.InTime(t, 300*time.Millisecond, func(timeout time.Duration) error {
			s, nc, err := announced(t, timeout)
			if err != nil {
				return err
			}
			if leave {
				_ = nc.Close()
			}
			return s.takes(t, 9<<20)
		})
	}
}

// announced has a client announce nine million bytes, of which it sends one, and fails
// where nothing is reserved for them as long as they may take.
func announced(t *testing.T, timeout time.Duration) (*site, net.Conn, error) {
	t.Helper()
	g := budgeted(20 << 20)
	s := startWith(t, unary(`{}`), Options{Memory: g}, func(c *Config, _ *StreamConfig) { c.BodyTimeout = timeout })
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, "POST "+chatPath+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); g.Budget.Used() < 9_000_000; time.Sleep(time.Millisecond) {
		if time.Since(begun) > timeout {
			return nil, nil, errors.New("nothing is reserved")
		}
	}
	return s, nc, nil
}

// takes sends a body of a size, and fails where it is not answered with 200.
func (s *site) takes(t *testing.T, size int) error {
	t.Helper()
	if resp, text := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), bodyOf(size))); resp.StatusCode != 200 {
		return fmt.Errorf("status %d, %s", resp.StatusCode, text)
	}
	return nil
}

// A large body that comes slowly is given up once others wait for memory.
func TestSlowLargeBody(t *testing.T) {
	testkit.InTime(t, 300*time.Millisecond, func(timeout time.Duration) error {
		s, nc, err := announced(t, timeout)
		if err != nil {
			return err
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // often enough for body_timeout
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					_, _ = io.WriteString(nc, " ")
				}
			}
		}()
		defer func() {
			close(stop)
			<-stopped
		}()
		return s.takes(t, 9<<20)
	})
}

// One that began to stall before anybody waited is given up as well, and soon enough for
// those who wait; one that comes fast enough is not.
func TestStalledLargeBody(t *testing.T) {
	g := budgeted(20 << 20)
	s := startWith(t, unary(`{}`), Options{Memory: g}, func(c *Config, _ *StreamConfig) { c.BodyTimeout = time.Hour })
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := io.WriteString(nc, "POST "+chatPath+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	stalled := dial()
	fast := dial()
	testkit.Until(t, "both are reserved", func() bool { return g.Budget.Used() > 10_000_000 })
	if _, err := io.WriteString(fast, strings.Repeat(" ", 4_900_000)); err != nil { // good for 37 s
		t.Fatal(err)
	}
	// There is room for it only when one is gone, and as SDKs do it tries again.
	testkit.Until(t, "the third one is taken", func() bool { return s.takes(t, 3<<20) == nil })
	_ = stalled.SetReadDeadline(time.Now().Add(time.Minute))
	reply := make([]byte, 12)
	if _, err := io.ReadFull(stalled, reply); err != nil || string(reply) != "HTTP/1.1 408" {
		t.Errorf("the stalled one: %q, %v", reply, err)
	}
	if _, err := io.WriteString(fast, strings.Repeat(" ", 5_000_000-4_900_001-len(`"model":"m"}`))+`"model":"m"}`); err != nil {
		t.Fatal(err)
	}
	_ = fast.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(fast, reply); err != nil || string(reply) != "HTTP/1.1 200" {
		t.Errorf("the fast one: %q, %v", reply, err)
	}
	if n := len(s.uploads.all); n != 0 {
		t.Errorf("%d bodies are thought to be read", n)
	}
}

// While memory is scarce calls of low priority are turned away unread, and at its worst
// all calls; probes and figures are not.
func TestScarce(t *testing.T) {
	g := memory.New(memory.Options{})
	s := startWith(t, unary(`{}`), Options{Memory: g})
	for level, want := range map[memory.Level][3]int{
		memory.Normal: {200, 200, 200}, memory.Elevated: {200, 200, 200}, memory.High: {503, 200, 200}, memory.Critical: {503, 503, 503},
	} {
		g.SetLevel(level)
		for i, priority := range []string{"low", "normal", "high"} {
			req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
			req.Header.Set("X-Priority", priority)
			resp, text := do(t, h1(t, s), req)
			if resp.StatusCode != want[i] || resp.StatusCode == 503 && (!strings.Contains(text, `"gateway_overloaded"`) || resp.Header.Get("Retry-After") == "") {
				t.Errorf("%v, %s: %d, %s", level, priority, resp.StatusCode, text)
			}
		}
		if resp, text := do(t, h1(t, s), newRequest(t, t.Context(), "GET", s.url("/healthz"), "")); resp.StatusCode != 200 {
			t.Errorf("%v: %d, %s", level, resp.StatusCode, text)
		}
	}
}

// Where all memory is held probes are answered all the same, on connections that are new.
func TestFullBudgetAnswersProbes(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			g := memory.New(memory.Options{})
			g.Budget.Resize(16 << 20)
			s := startWith(t, unary(`{}`), Options{Memory: g})
			all := g.Budget.Account("requests")
			n := g.Budget.Size() * 12 / 10
			all.Hold(n)
			defer all.Give(n)
			for range 5 {
				client := e.client(t, s)
				for _, path := range []string{"/healthz", "/readyz"} {
					if resp, text := do(t, client, newRequest(t, t.Context(), "GET", s.url(path), "")); resp.StatusCode != 200 {
						t.Errorf("%s: %d, %s", path, resp.StatusCode, text)
					}
				}
				client.CloseIdleConnections()
			}
			if resp, text := do(t, e.client(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.StatusCode != 503 || !strings.Contains(text, "gateway_overloaded") {
				t.Errorf("a call: %d, %s", resp.StatusCode, text)
			}
		})
	}
}

// Connections without a request make room for others, whichever engine has them; those
// with one stay.
func TestIdleMakeRoom(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			hold, release := make(chan struct{}), make(chan struct{})
			s := startWith(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				hold <- struct{}{}
				<-release
				return sendUnary(out, `{}`)
			}, Options{})
			idle, busy := e.client(t, s), e.client(t, s)
			if resp, _ := do(t, idle, newRequest(t, t.Context(), "GET", s.url("/healthz"), "")); resp.StatusCode != 200 {
				t.Fatal(resp.StatusCode)
			}
			ended := make(chan int)
			go func() {
				resp, _ := do(t, busy, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
				ended <- resp.StatusCode
			}()
			<-hold
			testkit.Until(t, "both are there", func() bool { return s.stats.connections.Load() == 2 })
			testkit.Until(t, "the idle one makes room", s.engine.Shed)
			testkit.Until(t, "it is gone", func() bool { return s.stats.connections.Load() == 1 })
			if s.engine.Shed() {
				t.Error("the busy one makes room")
			}
			release <- struct{}{}
			if status := <-ended; status != 200 {
				t.Errorf("the busy one: %d", status)
			}
		})
	}
}

// Where there are several keys none holds more than half of the memory, so that the others
// are answered whatever one does; what it held is its own again in the end.
func TestKeyHasItsShare(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			g := memory.New(memory.Options{})
			g.Budget.Resize(24 << 20)
			hold, release := make(chan struct{}, 1000), make(chan struct{})
			s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				if req.Tenant == "greedy" {
					hold <- struct{}{}
					<-release
				}
				return sendUnary(out, `{}`)
			}, Options{Memory: g}, func(c *Config, _ *StreamConfig) {
				c.APIKeys = []APIKey{{Name: "greedy", Hash: HashKey("g")}, {Name: "modest", Hash: HashKey("m")}}
			})
			client := e.client(t, s)
			ask := func(key string, size int) (int, string) {
				req := newRequest(t, t.Context(), "POST", s.url(chatPath), bodyOf(size))
				req.Header.Set("Authorization", "Bearer "+key)
				resp, err := client.Do(req)
				if err != nil {
					return 0, err.Error()
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(text)
			}
			const n = 150 // of 144 KiB each: nearly twice what half is
			got := make(chan int, n)
			for range n {
				go func() {
					status, _ := ask("g", 100<<10)
					got <- status
				}()
			}
			refused := 0
			for refused == 0 {
				if status := <-got; status != 429 {
					t.Fatalf("status %d", status)
				}
				refused++
			}
			testkit.Until(t, "all have come", func() bool { return len(hold)+len(got)+refused == n })
			if held := g.Budget.Account("requests").Held(); held > g.Budget.Size()/2 || len(hold) < 20 {
				t.Errorf("one key holds %d of %d bytes, with %d requests", held, g.Budget.Size(), len(hold))
			}
			for range 20 {
				if status, text := ask("m", 30<<10); status != 200 {
					t.Errorf("the other key: %d, %s", status, text)
				}
			}
			close(release)
			for range n - refused {
				<-got
			}
			for range 3 {
				if status, text := ask("g", 100<<10); status != 200 {
					t.Errorf("afterwards: %d, %s", status, text)
				}
			}
			for i := range s.state.Load().keys.tenants {
				k := &s.state.Load().keys.tenants[i]
				testkit.Until(t, "its share is given back", func() bool { return k.held.Load() == 0 })
			}
		})
	}
}

// Requests of HTTP/2 are as many as their heads have room for, and replies that nobody
// takes as many as there is memory for; then others are answered.
func TestManyStreamsAreBounded(t *testing.T) {
	g := memory.New(memory.Options{})
	g.Budget.Resize(16 << 20)
	s := startWith(t, unary(`{}`), Options{Memory: g}, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("a")}}
	})
	strangers := s.mostStrangers(&s.state.Load().cfg)
	if strangers > 200 || strangers < fewStrangers {
		t.Errorf("%d replies to strangers in 16 MiB", strangers)
	}
	heads := g.Budget.Account("heads")
	large := strings.Repeat("x", 15<<10)
	client := h2c(t, s)
	var wg sync.WaitGroup
	var most, givenUp atomic.Int64
	const all = 300
	for range all {
		wg.Go(func() {
			req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
			req.Header.Set("X-Large", large)
			resp, err := client.Do(req)
			if e, ok := errors.AsType[http2.StreamError](err); ok && e.Code == http2.ErrCodeInternal {
				givenUp.Add(1) // for another, where the client is slow to take them
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 401 && resp.StatusCode != 503 {
				t.Errorf("status %d", resp.StatusCode)
			}
			most.Store(max(most.Load(), heads.Held()))
		})
	}
	wg.Wait()
	if n := int(givenUp.Load()); n > all-strangers {
		t.Errorf("%d replies of %d were given up, where there may be %d", n, all, strangers)
	}
	if n := most.Load(); n > g.Budget.Size()*15/100 {
		t.Errorf("%d bytes of heads", n)
	}
	testkit.Until(t, "all is given back", func() bool { return heads.Held() == 0 })
	req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
	req.Header.Set("Authorization", "Bearer a")
	if resp, text := do(t, client, req); resp.StatusCode != 200 {
		t.Errorf("%d, %s", resp.StatusCode, text)
	}
}
