package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/admit"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/route"
)

// slow serves a model that says when it is asked and answers when answer is closed.
func slow(t *testing.T) (base string, asked <-chan struct{}, answer chan struct{}) {
	t.Helper()
	at, answer := make(chan struct{}, 9), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method != "POST" { // the list of models, which is asked for at any time
			http.NotFound(w, r)
			return
		}
		at <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done(): // the test has failed
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}`)
	}))
	t.Cleanup(up.Close)
	return up.URL + "/v1", at, answer
}

// oneAtATime runs a Gateway that has each upstream do one call at once, and nobody wait.
func oneAtATime(t *testing.T, cfg *config.Config) (*Gateway, string) {
	t.Helper()
	cfg.Admit.MaxConcurrency, cfg.Admit.MinConcurrency, cfg.Admit.QueueSize = 1, 1, 0
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, g)
}

// TestAdmission has an upstream with a limit of one, and no queue, asked twice.
func TestAdmission(t *testing.T) {
	base, at, answer := slow(t)
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base)
	g, url := oneAtATime(t, cfg)
	ask := func(said string, header ...string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(context.Background(), "POST", url+"/v1/chat/completions",
			strings.NewReader(`{"model":"one/m","messages":[{"role":"user","content":"`+said+`"}]}`))
		if err != nil {
			t.Error(err)
			return &http.Response{}, ""
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return &http.Response{}, ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp, string(body)
	}
	done := make(chan *http.Response, 1)
	go func() { resp, _ := ask("first"); done <- resp }()
	<-at
	if resp, body := ask("another"); resp.StatusCode != 503 || !strings.Contains(body, `"code":"overloaded"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("where there is no room: %d %s", resp.StatusCode, body)
	}
	if resp, body := ask("soon", "X-Request-Timeout", "1ns"); resp.StatusCode != 504 || !strings.Contains(body, `"code":"deadline_exceeded"`) {
		t.Errorf("with a deadline: %d %s", resp.StatusCode, body)
	}
	for _, path := range []string{"/v1/health/detailed", "/v1/performance"} {
		if _, page := get(t, url+path); !strings.Contains(page, `"upstream/one/admission","status":"degraded"`) || !strings.Contains(page, "1 calls of 2 were refused lately (50 %)") {
			t.Errorf("%s does not say that calls are refused: %s", path, page)
		}
	}
	// A reload keeps what was learnt.
	other := *cfg
	other.Server.DrainTimeout++
	before := held[*admission](g.chain, "admit").limiters["one"]
	if err := g.Reload(&other); err != nil {
		t.Fatal(err)
	}
	if held[*admission](g.chain, "admit").limiters["one"] != before {
		t.Error("a reload made another limiter of the same upstream")
	}
	close(answer)
	if resp := <-done; resp.StatusCode != 200 {
		t.Errorf("the first: %d", resp.StatusCode)
	}
	_, page := get(t, url+"/metrics")
	for _, line := range []string{
		`sluice_admit_refused_total{cause="queue_full",upstream="one"} 1`,
		`sluice_admit_refused_total{cause="deadline",upstream="one"} 1`, `sluice_admit_in_flight{upstream="one"} 0`, `sluice_admit_limit{upstream="one"} 1`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("not in /metrics: %s", line)
		}
	}
}

