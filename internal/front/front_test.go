package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean"
	"sluice/internal/front/nethttp"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// testEngine is the engine that all tests are run with, one after the other.
var testEngine = EngineNetHTTP

// TestMain runs all tests with each engine.
func TestMain(m *testing.M) { goleak.VerifyTestMain(eachEngine{m}) }

type eachEngine struct{ *testing.M }

func (m eachEngine) Run() (code int) {
	for _, testEngine = range []string{EngineNetHTTP, EngineLean} {
		if testEngine == EngineLean && !lean.Available {
			continue
		}
		fmt.Println("engine:", testEngine)
		code = max(code, m.M.Run())
	}
	return code
}

const patience = time.Minute

// site is a Server that listens on a real socket.
type site struct {
	*Server
	addr string
}

type setting func(*Config, *StreamConfig)

func start(t testing.TB, h llm.HandlerFunc, settings ...setting) *site {
	t.Helper()
	return startWith(t, h, Options{}, settings...)
}

func startWith(t testing.TB, h llm.HandlerFunc, o Options, settings ...setting) *site {
	t.Helper()
	cfg, sc := testConfig(settings...)
	if o.Memory == nil {
		o.Memory = new(memory.Governor)
	}
	lent := o.Memory.Budget.Account("buffers")
	o.Memory.Buffers.Account = lent
	s, err := New(cfg, sc, h, o)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		deadline := time.Now().Add(patience)
		for s.inFlight.Load() > 0 || s.stats.connections.Load() > 0 || s.stats.streams.Load() > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("left over: %d requests, %d connections, %d streams", s.inFlight.Load(), s.stats.connections.Load(), s.stats.streams.Load())
			}
			time.Sleep(time.Millisecond)
		}
		testkit.Until(t, "all memory was given back", func() bool { return s.held.Held() == 0 && lent.Held() == 0 })
	})
	return &site{s, addr.String()}
}

func testConfig(settings ...setting) (Config, StreamConfig) {
	cfg, sc := Default(), DefaultStream()
	cfg.Port, cfg.Engine = 0, testEngine
	for _, set := range settings {
		set(&cfg, &sc)
	}
	return cfg, sc
}

// speaker is one way to speak to the site.
type speaker struct {
	name   string
	client func(t testing.TB, s *site) *http.Client
}

func h1(t testing.TB, _ *site) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func h2c(t testing.TB, _ *site) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

var engines = []speaker{{"h1", h1}, {"h2c", h2c}}

func (s *site) url(path string) string { return "http://" + s.addr + path }

func newRequest(t testing.TB, ctx context.Context, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

func do(t testing.TB, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v (so far %q)", err, b)
	}
	return resp, string(b)
}

// serve has s answer a request that comes over no connection, as net/http has them.
func serve(s *Server, w http.ResponseWriter, r *http.Request) {
	made, ok := unconnected.Load(s)
	if !ok {
		cfg := s.state.Load().cfg
		cfg.Engine = EngineNetHTTP
		made, _ = unconnected.LoadOrStore(s, s.newEngine(cfg))
	}
	h, _ := made.(http.Handler)
	h.ServeHTTP(w, r)
}

var unconnected sync.Map // of engines by *Server

// counters are those that s reports, by name and labels.
type counters map[string]float64

func countersOf(s *Server) counters {
	c := make(counters)
	s.Figures(c)
	return c
}

func (c counters) Counter(name, _ string, value float64, labels ...string) {
	c[strings.Join(append([]string{name}, labels...), " ")] = value
}
func (counters) Gauge(string, string, float64, ...string)             {}
func (counters) Histogram(string, string, *perf.Histogram, ...string) {}
func (counters) Ratio(string, string, float64, float64, ...string)    {}

// apiError reads an error reply.
func apiError(t testing.TB, body string) (e struct{ Message, Type, Param, Code string }) {
	t.Helper()
	var reply struct {
		Error map[string]*string `json:"error"`
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatalf("error reply %q: %v", body, err)
	}
	for _, name := range []string{"message", "type", "param", "code"} {
		if _, ok := reply.Error[name]; !ok {
			t.Errorf("no %q in %s", name, body)
		}
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	e.Message, e.Type, e.Param, e.Code = text(reply.Error["message"]), text(reply.Error["type"]), text(reply.Error["param"]), text(reply.Error["code"])
	return e
}

func unary(body string) llm.HandlerFunc {
	return func(_ context.Context, _ *llm.Request, out llm.Sink) error { return sendUnary(out, body) }
}

func sendUnary(out llm.Sink, body string) error {
	head := llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(body)), Upstream: "up", Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	if err := out.Start(&head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: []byte(body)}})
}

