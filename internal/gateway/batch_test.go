package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/simulator"
	"sluice/internal/testkit"
)

// gated is the simulator behind a gate for embeddings, which are counted.
type gated struct {
	url   string
	calls atomic.Int32
	open  chan struct{} // closed to let calls in
}

func newGated(t *testing.T) *gated {
	t.Helper()
	g := &gated{open: make(chan struct{})}
	sim := simulator.New(simulator.Config{}).Handler()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/embeddings") {
			g.calls.Add(1)
			body, err := io.ReadAll(r.Body) // or nobody is told that the client leaves
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			select {
			case <-g.open:
			case <-r.Context().Done():
				return
			}
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(up.Close)
	g.url = up.URL + "/v1"
	return g
}

// gathering configures the gateway so that items gather for as long as a call is
// under way.
func gathering(t *testing.T, base string, env ...string) *config.Config {
	t.Helper()
	cfg := load(t, append(env, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base, "SLUICE_CACHE_ENABLED=false")...)
	cfg.Batch.MaxWaitTime = time.Minute
	return cfg
}

// embedded is a reply to one input.
type embedded struct {
	status int
	header http.Header
	Data   []struct {
		Index     int
		Embedding []float64
	}
	Usage struct {
		PromptTokens int `json:"prompt_tokens"`
	}
	err error
}

// embedding asks for a vector on a connection of its own.
func embedding(url, input string) (e embedded) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	resp, err := client.Post(url+"/v1/embeddings", "application/json", strings.NewReader(fmt.Sprintf(`{"model":"one/sim-embed","input":%q}`, input)))
	if err != nil {
		return embedded{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == 200 {
		err = json.Unmarshal(b, &e)
	}
	e.status, e.header, e.err = resp.StatusCode, resp.Header, err
	return e
}

// waiting is how many items gather, by the figures.
func waiting(t *testing.T, url string) int {
	t.Helper()
	_, page := get(t, url+"/metrics")
	return testkit.Total(t, page, "sluice_batch_waiting")
}

// gather sends inputs, the first of which is under way when the others come, and
// returns when these gather.
func gather(t *testing.T, up *gated, url string, inputs []string) (all *sync.WaitGroup, got []embedded) {
	t.Helper()
	all, got = new(sync.WaitGroup), make([]embedded, len(inputs))
	for i, input := range inputs {
		all.Go(func() { got[i] = embedding(url, input) })
		if i == 0 {
			testkit.Until(t, "the first call is under way", func() bool { return up.calls.Load() == 1 })
		}
	}
	testkit.Until(t, "the others gather", func() bool { return waiting(t, url) == len(inputs)-1 })
	return all, got
}

// TestClientsShareACall: two programs, each on a connection of its own, share one call
// of the upstream, and each gets its own vector and what its own input counts.
func TestClientsShareACall(t *testing.T) {
	up := newGated(t)
	_, url := run(t, gathering(t, up.url), nil)
	inputs := []string{"first come", "second one", "third here"}
	all, got := gather(t, up, url, inputs)
	close(up.open)
	all.Wait()
	if n := up.calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
	for i, e := range got {
		size := "2"
		if i == 0 {
			size = "1"
		}
		if e.err != nil || e.status != 200 || e.header.Get("X-Sluice-Batch-Size") != size {
			t.Fatalf("%q: %d %v, %v", inputs[i], e.status, e.header, e.err)
		}
		own := embedding(url, inputs[i]) // alone
		if own.header.Get("X-Sluice-Batch-Size") != "1" || len(e.Data) != 1 || e.Data[0].Index != 0 || !slices.Equal(e.Data[0].Embedding, own.Data[0].Embedding) || e.Usage != own.Usage || e.Usage.PromptTokens == 0 {
			t.Errorf("%q: %+v, alone %+v", inputs[i], e.Usage, own.Usage)
		}
	}
	_, page := get(t, url+"/metrics")
	for _, line := range []string{`sluice_batch_calls_total{kind="shared"} 1`, `sluice_batch_items_total{kind="shared"} 2`, `sluice_batch_items_total{kind="alone"} 4`, "sluice_batch_lanes 0"} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no %q", line)
		}
	}
}

// TestReloadWhileItemsGather: whatever a reload changes, what gathers is answered, and
// a gateway whose section of it stays the same goes on with what it learnt.
func TestReloadWhileItemsGather(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"another section":  func(c *config.Config) { c.Batch.MaxBatchSize = 3 },
		"off":              func(c *config.Config) { c.Batch.Strategy = "off" },
		"another upstream": func(c *config.Config) { c.Upstreams[0].Weight = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			up := newGated(t)
			g, url := run(t, gathering(t, up.url), nil)
			before := find(g.chain.parts, "batch")
			inputs := []string{"a", "b", "c", "d", "e"}
			all, got := gather(t, up, url, inputs)
			cfg := gathering(t, up.url)
			change(cfg)
			if err := g.Reload(cfg); err != nil {
				t.Fatal(err)
			}
			if shared := find(g.chain.parts, "batch") == before; shared != (name == "another upstream") {
				t.Errorf("the part is the same: %v", shared)
			}
			var late embedded
			all.Go(func() { late = embedding(url, "late") })
			testkit.Until(t, "the next configuration is used", func() bool { return up.calls.Load() == 2 })
			close(up.open)
			all.Wait()
			for i, e := range append(got, late) {
				if e.err != nil || e.status != 200 {
					t.Errorf("caller %d: %d, %v", i, e.status, e.err)
				}
			}
			if n := up.calls.Load(); n != 3 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestCloseWhileItemsGather: a shutdown has what gathers answered, or refused when its
// time is up, and none is lost.
func TestCloseWhileItemsGather(t *testing.T) {
	for _, patient := range []bool{true, false} {
		up := newGated(t)
		cfg := gathering(t, up.url)
		cfg.Server.DrainTimeout = 30 * time.Second
		if !patient {
			cfg.Server.DrainTimeout = time.Millisecond
		}
		g, err := New(cfg, Options{Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := g.Listen()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		inputs := []string{"a", "b", "c"}
		all, got := gather(t, up, "http://"+addr.String(), inputs)
		stop()
		if patient {
			testkit.Until(t, "the gateway drains", func() bool {
				resp, err := http.Get("http://" + addr.String() + "/readyz")
				if err != nil {
					return true
				}
				_ = resp.Body.Close()
				return resp.StatusCode != 200
			})
			close(up.open)
		}
		all.Wait()
		if err := <-ended; (err == nil) != patient { // it says what was cut short
			t.Errorf("patient %v: %v", patient, err)
		}
		for i, e := range got {
			if answered := e.err == nil && e.status == 200; answered != patient || !patient && e.err == nil && e.status < 500 {
				t.Errorf("patient %v, caller %d: %d, %v", patient, i, e.status, e.err)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