// TestReloadKeepsCalls reloads with other limits while calls are under way: they count
// on.
func TestReloadKeepsCalls(t *testing.T) {
	base, at, answer := slow(t)
	g, url := oneAtATime(t, load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base))
	var said atomic.Int64 // equal ones would share a call
	ask := func() int {
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"one/m","messages":[{"role":"user","content":"`+strconv.FormatInt(said.Add(1), 10)+`"}]}`))
		if err != nil {
			t.Error(err)
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	done := make(chan int, 2)
	go func() { done <- ask() }()
	<-at
	reload := func(change func(*config.Config)) {
		next := *g.cfg
		next.Upstreams = slices.Clone(next.Upstreams)
		change(&next)
		if err := g.Reload(&next); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		reload(func(c *config.Config) { c.Admit.QueueTimeout++ })
		if status := ask(); status != 503 {
			t.Errorf("with another queue_timeout: %d", status)
		}
		reload(func(c *config.Config) { c.Upstreams[0].Weight++ })
		if status := ask(); status != 503 {
			t.Errorf("with another weight: %d", status)
		}
	}
	reload(func(c *config.Config) { c.Admit.MaxConcurrency = 2 })
	go func() { done <- ask() }()
	<-at
	if status := ask(); status != 503 || len(at) != 0 {
		t.Errorf("with room for two: %d, %d more are under way", status, len(at))
	}
	close(answer)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("one that was under way: %d", status)
		}
	}
}

// TestReloadRemembers has a reload of another section: what routing knows of an
// upstream stays known, with admission and without.
func TestReloadRemembers(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		var asked atomic.Int64
		at, answer := make(chan struct{}), make(chan struct{})
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != "POST" {
				_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"ok","object":"model"},{"id":"bad","object":"model"},{"id":"limited","object":"model"}]}`)
				return
			}
			asked.Add(1)
			switch {
			case strings.Contains(string(body), `"bad"`):
				w.WriteHeader(500)
			case strings.Contains(string(body), `"limited"`):
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(429)
			default:
				close(at)
				select {
				case <-answer:
				case <-r.Context().Done(): // the test has failed
				}
				_, _ = io.WriteString(w, `{"id":"1","choices":[]}`)
				return
			}
			_, _ = io.WriteString(w, `{"error":{"message":"no","type":"x"}}`)
		}))
		cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.URL+"/v1")
		cfg.Admit.Enabled = enabled
		cfg.Route.Breaker.OpenFor = time.Hour // a sixteenth of it outlasts the test
		g, err := New(cfg, Options{Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		_, url := serve(t, g)
		ask := func(model string) {
			resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"one/`+model+`","messages":[{"role":"user","content":"x"}]}`))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		figures := func() (lines string) {
			_, page := get(t, url+"/metrics")
			for line := range strings.Lines(page) {
				if strings.HasPrefix(line, "sluice_route_") && strings.Contains(line, `upstream="one"`) && !strings.HasPrefix(line, "sluice_route_models{") { // which are read meanwhile
					lines += line
				}
			}
			return lines
		}
		for range 6 {
			ask("bad")
		}
		ask("limited")
		done := make(chan struct{})
		go func() { ask("ok"); close(done) }()
		<-at
		before, n := figures(), asked.Load()
		other := *cfg
		other.Server.DrainTimeout++
		if err := g.Reload(&other); err != nil {
			t.Fatal(err)
		}
		if after := figures(); after != before || before == "" {
			t.Errorf("admission %v: figures before:\n%safter:\n%s", enabled, before, after)
		}
		ask("bad")
		ask("limited")
		if sent := asked.Load() - n; sent > 0 {
			t.Errorf("admission %v: after the reload %d calls were sent that had to wait", enabled, sent)
		}
		close(answer)
		<-done
		up.Close()
	}
}

// TestAdmissionElsewhere has two upstreams that serve a model, each with one call at a
// time. One of them has a queue that is too long for the deadline of those who come.
func TestAdmissionElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := admit.Default()
		cfg.MaxConcurrency, cfg.MinConcurrency = 1, 1
		up := func(name string, took time.Duration) route.Upstream {
			return route.Upstream{Name: name, Models: []string{"m"}, Handler: admit.New(cfg, name, 1).Stage(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				time.Sleep(took)
				return out.Start(&llm.Head{Status: 200, Upstream: name, Attempts: 1})
			}))}
		}
		r, err := route.New(route.Default(), []route.Upstream{up("a", 2*time.Second), up("b", 10*time.Millisecond)}, route.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		fill := func(n int) {
			for range n {
				wg.Go(func() { _ = r.Serve(t.Context(), asking("a/m", "x"), &headOf{}) })
				synctest.Wait()
			}
		}
		fill(4)
		time.Sleep(4100 * time.Millisecond) // two turns: how far they are apart is known
		fill(3)
		for i := range 10 {
			req := asking("m", fmt.Sprint("conversation ", i))
			req.Deadline = time.Now().Add(3 * time.Second)
			var out headOf
			if err := r.Serve(t.Context(), req, &out); err != nil || out.Upstream != "b" || out.Attempts != 1 {
				t.Errorf("conversation %d: %v, by %q, %d attempts", i, err, out.Upstream, out.Attempts)
			}
		}
		req := asking("a/m", "none but a may")
		req.Deadline = time.Now().Add(3 * time.Second)
		if e, ok := errors.AsType[*llm.Error](r.Serve(t.Context(), req, &headOf{})); !ok || e.Code != "deadline_exceeded" || e.Attempts != 0 {
			t.Errorf("none but a: %+v", e)
		}
	})
}

// asking makes a chat.
func asking(model, said string) *llm.Request {
	body := fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, said)
	return &llm.Request{Op: llm.Chat, Method: "POST", Path: "/v1/chat/completions", Model: model, ModelSpan: llm.Span{Start: 9, End: 11 + len(model)}, Body: body, BodyLen: int64(len(body))}
}

// headOf keeps a reply's head.
type headOf struct{ llm.Head }

func (h *headOf) Start(head *llm.Head) error { h.Head = *head; return nil }
func (h *headOf) Send([]llm.Event) error     { return nil }

// TestAllFull has all upstreams of a model have no room: the client is told when to try
// again, and not told not to.
func TestAllFull(t *testing.T) {
	base, at, answer := slow(t)
	cfg := load(t, "ONE_API_KEY=k1", "ONE_BASE_URL="+base, "TWO_API_KEY=k2", "TWO_BASE_URL="+base)
	for i := range cfg.Upstreams {
		cfg.Upstreams[i].Models = []string{"m"}
	}
	_, url := oneAtATime(t, cfg)
	ask := func(said string) (*http.Response, string) {
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"`+said+`"}]}`))
		if err != nil {
			t.Error(err)
			return &http.Response{}, ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp, string(body)
	}
	var wg sync.WaitGroup
	for _, said := range []string{"first", "second"} { // the second goes where there is room
		wg.Go(func() {
			if resp, body := ask(said); resp.StatusCode != 200 || resp.Header.Get("X-Sluice-Attempts") != "" {
				t.Errorf("%s: %d %v %s", said, resp.StatusCode, resp.Header, body)
			}
		})
		<-at
	}
	resp, body := ask("third")
	if h := resp.Header; resp.StatusCode != 503 || !strings.Contains(body, `"code":"overloaded"`) || h.Get("Retry-After") == "" || h.Get("X-Should-Retry") != "" || h.Get("X-Sluice-Attempts") != "" {
		t.Errorf("where all are full: %d %v %s", resp.StatusCode, h, body)
	}
	close(answer)
	wg.Wait()
}
