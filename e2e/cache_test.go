package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/testkit"
)

// service is a model service that counts its calls. It answers with the number
// of the call.
type service struct {
	url   string
	calls atomic.Int64
	hold  chan struct{} // when not nil, calls wait until it is closed
	body  string        // when not empty, the reply
}

func newService(t *testing.T) *service {
	s := &service{}
	s.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"},{"id":"n","object":"model"}]}`)
			return
		}
		n := s.calls.Add(1)
		var req struct{ Stream bool }
		_ = json.NewDecoder(r.Body).Decode(&req)
		if s.hold != nil {
			<-s.hold
		}
		body := s.body
		if body == "" {
			body = fmt.Sprintf(`{"id":"c%d","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"answer %d"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, n, n)
		}
		if !req.Stream {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for range 5 {
			fmt.Fprintf(w, "data: {\"id\":\"c%d\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n", n)
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}))
	return s
}

// config makes a configuration with the service as the upstream.
func (s *service) config(more string) string {
	return fmt.Sprintf("upstreams: [{name: up, base_url: %q}]\n%s\n", s.url+"/v1", more)
}

// answer is what a client sees of a reply.
type answer struct {
	status      int
	cache, body string
	header      http.Header
}

func (a answer) String() string { return fmt.Sprintf("%d %s %s", a.status, a.cache, a.body) }

// chat sends a chat request. header is name, value pairs.
func chat(t *testing.T, url, body string, header ...string) answer {
	t.Helper()
	return request(t, "POST", url+"/v1/chat/completions", body, header...)
}

func request(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("X-Cache"), string(b), resp.Header}
}

func hello(model string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello"}]}`, model)
}

// status200 compares the cache's part in a reply with what it should have been.
func (a answer) status200(t *testing.T, what, cache string) {
	t.Helper()
	if a.status != 200 || a.cache != cache {
		t.Errorf("%s: got %s, want %s", what, a, cache)
	}
}

// TestCacheRestart: a restart does not start cold, whatever the upstream does.
func TestCacheRestart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := filepath.Join(t.TempDir(), "state")
	cfg := s.config("state_dir: " + dir)
	in := start(t, cfg)
	first := chat(t, in.url, hello("m"))
	first.status200(t, "first", "MISS")
	request(t, "GET", in.url+"/v1/models", "").status200(t, "models", "HIT")
	in.stop(t)

	again := start(t, cfg)
	hit := chat(t, again.url, hello("m"))
	hit.status200(t, "after a restart", "HIT")
	if hit.body != first.body || s.calls.Load() != 1 || hit.header.Get("X-Cache-Key") != first.header.Get("X-Cache-Key") || hit.header.Get("Age") == "" {
		t.Errorf("%s with %v after %d calls", hit, hit.header, s.calls.Load())
	}
	again.stop(t)

	// What one upstream gave does not answer for another one.
	other := newService(t)
	in = start(t, strings.Replace(cfg, s.url, other.url, 1))
	chat(t, in.url, hello("m")).status200(t, "another upstream", "MISS")
	if other.calls.Load() != 1 {
		t.Errorf("%d calls", other.calls.Load())
	}
}

// TestCacheModelsWithoutUpstream: the list survives a restart while its
// upstream is down, and says that it is old when it is.
func TestCacheModelsWithoutUpstream(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const list = `{"object":"list","data":[{"id":"m","object":"model"}]}`
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, list)
	})}
	go srv.Serve(l)
	cfg := fmt.Sprintf("upstreams: [{name: up, base_url: \"http://%s/v1\"}]\nstate_dir: %q\ncache: {models_ttl: 1}\n", l.Addr(), t.TempDir())
	in := start(t, cfg)
	if got := request(t, "GET", in.url+"/v1/models/m", ""); got.status != 200 {
		t.Fatal(got)
	}
	in.stop(t)
	srv.Close()
	in = start(t, cfg)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got := request(t, "GET", in.url+"/v1/models", "")
		if got.status != 200 || !strings.Contains(got.body, `"m"`) {
			t.Fatalf("got %s", got)
		}
		if got.cache == "STALE" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never stale: %s", got)
		}
	}
}