func startStream(out llm.Sink) error {
	return out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1, Upstream: "up", Header: []llm.Field{{Name: "Content-Type", Value: "text/event-stream; charset=utf-8"}}})
}

func events(texts ...string) (list []llm.Event) {
	for _, text := range texts {
		list = append(list, llm.Event{Raw: []byte(text)})
	}
	return list
}

const (
	chatPath   = "/v1/chat/completions"
	chatBody   = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	streamBody = `{"model":"m","stream":true,"messages":[]}`
)

func TestUnary(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			for _, size := range []int{2, 1000, 2048, 2049, 5000, 900_000} {
				reply := `"` + strings.Repeat("x", size-2) + `"`
				var got llm.Request
				var gotBody string
				s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
					got, gotBody = *req, string(req.Body)
					got.Header = append([]llm.Field(nil), req.Header...)
					return sendUnary(out, reply)
				})
				req := newRequest(t, t.Context(), "POST", s.url(chatPath+"?a=b"), chatBody)
				req.Header.Set("Authorization", "Bearer secret")
				req.Header.Set("Cookie", "a=b")
				req.Header.Set("X-Request-Id", "mine-1")
				req.Header.Set("Openai-Beta", "x")
				resp, body := do(t, e.client(t, s), req)
				if resp.StatusCode != 200 || body != reply || resp.ContentLength != int64(size) {
					t.Fatalf("size %d: status %d, length %d, body %.40q", size, resp.StatusCode, resp.ContentLength, body)
				}
				if resp.Header.Get("X-Request-Id") != "mine-1" || resp.Header.Get("X-Sluice-Upstream") != "up" || resp.Header.Get("Content-Type") != "application/json" {
					t.Errorf("header %v", resp.Header)
				}
				if got.Op != llm.Chat || got.Model != "m" || got.Stream || got.ID != "mine-1" || got.RawQuery != "a=b" || gotBody != chatBody ||
					chatBody[got.ModelSpan.Start:got.ModelSpan.End] != `"m"` {
					t.Errorf("request %+v", got)
				}
				if got.Get("Authorization") != "" || got.Get("Cookie") != "" || got.Get("Openai-Beta") != "x" || got.Get("Content-Type") != "application/json" {
					t.Errorf("forwarded %v", got.Header)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.MaxBodyBytes, c.MaxUploadBytes, c.MaxJSONDepth = 1000, 2000, 5 })
	client := h1(t, s)
	long := `{"model":"m","x":"` + strings.Repeat("x", 2000) + `"}`
	for _, c := range []struct {
		name, method, path, body, contentType string
		status                                int
		code, param, message                  string
	}{
		{"unknown route", "GET", "/foo", "", "", 404, "unknown_url", "", "GET /foo"},
		{"root", "GET", "/", "", "", 404, "unknown_url", "", ""},
		{"no /v1", "POST", "/chat/completions", chatBody, "", 404, "unknown_url", "", "POST /chat/completions. The API's routes begin with /v1/, once: the base URL to give a client is http://" + s.addr + "/v1, with"},
		{"/v1 twice", "POST", "/v1/v1/chat/completions", chatBody, "", 404, "unknown_url", "", "POST /v1/v1/chat/completions. The API's routes begin with /v1/, once: the base URL to give a client is http://" + s.addr + "/v1, with"},
		{"/v1 twice and no more", "GET", "/v1/v1", "", "", 404, "unknown_url", "", "http://" + s.addr + "/v1, with"},
		{"/v1 alone", "GET", "/v1", "", "", 404, "unknown_url", "", "http://" + s.addr + "/v1, with"},
		{"slash twice", "POST", "/v1//chat/completions", chatBody, "", 404, "unknown_url", "", "no slash at its end"},
		{"dot segments", "POST", "/v1/files/..%2fx", "{}", "", 404, "unknown_url", "", ""},
		{"empty segment", "GET", "/v1//x", "", "", 404, "unknown_url", "", ""},
		{"method", "DELETE", chatPath, "", "", 405, "method_not_supported", "", "GET, HEAD, POST"},
		{"method of models", "POST", "/v1/models", "{}", "", 405, "method_not_supported", "", ""},
		{"method of embeddings", "GET", "/v1/embeddings", "", "", 405, "method_not_supported", "", ""},
		{"trace", "OPTIONS", "/v1/files", "", "", 405, "method_not_supported", "", ""},
		{"content type", "POST", chatPath, "a=b", "application/x-www-form-urlencoded", 415, "unsupported_content_type", "", "application/json"},
		{"type that begins alike", "POST", chatPath, chatBody, "application/jsonl; charset=utf-8", 415, "unsupported_content_type", "", ""},
		{"empty body", "POST", chatPath, "", "", 400, "invalid_json", "", "line 1"},
		{"bad JSON", "POST", chatPath, "{\n\"a\":}", "", 400, "invalid_json", "", "line 2, column 5"},
		{"array", "POST", chatPath, "[]", "", 400, "invalid_json", "", "object"},
		{"two documents", "POST", chatPath, chatBody + chatBody, "", 400, "invalid_json", "", ""},
		{"deep", "POST", chatPath, `{"a":[[[[[[]]]]]]}`, "", 400, "invalid_json", "", ""},
		{"no model", "POST", chatPath, `{"messages":[]}`, "", 400, "missing_required_parameter", "model", ""},
		{"empty model", "POST", chatPath, `{"model":""}`, "", 400, "missing_required_parameter", "model", ""},
		{"model number", "POST", "/v1/embeddings", `{"model":1}`, "", 400, "invalid_type", "model", ""},
		{"model twice", "POST", chatPath, `{"model":"a","mod\u0065l":"b"}`, "", 400, "duplicate_parameter", "model", ""},
		{"stream twice", "POST", chatPath, `{"model":"a","stream":true,"stream":false}`, "", 400, "duplicate_parameter", "stream", ""},
		{"stream text", "POST", chatPath, `{"model":"a","stream":"yes"}`, "", 400, "invalid_type", "stream", ""},
		{"too large", "POST", chatPath, long, "", 413, "request_too_large", "", "1000"},
		{"upload too large", "POST", "/v1/files", long, "text/plain", 413, "request_too_large", "", "2000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := newRequest(t, t.Context(), c.method, s.url(c.path), c.body)
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			resp, body := do(t, client, req)
			e := apiError(t, body)
			if resp.StatusCode != c.status || e.Code != c.code || e.Param != c.param || e.Type != llm.TypeInvalidRequest || !strings.Contains(e.Message, c.message) {
				t.Errorf("status %d, %s", resp.StatusCode, body)
			}
			if resp.Header.Get("X-Request-Id") == "" || resp.Header.Get("Content-Type") != "application/json" || (c.status == 405) != (resp.Header.Get("Allow") != "") {
				t.Errorf("header %v", resp.Header)
			}
		})
	}
	t.Run("too large, length unknown", func(t *testing.T) {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), "")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(long)), -1
		if resp, body := do(t, client, req); resp.StatusCode != 413 {
			t.Errorf("status %d, %s", resp.StatusCode, body)
		}
	})
}

