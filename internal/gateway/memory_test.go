package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// Maintenance reaches the parts of the chain in use, also of one that came by a reload.
func TestMaintenance(t *testing.T) {
	_, up := model(t)
	const expiring = "SLUICE_CACHE_RESPONSE_TTL=1ms"
	tended := func(env ...string) *config.Config {
		cfg := load(t, append(env, "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up)...)
		cfg.Memory.CleanupInterval = time.Second
		return cfg
	}
	g, err := New(tended(), Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	runs := func(task string) func() bool {
		return func() bool {
			_, page := get(t, url+"/metrics")
			return strings.Contains(page, `sluice_maintenance_runs_total{task="`+task+`"} `) && !strings.Contains(page, `sluice_maintenance_runs_total{task="`+task+`"} 0`+"\n")
		}
	}
	for _, task := range []string{"replies", "results", "plans", "connections", "buffers", "heap"} {
		testkit.Until(t, task, runs(task))
	}
	if err := g.Reload(tended(expiring)); err != nil {
		t.Fatal(err)
	}
	if status, body, err := chat(url, "sim-echo"); status != 200 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	testkit.Until(t, "an expired reply is gone", func() bool {
		_, page := get(t, url+"/metrics")
		return strings.Contains(page, `sluice_maintenance_freed_total{task="replies"} 1`+"\n")
	})
}

// The codec's results are part of the budget: they go where work needs the room, where
// memory is scarce, and with the codec.
func TestResultsGiveWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.proto")
	if err := os.WriteFile(file, []byte(`syntax = "proto3"; message A { string x = 1; }`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t)
	cfg.Memory.Limit = 512 << 20
	cfg.Protobuf.Catalog.Schemas = []string{file}
	g, url := run(t, cfg, nil)
	kept := g.memory.Budget.Account("results")
	filled := func() bool {
		for i := range 8 * 2 { // kept from the second time on
			resp, err := http.Post(url+"/v1/protobuf/encode?type=A", "application/json", strings.NewReader(fmt.Sprintf(`{"x":"%d%s"}`, i/2, strings.Repeat("x", 500_000))))
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			resp.Body.Close()
		}
		n := kept.Held()
		return n > 3<<20 && g.stored() >= n
	}
	testkit.Until(t, "they are kept", filled)
	g.memory.SetLevel(memory.Elevated)
	testkit.Until(t, "none is kept where memory is scarce", func() bool { return kept.Held() == 0 })
	testkit.Until(t, "they are kept again", filled)
	next := *cfg
	next.Protobuf.ResultTTL++
	if err := g.Reload(&next); err != nil {
		t.Fatal(err)
	}
	if n := kept.Held(); n > 0 {
		t.Errorf("%d bytes are kept by the codec before", n)
	}
	testkit.Until(t, "they are kept by the next one", filled)
	other := g.memory.Budget.Account("other")
	if n := g.memory.Budget.Size() - g.memory.Budget.Used() + 2<<20; !other.Take(n) {
		t.Error("no room though there are results")
	} else {
		other.Give(n)
	}
	if n := kept.Held(); n >= 3<<20 {
		t.Errorf("%d bytes are kept though they were needed", n)
	}
}

// The report names what is large and held.
func TestLargeIsReported(t *testing.T) {
	_, up := model(t)
	g, err := New(load(t, "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up), Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: large-one\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", 3<<20)
	fmt.Fprint(c, strings.Repeat(" ", 2<<20)) // what comes beyond the largest kept buffer has one of its own
	testkit.Until(t, "reported", func() bool {
		_, report := get(t, url+"/v1/performance?window=1m")
		return strings.Contains(report, `"large_objects":[{"part":"request_body","request_id":"large-one","bytes":3145729,`)
	})
	c.Close()
	testkit.Until(t, "gone", func() bool {
		_, report := get(t, url+"/v1/performance?window=1m")
		return !strings.Contains(report, `"large_objects":[`)
	})
}

// All parts have one source of buffers, and a refusal deep in the chain is told as
// the gateway's lack: no upstream is blamed for it and no other one asked.
func TestMemoryRefused(t *testing.T) {
	_, up := model(t)
	g, err := New(load(t, "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up), Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	g.memory.Buffers.Max = 8 << 10 // the front can do with that; what reads replies cannot
	_, url := serve(t, g)
	for range 10 { // more than would open a circuit
		status, body, err := chat(url, "sim-echo")
		if err != nil || status != 503 || !strings.Contains(body, `"code":"gateway_overloaded"`) {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	if status, body := get(t, url+"/metrics"); status != 200 || strings.Contains(body, "sluice_memory_buffers_refused_total 0\n") ||
		!strings.Contains(body, `sluice_memory_buffers_made_total{size="1024"}`) {
		t.Errorf("%d %s", status, body)
	}
}

// Upstreams that end no event fill no more than is set aside for that; their streams end
// with the gateway's lack, others are answered, and all is given back.
func TestEndlessEvents(t *testing.T) {
	up := upstreamThat(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), "endless") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","choices":[]}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[]}\n\ndata: ")
		piece := []byte(strings.Repeat("x", 64<<10))
		for range 2 << 4 { // 2 MiB: less than an event may have of the memory
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	cfg := load(t, "SLUICE_MEMORY_LIMIT=512MiB", "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up+"/v1")
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	events := g.memory.Budget.Account("events")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var lacking atomic.Int64
	for i := range 60 { // no two of them are equal, which would share one stream
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(fmt.Sprintf(`{"model":"endless","seed":%d,"stream":true,"messages":[]}`, i)))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			if strings.Contains(string(text), `"gateway_overloaded"`) {
				lacking.Add(1)
			}
		})
	}
	testkit.Until(t, "some streams end for want of memory", func() bool { return lacking.Load() > 10 })
	for range 20 {
		if status, body, err := chat(url, "m"); err != nil || status != 200 {
			t.Fatalf("another call: %d %s %v", status, body, err)
		}
		if n := events.Held(); n > g.memory.Budget.Size()/4 {
			t.Fatalf("%d bytes of events in a budget of %d", n, g.memory.Budget.Size())
		}
	}
	cancel()
	wg.Wait()
	testkit.Until(t, "all is given back", func() bool { return events.Held() == 0 })
}

// TestEventThatFitsNowhere: an event that is larger than what events may have of a small memory is
// its upstream's fault, also where it is not larger than what the configuration lets an event be.
func TestEventThatFitsNowhere(t *testing.T) {
	up := upstreamThat(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[]}\n\ndata: ")
		piece := []byte(strings.Repeat("x", 64<<10))
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	g, err := New(load(t, "SLUICE_MEMORY_LIMIT=48MiB", "OPENAI_API_KEY=sk-x", "OPENAI_BASE_URL="+up+"/v1"), Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	if events := g.memory.Budget.Account("events"); events.Fits(8 << 20) {
		t.Fatalf("events may have %d bytes and more", 8<<20)
	}
	resp, text := tell(t, url+"/v1/chat/completions", `{"model":"m","stream":true,"messages":[]}`)
	if !strings.Contains(text, `"code":"upstream_event_too_large"`) || resp.StatusCode != 200 {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	if held := g.memory.Budget.Account("events").Held(); held != 0 {
		t.Errorf("%d bytes are left", held)
	}
}

// upstreamThat answers as h does.
func upstreamThat(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