// TestCacheStampede: a thousand clients that ask the same cost one call.
func TestCacheStampede(t *testing.T) {
	t.Parallel()
	const n = 1000
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("stream=", stream), func(t *testing.T) {
			s := newService(t)
			s.hold = make(chan struct{})
			in := start(t, s.config(""))
			body := hello("m")
			if stream {
				body = strings.TrimSuffix(body, "}") + `,"stream":true}`
			}
			all := make([]answer, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { all[i] = chat(t, in.url, body) })
			}
			// All have asked before the upstream answers.
			waiting := fmt.Sprintf(`sluice_cache_requests_total{result="coalesced"} %d`, n-1)
			testkit.Until(t, "all joined", func() bool { return strings.Contains(request(t, "GET", in.url+"/metrics", "").body, waiting) })
			close(s.hold)
			wg.Wait()
			count := map[string]int{}
			for _, a := range all {
				count[a.cache]++
				if a.status != 200 || a.body != all[0].body || len(a.body) == 0 {
					t.Fatalf("got %s, another %s", a, all[0])
				}
			}
			if s.calls.Load() != 1 || count["COALESCED"] != n-1 {
				t.Errorf("%d calls, %v", s.calls.Load(), count)
			}
			if stream && !strings.HasSuffix(all[0].body, "data: [DONE]\n\n") {
				t.Errorf("stream ends with %q", all[0].body)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// TestCacheLargeReply: 30 MiB reach all who asked, and are not stored.
func TestCacheLargeReply(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.body = `{"id":"c","choices":[{"message":{"content":"` + strings.Repeat(rand.Text(), 30<<20/26) + `"}}]}`
	in := start(t, s.config(""))
	for round := range 2 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if a := chat(t, in.url, hello("m")); a.status != 200 || a.body != s.body || a.cache != "MISS" && a.cache != "COALESCED" {
					t.Errorf("round %d: %d %s, %d bytes", round, a.status, a.cache, len(a.body))
				}
			})
		}
		wg.Wait()
	}
	if !strings.Contains(request(t, "GET", in.url+"/metrics", "").body, "sluice_cache_entries 0\n") {
		t.Error("it is stored")
	}
}

// TestCacheOfTenants: nobody sees another's replies, and an administrator alone
// can delete them.
func TestCacheOfTenants(t *testing.T) {
	t.Parallel()
	s := newService(t)
	keys := "server:\n  api_keys:\n"
	for _, k := range []string{"a", "b", "admin"} {
		keys += fmt.Sprintf("    - {name: %s, hash: %q, admin: %v}\n", k, hashOf(t, "sk-"+k), k == "admin")
	}
	in := start(t, s.config(keys+"route: {aliases: {fast: m}}"))
	as := func(who, model string) answer {
		return chat(t, in.url, hello(model), "Authorization", "Bearer sk-"+who)
	}
	remove := func(who, query string) answer {
		return request(t, "DELETE", in.url+"/v1/cache"+query, "", "Authorization", "Bearer sk-"+who)
	}
	mine := as("a", "m")
	mine.status200(t, "a", "MISS")
	as("a", "fast").status200(t, "a, alias", "HIT")
	as("b", "m").status200(t, "b", "MISS")
	as("b", "n").status200(t, "b, n", "MISS")
	for _, test := range []struct {
		who, query string
		status     int
		text       string
	}{
		{"a", "", 403, "admin_key_required"},
		{"none", "", 401, "invalid_api_key"},
		{"admin", "?modle=m", 400, "invalid_query"},
		{"admin", "?model=", 400, "invalid_query"},
		{"admin", "?key=12", 400, "invalid_key"},
		{"admin", "?key=" + mine.header.Get("X-Cache-Key"), 200, `"entries":1`},
		{"admin", "?model=fast", 200, `"entries":1`},
		{"admin", "", 200, `"entries":1`},
		{"admin", "", 200, `"entries":0`},
	} {
		got := remove(test.who, test.query)
		if got.status != test.status || !strings.Contains(got.body, test.text) {
			t.Errorf("%s%s: %s", test.who, test.query, got)
		}
		// A client's Cache-Control cannot do what an administrator does.
		if test.query == "" && test.status == 403 {
			as("a", "m").status200(t, "after that", "HIT")
		}
	}
	as("a", "m").status200(t, "deleted", "MISS")
	no := chat(t, in.url, hello("n"), "Authorization", "Bearer sk-a", "Cache-Control", "only-if-cached")
	if no.status != 504 || !strings.Contains(no.body, "not_cached") {
		t.Errorf("only-if-cached: %s", no)
	}
	chat(t, in.url, hello("m"), "Authorization", "Bearer sk-a", "Cache-Control", "no-cache").status200(t, "no-cache", "BYPASS")
}