// RFC 8259 section 11: a charset, or whatever else is behind the type, has no
// effect.
func TestParametersOfJSONMeanNothing(t *testing.T) {
	var got llm.Request
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got = *req
		got.Body = bytes.Clone(req.Body) // which is not the handler's any more then
		return sendUnary(out, `{}`)
	})
	client := h1(t, s)
	for _, path := range []string{chatPath, "/v1/moderations"} {
		for _, params := range []string{
			"", ";", "; charset=utf-8", "; charset=utf8", ";charset=UTF8", "; charset=us-ascii", "; charset=\"utf-16\"", " ; version=1",
			"; charset", "; charset=utf-8; charset=utf-8", "; =x", ";;", "; charset=\"utf-8",
		} {
			req := newRequest(t, t.Context(), "POST", s.url(path), chatBody)
			req.Header.Set("Content-Type", "Application/JSON"+params)
			if resp, body := do(t, client, req); resp.StatusCode != 200 || got.Model != "m" || string(got.Body) == "" {
				t.Errorf("%s, %q: %d %s, model %q", path, params, resp.StatusCode, body, got.Model)
			}
		}
	}
}

// TestTypes: the upstream's type goes on, right or wrong, and where it gave none
// no other is made up.
func TestTypes(t *testing.T) {
	for _, kind := range []llm.ReplyKind{llm.Unary, llm.EventStream, llm.Pieces} {
		for given, want := range map[string][]string{"": nil, "application/json": {"application/json"}, "Text/Event-Stream;charset=x": {"Text/Event-Stream;charset=x"}} {
			if kind == llm.EventStream && given != "" && given != "application/json" {
				want = []string{"text/event-stream"}
			}
			s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				head := llm.Head{Status: 200, Kind: kind, Length: -1}
				if given != "" {
					head.Header = []llm.Field{{Name: "Content-Type", Value: given}}
				}
				if err := out.Start(&head); err != nil {
					return err
				}
				return out.Send(events("data: 1\n\n"))
			})
			for _, e := range engines {
				resp, body := do(t, e.client(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), streamBody))
				if got := resp.Header["Content-Type"]; body != "data: 1\n\n" || !slices.Equal(got, want) {
					t.Errorf("%s, kind %d, %q: %q, type %q", e.name, kind, given, body, got)
				}
			}
		}
	}
}

