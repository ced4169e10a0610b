package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/testkit"
)

// counted is an upstream that counts its calls and says what they took. Embeddings
// take a token for each input.
type counted struct {
	url   string
	calls atomic.Int32
	hold  chan struct{} // calls wait until it is closed; nil: they do not
	fail  atomic.Bool
}

func newCounted(t *testing.T) *counted {
	u := &counted{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" {
			http.NotFound(w, r)
			return
		}
		u.calls.Add(1)
		if u.hold != nil {
			select {
			case <-u.hold:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("X-Ratelimit-Remaining-Requests", "4711")
		switch {
		case u.fail.Load():
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, `{"error":{"message":"away","type":"server_error"}}`)
		case strings.Contains(r.URL.Path, "embeddings"):
			n := strings.Count(string(body), "text ")
			w.Header().Set("Content-Type", "application/json")
			var data []string
			for i := range n {
				data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[0.5]}`, i))
			}
			_, _ = fmt.Fprintf(w, `{"object":"list","data":[%s],"model":"m","usage":{"prompt_tokens":%d,"total_tokens":%d}}`, strings.Join(data, ","), 10*n, 10*n)
		case strings.Contains(string(body), `"stream":true`):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"choices\":[]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n")
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":12,"total_tokens":42}}`)
		}
	}))
	t.Cleanup(server.Close)
	u.url = server.URL + "/v1"
	return u
}

// keyed has two keys: one with a limit, and one without.
func keyed(cfg *config.Config, requests, tokens string) {
	cfg.Server.APIKeys = []front.APIKey{
		{Name: "small", Hash: front.HashKey("sk-small"), RequestsPerMinute: requests, TokensPerMinute: tokens},
		{Name: "large", Hash: front.HashKey("sk-large")},
	}
}

// post asks for something with a key. left is what the reply says is left of requests
// and tokens.
func post(t *testing.T, key, url, body string) (resp *http.Response, text, left string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return &http.Response{}, "", ""
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Error(err)
		return &http.Response{}, "", ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b), resp.Header.Get("X-Ratelimit-Remaining-Requests") + " " + resp.Header.Get("X-Ratelimit-Remaining-Tokens")
}

func chatOf(said string) string {
	return fmt.Sprintf(`{"model":"one/m","max_tokens":20,"messages":[{"role":"user","content":%q}]}`, said)
}

// TestRateLimits: a key is held to its requests, of which only calls of an upstream are
// any; what is answered from memory, what joins another's call, lists of models and
// strangers cost nothing; a reload goes on from what was used.
func TestRateLimits(t *testing.T) {
	up := newCounted(t)
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.url)
	keyed(cfg, "5", "5000")
	cfg.RateLimit.Burst = time.Hour / 60 // a minute
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	chat := url + "/v1/chat/completions"
	if resp, _, left := post(t, "sk-small", chat, chatOf("a")); resp.StatusCode != 200 || !strings.HasPrefix(left, "4 49") || resp.Header.Get("X-Ratelimit-Limit-Requests") != "5" {
		t.Errorf("first: %d, %s left", resp.StatusCode, left)
	}
	for range 20 {
		if resp, _, left := post(t, "sk-small", chat, chatOf("a")); resp.StatusCode != 200 || resp.Header.Get("X-Cache") != "HIT" || !strings.HasPrefix(left, "4 49") {
			t.Fatalf("from memory: %d %s, %s left", resp.StatusCode, resp.Header.Get("X-Cache"), left)
		}
		if resp, _, left := post(t, "sk-stranger", chat, chatOf("b")); resp.StatusCode != 401 || left != " " {
			t.Fatalf("a stranger: %d, %s left", resp.StatusCode, left)
		}
	}
	if resp, _, left := post(t, "sk-large", chat, chatOf("a")); resp.StatusCode != 200 || left != "4711 " {
		t.Errorf("a key without a limit: %d, %s left", resp.StatusCode, left)
	}
	last := ""
	for i := range 6 {
		resp, body, left := post(t, "sk-small", chat, chatOf(fmt.Sprint("c", i)))
		last = fmt.Sprint(resp.StatusCode, " ", body, " ", resp.Header.Get("Retry-After"), " ", left)
	}
	if !strings.HasPrefix(last, `429 {"error":{"message":"Rate limit reached for the requests per minute of API key `+"`small`"+`: limit 5, used 5, requested 1. Try again in 1`) ||
		!strings.Contains(last, `"type":"requests","param":null,"code":"rate_limit_exceeded"}}`) || !strings.Contains(last, " 12 0 ") {
		t.Errorf("one too many: %s", last)
	}
	if calls := up.calls.Load(); calls != 6 {
		t.Errorf("the upstream had %d calls", calls)
	}
	_, page := get2(t, "sk-large", url+"/v1/models")
	if page != 200 {
		t.Errorf("models: %d", page)
	}

	// A reload.
	more := *cfg
	keyed(&more, "8", "none")
	if err := g.Reload(&more); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 6 {
		if resp, _, _ := post(t, "sk-small", chat, chatOf(fmt.Sprint("d", i))); resp.StatusCode == 200 {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d more were admitted when the limit was 3 higher", n)
	}
	none := *cfg
	keyed(&none, "none", "none")
	if err := g.Reload(&none); err != nil {
		t.Fatal(err)
	}
	if resp, _, left := post(t, "sk-small", chat, chatOf("e")); resp.StatusCode != 200 || left != "4711 " {
		t.Errorf("without a limit: %d, %s left", resp.StatusCode, left)
	}
}