func hashOf(t *testing.T, key string) string {
	t.Helper()
	cmd := exec.Command(binary, "key", "hash")
	cmd.Stdin = strings.NewReader(key + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestCachedStreamInSDK: OpenAI's SDK reads a stream that was made of a stored
// whole reply as the one that was sent live.
func TestCachedStreamInSDK(t *testing.T) {
	t.Parallel()
	in := start(t, "cache: {streams: true}")
	c := client(in)
	want, err := c.Chat.Completions.New(t.Context(), say("sim-chat", "Tell me something"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		req := say("sim-chat", "Tell me something")
		req.StreamOptions.IncludeUsage = openai.Bool(true)
		var resp *http.Response
		stream := c.Chat.Completions.NewStreaming(t.Context(), req, option.WithResponseInto(&resp))
		var acc openai.ChatCompletionAccumulator
		for stream.Next() {
			if !acc.AddChunk(stream.Current()) {
				t.Fatal("chunk does not fit the others")
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("X-Cache"); got != "HIT" {
			t.Errorf("X-Cache: %s", got)
		}
		got := acc.Choices[0]
		if got.Message.Content != want.Choices[0].Message.Content || got.FinishReason != want.Choices[0].FinishReason ||
			acc.Usage.TotalTokens != want.Usage.TotalTokens || acc.ID != want.ID {
			t.Errorf("got %+v, want %+v", acc, want)
		}
	}
}

// redisServer runs a real one.
type redisServer struct {
	url string
	cmd *exec.Cmd
}

func newRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		need(t, fmt.Errorf("%w: install the Debian package redis-server", err))
	}
	socket := filepath.Join(t.TempDir(), "s")
	r := &redisServer{url: "unix://" + socket}
	r.cmd = exec.Command(path, append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"}, args...)...)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	testkit.Until(t, "Redis", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return r
}

func (r *redisServer) end() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}

// withRedis has the longest time-out that there is: the machine may be busy.
func withRedis(url string) string {
	return fmt.Sprintf("cache: {redis_url: %q, redis_timeout: 1s}", url)
}

func (in *instance) l2up(t *testing.T, up string) {
	t.Helper()
	testkit.Until(t, "second level", func() bool {
		return strings.Contains(request(t, "GET", in.url+"/metrics", "").body, "sluice_cache_l2_up "+up+"\n")
	})
}

// TestCacheSecondMachine: what one has stored the other one answers with, and a
// deletion reaches it.
func TestCacheSecondMachine(t *testing.T) {
	t.Parallel()
	s, r := newService(t), newRedis(t)
	one, two := start(t, s.config(withRedis(r.url))), start(t, s.config(withRedis(r.url)))
	one.l2up(t, "1")
	two.l2up(t, "1")
	first := chat(t, one.url, hello("m"))
	first.status200(t, "one", "MISS")
	var hit answer
	testkit.Until(t, "stored", func() bool {
		hit = chat(t, two.url, hello("m"), "Cache-Control", "only-if-cached")
		return hit.status == 200
	})
	hit.status200(t, "two", "HIT")
	if hit.body != first.body || s.calls.Load() != 1 {
		t.Errorf("%s after %d calls", hit, s.calls.Load())
	}
	testkit.Until(t, "deletion", func() bool { // which Redis has a second for
		return request(t, "DELETE", one.url+"/v1/cache?model=m", "").status == 200
	})
	testkit.Until(t, "deleted on two", func() bool {
		return chat(t, two.url, hello("m"), "Cache-Control", "only-if-cached").status == 504
	})
	chat(t, two.url, hello("m")).status200(t, "two, after that", "MISS")
}

// TestCacheSecondLevelFaults: whatever befalls Redis, clients have their
// replies, and memory works.
func TestCacheSecondLevelFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T) (url string, break_ func()){
		"frozen": func(t *testing.T) (string, func()) {
			r := newRedis(t)
			return r.url, func() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }
		},
		"killed": func(t *testing.T) (string, func()) {
			r := newRedis(t)
			return r.url, r.end
		},
		"full": func(t *testing.T) (string, func()) {
			return newRedis(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction").url, nil
		},
		"garbage": func(t *testing.T) (string, func()) { return listenWith(t, true), nil },
		"silent":  func(t *testing.T) (string, func()) { return listenWith(t, false), nil },
		"nobody":  func(t *testing.T) (string, func()) { return "redis://127.0.0.1:1", nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, harm := fault(t)
			s := newService(t)
			in := start(t, s.config(withRedis(url)))
			if harm != nil {
				in.l2up(t, "1")
				harm()
			}
			for i := range 10 {
				body := strings.Replace(hello("m"), "hello", fmt.Sprint("hello ", i), 1)
				chat(t, in.url, body).status200(t, "first", "MISS")
				chat(t, in.url, body).status200(t, "again", "HIT")
			}
			if s.calls.Load() != 10 {
				t.Errorf("%d calls", s.calls.Load())
			}
			got := request(t, "DELETE", in.url+"/v1/cache", "")
			if name != "full" && (got.status != 502 || !strings.Contains(got.body, "second_level_failed")) {
				t.Errorf("deletion: %s", got)
			}
			chat(t, in.url, strings.Replace(hello("m"), "hello", "hello 0", 1)).status200(t, "deleted here", "MISS")
		})
	}
}

// listenWith is a server that answers with garbage, or takes and says nothing.
func listenWith(t *testing.T, garbage bool) string {
	t.Helper()
	return "redis://" + testkit.Listen(t, func(_ int, c net.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if garbage {
				_, _ = rand.Read(b[:100])
				if _, err := c.Write(b[:100]); err != nil {
					return
				}
			}
		}
	})
}