func TestRoutes(t *testing.T) {
	var got llm.Request
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got = *req
		return sendUnary(out, `{}`)
	})
	client := h1(t, s)
	for _, c := range []struct {
		method, path, body string
		op                 llm.Operation
		model              string
		stream             bool
	}{
		{"POST", "/v1/completions", chatBody, llm.Completion, "m", false},
		{"POST", "/v1/embeddings", `{"model":"m","stream":true}`, llm.Embedding, "m", false},
		{"POST", "/v1/responses", `{"stream":true,"model":"\u006d"}`, llm.Response, "m", true},
		{"POST", "/v1/responses", `{"prompt":{"id":"p"}}`, llm.Response, "", false},
		{"GET", "/v1/models", "", llm.ListModels, "", false},
		{"GET", "/v1/models/a%2Fb", "", llm.GetModel, "a/b", false},
		{"DELETE", "/v1/models/a/b", "", llm.Passthrough, "a/b", false},
		{"GET", chatPath, "", llm.Passthrough, "", false},
		{"GET", "/v1/responses/r1", "", llm.Passthrough, "", false},
		{"POST", "/v1/moderations", `{"model":"mod","stream":null}`, llm.Passthrough, "mod", false},
		{"POST", "/v1/protobuf/encode", `{"type":"p.M","model":"mod","stream":true}`, llm.Passthrough, "", false},
		{"POST", "/v1/moderations", `{"model":"mod",`, llm.Passthrough, "", false},
	} {
		resp, body := do(t, client, newRequest(t, t.Context(), c.method, s.url(c.path), c.body))
		if resp.StatusCode != 200 || got.Op != c.op || got.Model != c.model || got.Stream != c.stream || got.Path != c.path || got.Method != c.method {
			t.Errorf("%s %s: %d %s, request %+v", c.method, c.path, resp.StatusCode, body, got)
		}
	}
}

func TestKeys(t *testing.T) {
	var tenant string
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		tenant = req.Tenant
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "alice", Hash: HashKey("key-a")}, {Name: "bob", Hash: HashKey("key-b")}}
	})
	client := h1(t, s)
	for _, c := range []struct {
		header []string
		tenant string
		code   string
	}{
		{[]string{"Bearer key-a"}, "alice", ""},
		{[]string{"bearer  key-b"}, "bob", ""},
		{nil, "", "no_api_key"},
		{[]string{"Bearer key-c"}, "", "invalid_api_key"},
		{[]string{"Bearer "}, "", "invalid_api_key"},
		{[]string{"Basic key-a"}, "", "invalid_api_key"},
		{[]string{"Bearer " + strings.Repeat("k", 600)}, "", "invalid_api_key"},
		{[]string{"Bearer key-a", "Bearer key-b"}, "", "invalid_api_key"},
	} {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header["Authorization"] = c.header
		tenant = ""
		resp, body := do(t, client, req)
		if c.code == "" {
			if resp.StatusCode != 200 || tenant != c.tenant {
				t.Errorf("%q: %d, tenant %q", c.header, resp.StatusCode, tenant)
			}
			continue
		}
		if e := apiError(t, body); resp.StatusCode != 401 || e.Code != c.code || tenant != "" || resp.Header.Get("Www-Authenticate") != "Bearer" || strings.Contains(body, "key-") {
			t.Errorf("%q: %d %s", c.header, resp.StatusCode, body)
		}
	}
}