// get2 asks with a key.
func get2(t *testing.T, key, url string) (http.Header, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Header, resp.StatusCode
}

// spent is what a key has used of its tokens, as the figures have it when all calls
// have ended.
func spent(t *testing.T, g *Gateway) float64 {
	t.Helper()
	testkit.Until(t, "the end of all calls", func() bool { return stable(g)["front requests_in_flight "] == 0 })
	return stable(g)["ratelimit rate_limit_tokens_total count used"]
}

// TestTokensCounted: callers whose calls are batched pay for their own inputs, equal
// calls at once pay once, a call that another upstream answers is counted once, and one
// that no upstream answers costs no tokens.
func TestTokensCounted(t *testing.T) {
	one, two := newCounted(t), newCounted(t)
	one.hold = make(chan struct{})
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+one.url, "TWO_API_KEY=k2-secret", "TWO_BASE_URL="+two.url)
	keyed(cfg, "1000", "100000")
	cfg.Route.Fallbacks = map[string][]string{"one/m": {"two/m"}}
	cfg.Route.Retry.MaxAttempts = 2
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)

	// While a first call is under way the others gather, and leave together.
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			body := fmt.Sprintf(`{"model":"one/m","input":["text %d","text %d more","text %d most"]}`, i, i, i)
			resp, text, _ := post(t, "sk-small", url+"/v1/embeddings", body)
			if resp.StatusCode != 200 || !strings.Contains(text, `"total_tokens":`) {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
		})
		if i == 0 {
			testkit.Until(t, "the first call", func() bool { return one.calls.Load() == 1 })
		}
	}
	testkit.Until(t, "the others", func() bool { return stable(g)["ratelimit rate_limit_admitted_total "] == 5 })
	close(one.hold)
	all.Wait()
	if n := one.calls.Load(); n >= 5 {
		t.Errorf("there was no batch: %d calls", n)
	}
	if n := spent(t, g); n != 150 {
		t.Errorf("five callers of three inputs have used %v tokens", n)
	}

	one.hold = nil
	one.fail.Store(true)
	before, admitted := spent(t, g), stable(g)["ratelimit rate_limit_admitted_total "]
	resp, _, _ := post(t, "sk-small", url+"/v1/chat/completions", chatOf("elsewhere"))
	if got := stable(g)["ratelimit rate_limit_admitted_total "]; resp.StatusCode != 200 || resp.Header.Get("X-Sluice-Upstream") != "two" || spent(t, g)-before != 42 || got-admitted != 1 {
		t.Errorf("answered elsewhere: %d of %s, %v tokens, %v requests", resp.StatusCode, resp.Header.Get("X-Sluice-Upstream"), spent(t, g)-before, got-admitted)
	}
	two.fail.Store(true)
	before = spent(t, g)
	resp, _, _ = post(t, "sk-small", url+"/v1/chat/completions", chatOf("nowhere"))
	if resp.StatusCode != 503 || spent(t, g) != before {
		t.Errorf("answered by nobody: %d, %v tokens", resp.StatusCode, spent(t, g)-before)
	}
	one.fail.Store(false)
	before = spent(t, g)
	resp, _, left := post(t, "sk-small", url+"/v1/chat/completions", strings.Replace(chatOf("stream"), "{", `{"stream":true,`, 1))
	if resp.StatusCode != 200 || spent(t, g)-before != 42 || strings.HasPrefix(left, "4711") {
		t.Errorf("a stream: %d, %v tokens, %s left", resp.StatusCode, spent(t, g)-before, left)
	}
	resp, text, _ := post(t, "sk-small", url+"/v1/chat/completions", chatOf(strings.Repeat("large ", 100_000)))
	if resp.StatusCode != 429 || !strings.Contains(text, "too large") || resp.Header.Get("X-Should-Retry") != "false" || resp.Header.Get("Retry-After") != "" {
		t.Errorf("larger than the limit: %d %s %v", resp.StatusCode, text, resp.Header)
	}
}

// TestLimitOfAnother: a call that joins that of a key which has used up its limit is
// not refused for it, where keys share replies.
func TestLimitOfAnother(t *testing.T) {
	up := newCounted(t)
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.url)
	keyed(cfg, "1", "")
	cfg.Cache.Scope = cache.ScopeGlobal
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	post(t, "sk-small", url+"/v1/chat/completions", chatOf("first"))
	var all sync.WaitGroup
	for i := range 30 {
		for _, key := range []string{"sk-small", "sk-large"} {
			all.Go(func() {
				resp, text, _ := post(t, key, url+"/v1/chat/completions", chatOf(fmt.Sprint("both ", i)))
				if key == "sk-large" && resp.StatusCode != 200 {
					t.Errorf("the other key: %d %s", resp.StatusCode, text)
				}
			})
		}
	}
	all.Wait()
}

// TestUnkeyed: without keys all clients together have what holds for all.
func TestUnkeyed(t *testing.T) {
	up := newCounted(t)
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.url)
	cfg.RateLimit.RequestsPerMinute = 1
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	for i, want := range []int{200, 429} {
		if resp, text, _ := post(t, "whatever", url+"/v1/chat/completions", chatOf(fmt.Sprint(i))); resp.StatusCode != want {
			t.Errorf("%d: %d %s", i, resp.StatusCode, text)
		}
	}
}
