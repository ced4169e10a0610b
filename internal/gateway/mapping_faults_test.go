package gateway

import (
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice/internal/config"
	"sluice/internal/testkit"
	"sluice/internal/testkit/rpc"
)

const (
	askWhole  = `{"model":"pythia",` + question + `}`
	askStream = `{"model":"pythia","stream":true,` + question + `}`
)

// TestMappedFaults: what goes wrong at a service that speaks gRPC reaches clients as an
// upstream's errors do that speaks OpenAI's API.
func TestMappedFaults(t *testing.T) {
	retry, _ := status.New(codes.ResourceExhausted, "no breath left").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(90e9)})
	var first atomic.Value // a channel that is closed when the client has the first event
	whisper := func(r *rpc.Call, then func() error) error {
		_ = r.Reply(`{"words":"It "}`)
		<-first.Load().(chan struct{})
		return then()
	}
	for name, c := range map[string]struct {
		body, more string
		serve      func(*rpc.Call) error
		status     int
		want       string // in the reply
		retryAfter string
	}{
		"trailers alone": {askWhole, "", func(*rpc.Call) error { return status.Error(codes.NotFound, "no such oracle") }, 404,
			`{"error":{"message":"no such oracle","type":"invalid_request_error","param":null,"code":"not_found"}}`, ""},
		"retry info": {askWhole, "route: {retry: {max_attempts: 1}}\n", func(*rpc.Call) error { return retry.Err() }, 429, `"message":"no breath left","type":"rate_limit_error","param":null,"code":"resource_exhausted"`, "90"},
		"the key":    {askWhole, "", func(*rpc.Call) error { return status.Error(codes.Unauthenticated, "of-the-oracle is wrong") }, 401, `"message":"[redacted] is wrong"`, ""},
		"deadline":   {askWhole, "", func(r *rpc.Call) error { return r.Wait() }, 504, `"code":"deadline_exceeded"`, ""},
		"large":      {askWhole, "", func(r *rpc.Call) error { return r.Reply(`{"words":"` + strings.Repeat("x", 5<<20) + `"}`) }, 502, `"code":"upstream_reply_too_large"`, ""},
		"larger is allowed": {askWhole, "    max_message_bytes: 8MiB\n", func(r *rpc.Call) error { return r.Reply(`{"words":"` + strings.Repeat("x", 5<<20) + `"}`) }, 200,
			strings.Repeat("x", 5<<20), ""},
		"another schema": {askWhole, "", func(r *rpc.Call) error { b := []byte{1<<3 | 2, 9, 'x'}; return r.SendMsg(&b) }, 502, `"code":"upstream_bad_reply"`, ""},
		"unknown enum":   {askWhole, "", func(r *rpc.Call) error { return r.Reply(`{"words":"so","end":99}`) }, 200, `"content":"so","refusal":null},"logprobs":null,"finish_reason":"stop"`, ""},
		"no message":     {askWhole, "", func(*rpc.Call) error { return nil }, 502, `"code":"upstream_no_message"`, ""},
		"empty stream":   {askStream, "", func(*rpc.Call) error { return nil }, 502, `"code":"upstream_empty"`, ""},
		"refused before": {askStream, "", func(*rpc.Call) error { return status.Error(codes.FailedPrecondition, "asleep") }, 400, `"message":"asleep"`, ""},
		"fails after": {askStream, "", func(r *rpc.Call) error {
			return whisper(r, func() error { return status.Error(codes.Unavailable, "fell asleep") })
		}, 200, `data: {"error":{"message":"fell asleep"`, ""},
		"tells of an error": {askStream, "", func(r *rpc.Call) error {
			return whisper(r, func() error { return r.Reply(`{"wrath":"you asked twice"}`) })
		}, 200,
			`data: {"error":{"message":"you asked twice"`, ""},
		"another schema later": {askStream, "", func(r *rpc.Call) error {
			b := []byte{1<<3 | 2, 9, 'x'}
			return whisper(r, func() error { return r.SendMsg(&b) })
		}, 200, `"code":"upstream_bad_reply"`, ""},
		"silence": {askStream, "    http_client: {idle_timeout: 200ms}\n", func(r *rpc.Call) error { return whisper(r, r.Wait) }, 200, `"code":"upstream_timeout"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan struct{})
			first.Store(heard)
			o := &oracle{serve: func(r *rpc.Call) error {
				if strings.HasSuffix(r.Method, "Hush") {
					return r.Reply(`{}`)
				}
				return c.serve(r)
			}}
			_, url := consult(t, o, c.more)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if name == "deadline" {
				req.Header.Set("X-Request-Timeout", "0.2")
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			some := make([]byte, 1)
			_, _ = io.ReadFull(resp.Body, some)
			close(heard)
			b, _ := io.ReadAll(resp.Body) // a stream that failed is cut
			b = append(some, b...)
			if resp.StatusCode != c.status || !strings.Contains(string(b), c.want) || resp.Header.Get("Retry-After") != c.retryAfter {
				t.Errorf("%d %.1000s\nwant %.1000s\n%v", resp.StatusCode, b, c.want, resp.Header)
			}
			if strings.Contains(string(b), "[DONE]") || strings.Contains(string(b), "of-the-oracle") {
				t.Errorf("%s", b)
			}
		})
	}
}

// TestMappedElsewhere: what a service did not take is asked again, of another too.
func TestMappedElsewhere(t *testing.T) {
	var refused atomic.Int64
	o := &oracle{}
	o.serve = func(r *rpc.Call) error {
		if refused.Add(1) == 1 {
			return status.Error(codes.Unavailable, "asleep")
		}
		return r.Reply(`{"words":"so","end":"END_SAID"}`)
	}
	_, url := consult(t, o, "")
	code, reply, header := posted(t, url, "/v1/chat/completions", askWhole)
	if code != 200 || header.Get("X-Sluice-Attempts") != "2" || len(o.asked("Consult")) != 2 {
		t.Error(code, reply, header)
	}
	first, second := o.asked("Consult")[0].Request, o.asked("Consult")[1].Request
	if first == second {
		t.Errorf("both attempts have one ticket: %s", first)
	}
}

// TestMappedStages: caches, shared calls and batches work for a mapped service as for any.
func TestMappedStages(t *testing.T) {
	o := new(oracle)
	_, url := consult(t, o, "batch: {max_wait_time: 5s, max_batch_size: 4}\n")
	same := strings.Replace(askWhole, "{", `{"temperature":0,`, 1)
	for _, want := range []string{"MISS", "HIT"} {
		if code, reply, header := posted(t, url, "/v1/chat/completions", same); code != 200 || header.Get("X-Cache") != want {
			t.Errorf("%d %s, X-Cache %s, want %s", code, reply, header.Get("X-Cache"), want)
		}
	}
	if n := len(o.asked("Consult")); n != 1 {
		t.Errorf("%d calls", n)
	}
	// The first goes at once, and the others gather as long as it is under way.
	answered := make(chan struct{})
	release := sync.OnceFunc(func() { close(answered) })
	defer release()
	o.mu.Lock()
	o.serve = func(r *rpc.Call) error {
		<-answered
		n := strings.Count(r.Request, "text-")
		return r.Reply(`{"places":[` + strings.TrimSuffix(strings.Repeat(`{"at":[1,0.5]},`, n), ",") + `]}`)
	}
	o.mu.Unlock()
	var all sync.WaitGroup
	vectors := make([]string, 4)
	ask := func(i int) {
		all.Go(func() {
			_, vectors[i], _ = posted(t, url, "/v1/embeddings", fmt.Sprintf(`{"model":"pythia","input":"text-%d"}`, i))
		})
	}
	ask(0)
	testkit.Until(t, "the first call", func() bool { return len(o.asked("Locate")) == 1 })
	for i := range vectors[1:] {
		ask(i + 1)
	}
	figure(t, url, `batch_waiting{priority="normal"} 3`)
	release()
	all.Wait()
	for i, v := range vectors {
		if !strings.Contains(v, `"index":0,"embedding":[1,0.5]`) {
			t.Errorf("%d: %s", i, v)
		}
	}
	if n := len(o.asked("Locate")); n != 2 {
		t.Errorf("%d calls for four texts", n)
	}
	testkit.Until(t, "vectors from the cache", func() bool { // they are kept after they are sent
		_, _, header := posted(t, url, "/v1/embeddings", `{"model":"pythia","input":["text-1","text-3"]}`)
		return header.Get("X-Cache") == "HIT"
	})
}

// TestMappedReflection: the service tells its schema itself, and a stream both ways is
// ended by this side.
func TestMappedReflection(t *testing.T) {
	o := new(oracle)
	o.serve = func(r *rpc.Call) error {
		if err := r.HalfClosed(); err != nil {
			return err
		}
		return r.Reply(`{"words":"so","end":"END_SAID","tally":{"heard":"1","said":"1"}}`)
	}
	addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
	text := strings.NewReplacer("ADDR", addr, "schema: testdata/oracle.proto", "schema: reflection", "testdata/oracle.yaml", "testdata/converse.yaml#converse").Replace(oracleYAML)
	cfg := loadYAML(t, text)
	if w := fmt.Sprint(cfg.Warnings()); !strings.Contains(w, "upstreams[0].mapping: it is checked at the first call") {
		t.Error(w)
	}
	if c := cfg.Upstreams[0].HTTPClient; !c.H2C || c.PingInterval < 5*time.Minute {
		t.Errorf("h2c %v, a ping each %v", c.H2C, c.PingInterval)
	}
	g, url := run(t, cfg, io.Discard)
	for _, body := range []string{askWhole, askStream} {
		if code, reply, _ := posted(t, url, "/v1/chat/completions", body); code != 200 || !strings.Contains(reply, `"content":"so"`) || !strings.Contains(reply, `"finish_reason":"stop"`) {
			t.Error(code, reply)
		}
	}
	if err := g.Reload(loadYAML(t, text)); err != nil {
		t.Fatal(err)
	}
	if code, reply, _ := posted(t, url, "/v1/chat/completions", askWhole); code != 200 {
		t.Error(code, reply)
	}
	// Nobody there who could tell it.
	_, url = run(t, loadYAML(t, strings.ReplaceAll(text, addr, "127.0.0.1:1")), io.Discard)
	if code, reply, _ := posted(t, url, "/v1/chat/completions", askWhole); code != 502 || !strings.Contains(reply, `"code":"upstream_schema"`) {
		t.Error(code, reply)
	}
}

// TestPreset: a preset needs no file but the model's chat template, here as the
// tokenizer's configuration has it.
func TestPreset(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	addr := rpc.Serve(t, func(r *rpc.Call) error {
		mu.Lock()
		asked = append(asked, r.Request)
		mu.Unlock()
		return r.Reply(`{"outputs":{"text":"so","finish_info":{"finish_reason":"STOP"},"num_tokens":1}}`)
	}, "../protobuf/presets/files/vllm.proto")
	template := filepath.Join(t.TempDir(), "tokenizer_config.json")
	const text = `{"chat_template":"{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>","bos_token":{"content":"<s>"},"eos_token":null}`
	if err := os.WriteFile(template, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := run(t, loadYAML(t, fmt.Sprintf("upstreams: [{name: v, protocol: grpc, base_url: \"http://%s\", preset: vllm, chat_template: %q, models: [pythia]}]\n", addr, template)), io.Discard)
	for _, body := range []string{askWhole, askStream} {
		if code, reply, _ := posted(t, url, "/v1/chat/completions", body); code != 200 || !strings.Contains(reply, `"content":"so"`) || !strings.Contains(reply, `"finish_reason":"stop"`) {
			t.Error(code, reply)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 2 || !strings.Contains(asked[0], `<s><user>Is it so?<assistant>`) {
		t.Error(asked)
	}
	_, err := config.Load(config.LoadOptions{File: written(t, "upstreams: [{name: v, protocol: grpc, base_url: \"http://h\", preset: vlm, schema: x, chat_template: none}]\n")})
	if err == nil || !strings.Contains(err.Error(), `upstreams[0].preset: there is no preset "vlm"; did you mean "vllm"?`) || !strings.Contains(err.Error(), "upstreams[0].schema: a preset brings its own") {
		t.Error(err)
	}
}

// TestMappedRequestFaults: a client is told what it can do something about, and nothing of
// the mapping's inside, which is in the log.
func TestMappedRequestFaults(t *testing.T) {
	o := new(oracle)
	addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
	text, err := os.ReadFile("testdata/oracle.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mapping := strings.Replace(string(text), "  request:\n", "  refuse: [{$if: =has(req.logprobs), $then: it tells no odds}]\n  request:\n", 1)
	file := filepath.Join(t.TempDir(), "o.yaml")
	if err := os.WriteFile(file, []byte(mapping), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &testkit.Buffer{}
	_, url := runStages(t, loadYAML(t, strings.NewReplacer("ADDR", addr, "testdata/oracle.yaml", file).Replace(oracleYAML)),
		Options{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, stages())
	const cannot = "The mapping of upstream `delphi` could not express this request"
	for _, c := range []struct{ path, body, message, param, log string }{
		{"chat/completions", `"logprobs":true,` + question, "The request does not fit the model's service: it tells no odds.", "null", "map oracle: refuse (line "},
		{"chat/completions", `"x":1`, cannot + ", because of `messages`.", `"messages"`, "there is no member"},
		{"chat/completions", `"messages":{}`, cannot + ", because of `messages`.", `"messages"`, "$each takes a list"},
		{"chat/completions", `"messages":[{"role":"user","content":7}]`, cannot + ", because of `messages[].content`.", `"messages[].content"`, "request.lines.words"},
		{"chat/completions", `"messages":[{"role":"user","content":[{"type":"text","text":7}]}]`, cannot + ", because of `messages[].content`.", `"messages[].content"`, "$join takes strings"},
		{"chat/completions", `"messages":[{"role":"robot"}]`, "The request does not fit the model's service: \\\"robot\\\" is none of user, assistant, system, tool.", `"messages[].role"`, "line 1"},
		{"chat/completions", `"temperature":"hot",` + question, cannot + ", because of `temperature`.", `"temperature"`, "not a value of type float"},
		{"chat/completions", `"temperature":1e300,` + question, cannot + ", because of `temperature`.", `"temperature"`, "invalid message at heat"},
		{"chat/completions", `"tools":[{"function":{"name":7}}],` + question, cannot + ", because of `tools[].function.name`.", `"tools[].function.name"`, "skills[0].name"},
		{"embeddings", `"input":[[1]]`, cannot + ", because of `input`.", `"input"`, "texts[0]"},
	} {
		code, reply, _ := posted(t, url, "/v1/"+c.path, `{"model":"pythia",`+c.body+`}`)
		if want := `{"error":{"message":"` + c.message + `","type":"invalid_request_error","param":` + c.param + `,"code":"invalid_request"}}` + "\n"; code != 400 || reply != want {
			t.Errorf("%s: %d %s\nwant %s", c.body, code, reply, want)
		}
		if !strings.Contains(log.String(), c.log) {
			t.Errorf("%s: no %q in the log\n%s", c.body, c.log, log.String())
		}
	}
	if n := len(o.asked("Consult")) + len(o.asked("Locate")); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestMappedUnoffered: what a mapping does not do another upstream of the model is asked
// for. Where there is none the client hears that the model does not do it, and not to try
// again.
func TestMappedUnoffered(t *testing.T) {
	o := new(oracle)
	addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
	file := filepath.Join(t.TempDir(), "t.yaml")
	const texts = "texts: {call: {unary: oracle.v2.Oracle/Consult}, request: {lines: [{words: =req.prompt}]}, response: {choices: [{text: =r.words}]}}\n"
	if err := os.WriteFile(file, []byte(texts), 0o600); err != nil {
		t.Fatal(err)
	}
	alone := strings.ReplaceAll(oracleYAML, "ADDR", addr)
	_, other, _ := strings.Cut(strings.NewReplacer("delphi", "dodona", "testdata/oracle.yaml", file).Replace(alone), "upstreams:\n")
	chat, text, embed := askWhole, `{"model":"pythia","prompt":"Is it so?"}`, `{"model":"pythia","input":"text-a"}`
	refusal := func(what, name string) string {
		return "{\"error\":{\"message\":\"The model `pythia` does not do " + what + ": the mapping of upstream `" + name + "` makes no call of them.\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"not_supported\"}}\n"
	}
	for _, c := range []struct {
		yaml, path, body string
		status           int
		want             string
	}{
		{alone, "completions", text, 404, refusal("completions", "delphi")},
		{"upstreams:\n" + other, "chat/completions", chat, 404, refusal("chats", "dodona")},
		{"upstreams:\n" + other, "embeddings", embed, 404, refusal("embeddings", "dodona")},
		{"upstreams:\n" + other, "completions", text, 200, `"text":"It is`},
		{alone + other, "completions", text, 200, `"text":"It is`},
		{alone + other, "chat/completions", chat, 200, `"content":"It is`},
		{alone + other, "embeddings", embed, 200, `"embedding":[0,0.5]`},
		{alone + other, "moderations", embed, 501, `"code":"not_supported"`},
		{alone, "responses", embed, 200, `"text":"It is`},
		{alone, "messages", `{"model":"pythia","max_tokens":9,"messages":[{"role":"user","content":"Is it so?"}]}`, 200, `"text":"It is`},
		{"upstreams:\n" + other, "messages", `{"model":"pythia","max_tokens":9,"messages":[]}`, 404, `"type":"not_found_error"`},
	} {
		_, url := run(t, loadYAML(t, c.yaml+"cache: {enabled: false}\n"), io.Discard)
		for range 4 { // whichever of them is asked first
			code, reply, header := posted(t, url, "/v1/"+c.path, c.body)
			if code != c.status || !strings.Contains(reply, c.want) || code == 200 && header.Get("X-Sluice-Attempts") != "" || code != 200 && header.Get("X-Should-Retry") != "false" {
				t.Errorf("%s: %d %s\nwant %s\n%v", c.path, code, reply, c.want, header)
			}
		}
	}
}

// TestMappedHandshakes: a port that speaks another protocol is an upstream that could not be
// reached, to clients. The log and the report of its health say what is probably wrong.
func TestMappedHandshakes(t *testing.T) {
	addr := rpc.Serve(t, new(oracle).answer, "testdata/oracle.proto")
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for base, hint := range map[string]string{"https://" + addr: "answers without TLS", plain.URL: "speak", strings.Replace(secure.URL, "https", "http", 1): "TLS", secure.URL: "not trusted"} {
		log := &testkit.Buffer{}
		_, url := runStages(t, loadYAML(t, strings.ReplaceAll(oracleYAML, "http://ADDR", base)+"route: {retry: {max_attempts: 1}, breaker: {failures: 1}}\n"),
			Options{Logger: slog.New(slog.NewTextHandler(log, nil))}, stages())
		code, reply, _ := posted(t, url, "/v1/chat/completions", askWhole)
		if code != 502 || !strings.Contains(reply, `"code":"upstream_`) || strings.Contains(reply, "TLS") || strings.Contains(reply, "speak") || strings.Contains(reply, "127.0.0.1") {
			t.Errorf("%s: %d %s", base, code, reply)
		}
		_, health := get(t, url+"/v1/health/detailed")
		if !strings.Contains(log.String(), hint) || !strings.Contains(health, hint) {
			t.Errorf("%s: no %q in\n%s\n%s", base, hint, log.String(), health)
		}
	}
}