// TestAnthropicFields: what the Messages API has beside its bodies goes on with the requests
// that may be its, and with no others.
func TestAnthropicFields(t *testing.T) {
	var got llm.Request
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got = *req
		got.Header = slices.Clone(req.Header)
		return sendUnary(out, `{}`)
	})
	client := h1(t, s)
	for _, c := range []struct {
		method, path string
		goes         bool
	}{
		{"POST", "/v1/messages", true},
		{"POST", "/v1/messages/count_tokens", true},
		{"POST", "/v1/messages/batches", true},
		{"GET", "/v1/files", true},
		{"GET", "/v1/models", true},
		{"GET", "/v1/models/m", true},
		{"POST", chatPath, false},
		{"POST", "/v1/responses", false},
		{"POST", "/v1/embeddings", false},
		{"POST", "/v1beta/models/m:generateContent", false},
	} {
		body := ""
		if c.method == "POST" {
			body = chatBody
		}
		req := newRequest(t, t.Context(), c.method, s.url(c.path), body)
		req.Header.Set("Anthropic-Version", "2099-01-01")
		req.Header.Set("Anthropic-Beta", "a,b")
		req.Header.Set("Anthropic-Other", "x")
		resp, text := do(t, client, req)
		version, beta := got.Get("Anthropic-Version"), got.Get("Anthropic-Beta")
		if resp.StatusCode != 200 || (version == "2099-01-01" && beta == "a,b") != c.goes || !c.goes && version+beta != "" || got.Get("Anthropic-Other") != "" {
			t.Errorf("%s: %d %s: %q and %q go on", c.path, resp.StatusCode, text, version, beta)
		}
	}
}

// TestBlankKeys: a blank key hides none that stands elsewhere, and is none itself.
func TestBlankKeys(t *testing.T) {
	var tenant string
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		tenant = req.Tenant
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "alice", Hash: HashKey("key-a")}, {Name: "blank", Hash: HashKey("")}, {Name: "space", Hash: HashKey(" ")}}
	})
	client := h1(t, s)
	for _, c := range []struct{ authorization, api, google, tenant string }{
		{"Bearer key-a", "", " ", "alice"},
		{"Bearer key-a", "key-b", "key-b", "alice"},
		{"", "key-a", "", "alice"},
		{"Bearer ", " key-a", "", "alice"},
		{"bearer", "", "key-a", "alice"},
		{" ", " ", "key-a", "alice"},
		{"", "", "", ""},
		{"Bearer ", " ", "", ""},
		{"", "key-b", "key-a", ""},
		{"Basic key-a", "key-a", "", ""},
		{"Bearer key-b", "key-a", "", ""},
	} {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header["Authorization"], req.Header["X-Api-Key"], req.Header["X-Goog-Api-Key"] = []string{c.authorization}, []string{c.api}, []string{c.google}
		tenant = ""
		if resp, body := do(t, client, req); (resp.StatusCode == 200) != (c.tenant != "") || tenant != c.tenant || c.tenant == "" && resp.StatusCode != 401 {
			t.Errorf("%+v: %d, tenant %q: %s", c, resp.StatusCode, tenant, body)
		}
	}
}

