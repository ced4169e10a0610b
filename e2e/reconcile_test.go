package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// ledger is what clients have seen.
type ledger struct {
	mu     sync.Mutex
	sent   int
	left   int            // of these, those that the client gave up
	status map[string]int // by class
	cache  map[string]int // by X-Cache
	spent  int            // tokens of replies that an upstream made
	saved  int            // tokens of replies from memory
}

// call sends one request and writes down what came of it.
func (l *ledger) call(url, model, prompt string, stream bool, header string, patience time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if patience > 0 {
		time.AfterFunc(patience, cancel)
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":%q}]}`, model, stream, prompt)
	if !stream {
		body = strings.Replace(body, `"stream_options":{"include_usage":true},`, "", 1)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if header != "" {
		req.Header.Set("Cache-Control", header)
	}
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	resp, err := http.DefaultClient.Do(req)
	var reply []byte
	if err == nil {
		reply, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		l.left++
		return
	}
	if err != nil && resp == nil {
		panic(err) // nothing here breaks a connection before the head
	}
	l.status[strconv.Itoa(resp.StatusCode/100)+"xx"]++
	l.cache[resp.Header.Get("X-Cache")]++
	n := tokens(reply)
	if c := resp.Header.Get("X-Cache"); c == "HIT" || c == "COALESCED" || c == "STALE" {
		l.saved += n
	} else {
		l.spent += n
	}
}

// tokens is what a reply says it took.
func tokens(reply []byte) (n int) {
	for line := range strings.SplitSeq(string(reply), "\n") {
		var v struct {
			Usage struct {
				Prompt     int `json:"prompt_tokens"`
				Completion int `json:"completion_tokens"`
			}
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &v) == nil && v.Usage.Prompt > 0 {
			n = v.Usage.Prompt + v.Usage.Completion
		}
	}
	return n
}

// samples is a scrape's samples: by name, and by name and labels.
type samples map[string]float64

func scrapeAll(t *testing.T, in *instance) samples {
	t.Helper()
	resp, err := http.Get(in.url + "/metrics")
	need(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	need(t, err)
	s := samples{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		need(t, err)
		s[strings.TrimPrefix(line[:i], "sluice_")] = v
	}
	return s
}

// sum adds up the series of a figure that have all the labels, each as name="value".
func (s samples) sum(name string, labels ...string) (n int) {
series:
	for k, v := range s {
		if k != name && !strings.HasPrefix(k, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(k, l) {
				continue series
			}
		}
		n += int(v)
	}
	return n
}

// TestReconcile: what the gateway says it did is what its clients and its
// upstream saw, call by call, under load with faults and clients that leave.
func TestReconcile(t *testing.T) {
	t.Parallel()
	sim, base := simulate(t)
	in := start(t, fmt.Sprintf("log: {level: error}\nupstreams: [{name: up, base_url: %q, models: [sim-*]}]\nroute: {retry: {base_delay: 0.001}, breaker: {failures: 1000000}}\ncache: {streams: true}\n", base))
	l := ledger{status: map[string]int{}, cache: map[string]int{}}
	faults := []string{
		"sim-chat", "sim-chat", "sim-chat?ttft=5ms", "sim-chat?status=400", "sim-chat?status=500", "sim-chat?status=503",
		"sim-chat?fail-first=1&status=429", "sim-chat?cut=3", "sim-chat?reset=1", "no-such-model",
	}
	var clients sync.WaitGroup
	for c := range 12 {
		r := rand.New(rand.NewPCG(1, uint64(c)))
		clients.Go(func() {
			for range 60 {
				var patience time.Duration
				model := faults[r.IntN(len(faults))]
				if r.IntN(10) == 0 {
					model, patience = "sim-chat?ttft=60s", 20*time.Millisecond // which nothing comes before
				}
				header := []string{"", "", "", "no-store", "no-cache", "only-if-cached"}[r.IntN(6)]
				l.call(in.url, model, fmt.Sprint("question ", r.IntN(8)), r.IntN(2) == 0, header, patience)
			}
		})
	}
	clients.Wait()
	var s samples
	testkit.Until(t, "all requests over", func() bool {
		s = scrapeAll(t, in)
		return s.sum("requests_in_flight") == 0 && sim.Stats().Active == 0
	})
	s = scrapeAll(t, in) // of the last one a part was read before the last request had ended

	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	// A client may give up before its request has left.
	came := s.sum("requests_total", `operation="chat"`)
	if came < l.sent-l.left || came > l.sent {
		t.Errorf("%d requests, clients sent %d and gave up %d of them", came, l.sent, l.left)
	}
	check("durations", s.sum("request_duration_seconds_count", `operation="chat"`), came)
	check("durations by model", s.sum("model_request_duration_seconds_count"), came)
	surplus := s.sum("requests_total", `status="client_left"`)
	for _, class := range []string{"2xx", "4xx", "5xx"} {
		n := s.sum("requests_total", `operation="chat"`, `status="`+class+`"`) - l.status[class]
		if class == "2xx" { // what clients saw begin well
			n += s.sum("requests_total", `operation="chat"`, `status="broken"`)
		}
		if n < 0 {
			t.Errorf("%s: %d fewer than clients saw", class, -n)
		}
		surplus += n
	}
	wrong := 0
	for _, class := range []string{"4xx", "5xx", "client_left", "broken"} {
		wrong += s.sum("requests_total", `operation="chat"`, `status="`+class+`"`)
	}
	check("requests that went wrong, by class", s.sum("requests_failed_total")+s.sum("client_errors_total"), wrong)
	check("requests that clients gave up", surplus, l.left-(l.sent-came))

	check("calls at the cache", s.sum("cache_requests_total"), came)
	check("hits", s.sum("cache_requests_total", `result="hit"`), l.cache["HIT"]+l.cache["STALE"])
	for _, r := range [][2]string{{"miss", "MISS"}, {"coalesced", "COALESCED"}, {"bypass", "BYPASS"}} {
		// Errors bear no X-Cache, and clients that left have not seen one.
		if n := s.sum("cache_requests_total", `result="`+r[0]+`"`); n < l.cache[r[1]] {
			t.Errorf("%s: %d, clients saw %d", r[0], n, l.cache[r[1]])
		}
	}
	refused := s.sum("route_requests_total", `outcome="busy"`) // of these nothing was sent
	sent := s.sum("route_requests_total") - refused
	// A call that its client gave up may not have been sent yet.
	got, most := int(sim.Stats().Requests), sent+s.sum("upstream_stale_retries_total")
	if least := most - s.sum("route_requests_total", `outcome="cancelled"`); got < least || got > most {
		t.Errorf("%d to %d calls sent, the upstream got %d", least, most, got)
	}
	retries := s.sum("route_retries_total")
	asked := s.sum("cache_requests_total", `result="miss"`) + s.sum("cache_requests_total", `result="bypass"`)
	unsent := s.sum("route_unknown_models_total") + s.sum("route_unavailable_total")
	if want := asked - unsent + retries; sent > want || sent < want-refused {
		t.Errorf("calls sent: %d, want %d, without those of %d refusals that nothing came after", sent, want, refused)
	}

	check("tokens spent", s.sum("tokens_total", `type="input"`)+s.sum("tokens_total", `type="output"`), l.spent)
	check("tokens saved", s.sum("tokens_saved_total"), l.saved)
}