func TestErrors(t *testing.T) {
	var fail error
	s := start(t, func(context.Context, *llm.Request, llm.Sink) error { return fail })
	client := h1(t, s)
	call := func() (*http.Response, string) {
		return do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
	}
	fail = errors.New("dial tcp 10.0.0.1: secret")
	if resp, body := call(); resp.StatusCode != 500 || strings.Contains(body, "secret") || apiError(t, body).Code != "internal_error" {
		t.Errorf("foreign error: %d %s", resp.StatusCode, body)
	}
	fail = nil
	if resp, body := call(); resp.StatusCode != 500 {
		t.Errorf("no reply: %d %s", resp.StatusCode, body)
	}
	fail = &llm.Error{Status: 429, Type: llm.TypeRateLimit, Message: "slow\x00\"down", RetryAfter: 1500 * time.Millisecond, Upstream: "up", Attempts: 3}
	if resp, body := call(); resp.StatusCode != 429 || resp.Header.Get("X-Sluice-Attempts") != "3" || resp.Header.Get("Retry-After") != "2" || apiError(t, body).Message != "slow\x00\"down" || resp.Header.Get("X-Sluice-Upstream") != "up" {
		t.Errorf("rate limit: %d %s %v", resp.StatusCode, body, resp.Header)
	}
	for advice, want := range map[llm.Advice]string{llm.NoAdvice: "maybe", llm.SendAgain: "true", llm.DoNotRetry: "false"} {
		fail = &llm.Error{Status: 503, Advice: advice, Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: []llm.Field{{Name: "X-Should-Retry", Value: "maybe"}}}}
		if resp, _ := call(); resp.StatusCode != 503 || len(resp.Header["X-Should-Retry"]) != 1 || resp.Header.Get("X-Should-Retry") != want {
			t.Errorf("advice %d: %d %v", advice, resp.StatusCode, resp.Header)
		}
	}
	fail = &llm.Error{Status: 400, Upstream: "up", Attempts: 1, Reply: &llm.ErrorReply{Body: []byte(`{"error":{"message":"own"} }`), Header: []llm.Field{
		{Name: "Content-Type", Value: "application/json"}, {Name: "Set-Cookie", Value: "a=b"}, {Name: "X-Request-Id", Value: "theirs"}, {Name: "Openai-Version", Value: "1"},
		{Name: "X-Sluice-Attempts", Value: "7"}}}}
	resp, body := call()
	if resp.StatusCode != 400 || body != `{"error":{"message":"own"} }` || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Openai-Version") != "1" ||
		resp.Header.Get("X-Sluice-Attempts") != "" || resp.Header.Get("X-Upstream-Request-Id") != "theirs" || resp.Header.Get("X-Request-Id") == "theirs" {
		t.Errorf("upstream's error: %d %s %v", resp.StatusCode, body, resp.Header)
	}
}

// TestBatchHeader: a reply says how many items its call had, where that is something.
func TestBatchHeader(t *testing.T) {
	var items int
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		h := llm.Head{Status: 200, Length: 2, Batch: items, Header: []llm.Field{{Name: "X-Sluice-Batch-Size", Value: "99"}}}
		if err := out.Start(&h); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte("{}")}})
	})
	for n, want := range map[int]string{0: "", 1: "1", 10: "10", 2048: "2048"} {
		items = n
		if resp, _ := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.Header.Get("X-Sluice-Batch-Size") != want {
			t.Errorf("%d items: %q", n, resp.Header.Get("X-Sluice-Batch-Size"))
		}
	}
}

// TestCacheHeader: the fields are Sluice's own, whatever an upstream sent.
func TestCacheHeader(t *testing.T) {
	var head llm.Head
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		head.Status, head.Kind, head.Length = 200, llm.Unary, 2
		if req.Stream {
			head.Kind, head.Length = llm.EventStream, -1
		}
		head.Header = []llm.Field{{Name: "X-Cache", Value: "theirs"}, {Name: "X-Cache-Key", Value: "theirs"}, {Name: "Age", Value: "7"}}
		if req.Model == "fail" {
			return &llm.Error{Status: 400, Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: head.Header}}
		}
		if err := out.Start(&head); err != nil {
			return err
		}
		return out.Send(events("{}"))
	})
	client := h1(t, s)
	key := [32]byte{0: 0x01, 31: 0xef}
	text := "01" + strings.Repeat("0", 60) + "ef"
	for _, c := range []struct {
		body                        string
		cache                       llm.CacheStatus
		age                         time.Duration
		key                         [32]byte
		wantCache, wantAge, wantKey string
	}{
		{chatBody, 0, time.Hour, key, "", "7", ""},
		{`{"model":"fail"}`, 0, 0, key, "", "7", ""},
		{chatBody, llm.CacheHit, 0, key, "HIT", "0", text},
		{chatBody, llm.CacheHit, 3599999 * time.Millisecond, key, "HIT", "3599", text},
		{streamBody, llm.CacheStale, time.Second, key, "STALE", "1", text},
		{chatBody, llm.CacheStale, -time.Hour, key, "STALE", "0", text},
		{chatBody, llm.CacheMiss, 0, key, "MISS", "", text},
		{chatBody, llm.CacheCoalesced, 2 * time.Second, key, "COALESCED", "2", text},
		{streamBody, llm.CacheBypass, 0, [32]byte{}, "BYPASS", "", ""},
	} {
		head = llm.Head{Cache: c.cache, Age: c.age, CacheKey: c.key}
		resp, _ := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), c.body))
		for name, want := range map[string]string{"X-Cache": c.wantCache, "Age": c.wantAge, "X-Cache-Key": c.wantKey} {
			if got := resp.Header.Values(name); strings.Join(got, "|") != want {
				t.Errorf("%s %v %v: %s %q, want %q", c.body, c.cache, c.age, name, got, want)
			}
		}
	}
}

func TestPanic(t *testing.T) {
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		if req.Stream {
			_ = startStream(out)
			_ = out.Send(events("data: 1\n\n"))
		}
		panic("boom")
	})
	client := h1(t, s)
	resp, body := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
	if resp.StatusCode != 500 || strings.Contains(body, "boom") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, err := client.Do(newRequest(t, t.Context(), "POST", s.url(chatPath), streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a stream whose handler panicked looks whole: %q", b)
	}
}

func TestPieces(t *testing.T) {
	for _, e := range engines {
		for _, length := range []int64{-1, 6} {
			s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				if err := out.Start(&llm.Head{Status: 200, Kind: llm.Pieces, Length: length, Header: []llm.Field{{Name: "Content-Type", Value: "audio/mpeg"}}}); err != nil {
					return err
				}
				if err := errors.Join(out.Send(events("abc")), out.Send(events("d", "ef"))); err != nil {
					return err
				}
				if req.Model == "cut" {
					return errors.New("cut")
				}
				return nil
			})
			client := e.client(t, s)
			resp, body := do(t, client, newRequest(t, t.Context(), "POST", s.url("/v1/audio/speech"), chatBody))
			if body != "abcdef" || resp.ContentLength != length || resp.Header.Get("Content-Type") != "audio/mpeg" {
				t.Errorf("%s: %q, length %d", e.name, body, resp.ContentLength)
			}
			if length > 0 {
				continue
			}
			resp, err := client.Do(newRequest(t, t.Context(), "POST", s.url("/v1/audio/speech"), `{"model":"cut"}`))
			if err != nil {
				continue
			}
			if b, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: a cut reply looks whole: %q", e.name, b)
			}
			resp.Body.Close()
		}
	}
}

func TestAdmin(t *testing.T) {
	cfg, sc := testConfig()
	unready := errors.New("internal detail")
	s, err := New(cfg, sc, unary(`{}`), Options{Version: "1.2", Ready: func() error { return unready },
		Metrics: saying("figures")})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	client := h1(t, nil)
	get := func(method, path string) (int, string) {
		resp, body := do(t, client, newRequest(t, t.Context(), method, "http://"+addr.String()+path, ""))
		return resp.StatusCode, body
	}
	if status, body := get("GET", "/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", status, body)
	}
	if status, body := get("GET", "/readyz"); status != 503 || strings.Contains(body, "detail") {
		t.Errorf("readyz: %d %q", status, body)
	}
	unready = nil
	if status, _ := get("GET", "/readyz"); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	if status, body := get("GET", "/metrics"); status != 200 || body != "figures" {
		t.Errorf("metrics: %d %q", status, body)
	}
	if status, _ := get("POST", "/healthz"); status != 405 {
		t.Errorf("POST healthz: %d", status)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// nextEvent reads one event, and no further.
func nextEvent(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	var event bytes.Buffer
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("read event: %v after %q", err, event.String())
		}
		event.WriteString(line)
		if line == "\n" {
			return event.String()
		}
	}
}

// FuzzUnclean: a path that is let through names what it seems to name.
func FuzzUnclean(f *testing.F) {
	for _, p := range []string{"/v1/files", "/v1/files/", "/v1/./x", "/v1/..", "/v1//x", "/v1/.x/..y"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		p = "/v1/" + p
		if !unclean(p) && path.Clean(p) != strings.TrimSuffix(p, "/") {
			t.Errorf("%q is let through and means %q", p, path.Clean(p))
		}
	})
}

func TestBaseURL(t *testing.T) {
	none := nethttp.Header{}
	for want, q := range map[string]*engine.Request{
		"http://ADDRESS/v1":   {Header: none},
		"http://a:1/v1":       {Host: "a:1", Header: none},
		"https://a/v1":        {Host: "a", TLS: true, Header: none},
		"https://gw.local/v1": {Host: "gw.local", Header: nethttp.Header{"X-Forwarded-Proto": {"https"}}},
	} {
		if got := baseURL(q); got != want {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
	}
}

// overHTTP2 skips a test of what is sent over HTTP/2 alone, with an engine that hands
// such connections to the one that the test has run with.
func overHTTP2(t *testing.T) {
	t.Helper()
	if testEngine != EngineNetHTTP {
		t.Skip("HTTP/2 is the same engine's with either")
	}
}
