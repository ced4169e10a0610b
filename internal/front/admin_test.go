package front

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

const ownPath = "/v1/cache"

// ownRoutes are two routes of one path. Each answers with its method.
func ownRoutes(served *int, fail *error) []Route {
	h := JSON(func(_ context.Context, req *llm.Request) ([]byte, error) {
		*served++
		if *fail != nil {
			return nil, *fail
		}
		return []byte(`{"method":"` + req.Method + `"}`), nil
	})
	return []Route{{Method: "DELETE", Path: ownPath, Handler: h}, {Method: "GET", Path: ownPath, Handler: h}}
}

// newOwn makes a Server that has ownRoutes and does not listen.
func newOwn(t *testing.T, served *int, fail *error, settings ...setting) *Server {
	t.Helper()
	cfg, sc := testConfig(settings...)
	s, err := New(cfg, sc, unary(`{}`), Options{Routes: ownRoutes(served, fail)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// saying is a Handler that answers with a text, as a page or figures are.
func saying(text string) llm.Handler {
	return llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		return llm.SendWhole(out, "text/plain; charset=utf-8", []byte(text))
	})
}

// streaming is a Handler that answers with an event stream, by calls of send.
func streaming(stream func(ctx context.Context, send func([]byte) error) error) llm.Handler {
	return llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
		begun := false
		return stream(ctx, func(b []byte) error {
			if !begun {
				begun = true
				if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}); err != nil {
					return err
				}
			}
			return out.Send([]llm.Event{{Raw: b}})
		})
	})
}

func withAdmin(c *Config, _ *StreamConfig) {
	c.APIKeys = []APIKey{{Name: "team", Hash: HashKey("key-team")}, {Name: "boss", Hash: HashKey("key-boss"), Admin: true}}
}

// ask has s answer a request that seems to come from peer.
func ask(s *Server, method, peer, host string, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, ownPath, strings.NewReader(body))
	r.RemoteAddr, r.Host, r.Header = peer, host, header
	w := httptest.NewRecorder()
	serve(s, w, r)
	return w
}

// figuresOf are the counters and gauges that a Source reports, by name and labels.
func figuresOf(s perf.Source) map[string]float64 {
	all := make(counted)
	s.Figures(all)
	return all
}

type counted map[string]float64

func (c counted) Counter(name, _ string, v float64, labels ...string) {
	c[strings.Join(append([]string{name}, labels...), " ")] = v
}
func (c counted) Gauge(name, _ string, v float64, labels ...string) {
	c.Counter(name, "", v, labels...)
}
func (c counted) Histogram(string, string, *perf.Histogram, ...string) {}
func (c counted) Ratio(string, string, float64, float64, ...string)    {}

// Before the first request it is known that there was none.
func TestNoneIsZero(t *testing.T) {
	var fail error
	s := newOwn(t, new(int), &fail)
	for name, want := range map[string]float64{
		"requests_total operation chat status 2xx": 0, "requests_total operation passthrough status 2xx": 0, "own_requests_total status 2xx": 0,
	} {
		if got, ok := figuresOf(s)[name]; !ok || got != want {
			t.Errorf("%s: %v, there: %v", name, got, ok)
		}
	}
	if _, ok := figuresOf(s)["requests_total operation chat status 5xx"]; ok {
		t.Error("a status is told of that there was not")
	}
	ask(s, "GET", "127.0.0.1:5", "localhost", http.Header{}, "")
	if got := figuresOf(s)["own_requests_total status 2xx"]; got != 1 {
		t.Errorf("%v requests of its own", got)
	}
}

// Who asks for figures is not in them as a request under way, whatever becomes of it.
func TestAskerIsNotCounted(t *testing.T) {
	var s *Server
	inFlight := func() float64 { return figuresOf(s)["requests_in_flight"] }
	var seen []float64
	figures := llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		seen = append(seen, inFlight())
		switch len(seen) {
		case 2:
			return errors.New("no figures")
		case 3:
			panic("no figures")
		}
		return llm.SendWhole(out, "text/plain", []byte("x"))
	})
	cfg, sc := testConfig()
	model := llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		seen = append(seen, inFlight())
		return llm.SendWhole(out, "application/json", []byte("{}"))
	})
	var err error
	s, err = New(cfg, sc, model, Options{Routes: []Route{{Method: "GET", Path: ownPath, Handler: figures}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 4 {
		ask(s, "GET", "127.0.0.1:5", "localhost", http.Header{}, "")
	}
	ask(s, "PUT", "127.0.0.1:5", "localhost", http.Header{}, "") // refused
	ask(s, "GET", "127.0.0.1:5", "localhost", http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, "")
	r := httptest.NewRequest("POST", chatPath, strings.NewReader(`{"model":"m","messages":[]}`))
	r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
	r.Header.Set("Content-Type", "application/json")
	serve(s, httptest.NewRecorder(), r)
	if n := len(seen); n < 5 || seen[n-1] != 1 || slices.Max(seen[:n-1]) != 0 || s.asking.Load() != 0 || s.inFlight.Load() != 0 {
		t.Errorf("under way: %v, in the end %d of %d", seen, s.asking.Load(), s.inFlight.Load())
	}
}

func TestAdminKey(t *testing.T) {
	var served int
	var fail error
	s := newOwn(t, &served, &fail, withAdmin)
	for _, c := range []struct {
		method, key  string
		status       int
		code, answer string
	}{
		{"DELETE", "Bearer key-boss", 200, "", `{"method":"DELETE"}`},
		{"GET", "Bearer key-boss", 200, "", `{"method":"GET"}`},
		{"PUT", "Bearer key-boss", 405, "method_not_supported", "DELETE, GET, HEAD"},
		{"DELETE", "Bearer key-team", 403, "admin_key_required", "admin: true"},
		{"PUT", "Bearer key-team", 403, "admin_key_required", ""},
		{"DELETE", "Bearer key-else", 401, "invalid_api_key", ""},
		{"DELETE", "", 401, "no_api_key", ""},
	} {
		h := http.Header{}
		if c.key != "" {
			h.Set("Authorization", c.key)
		}
		served = 0
		// With keys configured it does not matter where a request comes from.
		w := ask(s, c.method, "192.0.2.1:5", "gateway.example", h, "")
		header := w.Result().Header
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) ||
			(served == 1) != (c.status == 200) || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %q: %d %s, served %d", c.method, c.key, w.Code, w.Body, served)
		}
		if c.code != "" && apiError(t, w.Body.String()).Code != c.code {
			t.Errorf("%s %q: %s", c.method, c.key, w.Body)
		}
		if allow := header.Get("Allow"); (allow == "DELETE, GET, HEAD") != (c.status == 405) {
			t.Errorf("%s %q: Allow %q", c.method, c.key, allow)
		}
	}
	if n := s.stats.own[2].Load(); n != 2 {
		t.Errorf("%d requests counted as answered", n)
	}
}

// TestAdminWithoutKeys: only a program on this machine, even where --insecure
// has everybody served.
func TestAdminWithoutKeys(t *testing.T) {
	var served int
	var fail error
	s := newOwn(t, &served, &fail, func(c *Config, _ *StreamConfig) { c.Host, c.Insecure = "0.0.0.0", true })
	for _, c := range senders {
		served = 0
		w := ask(s, c.method, c.peer, c.host, c.header.Clone(), "")
		if c.sender == ownMachine {
			if w.Code != 200 || served != 1 {
				t.Errorf("%+v: %d %s", c, w.Code, w.Body)
			}
			continue
		}
		code := "admin_key_required"
		if c.sender == foreignPage {
			code = "web_page_refused"
		}
		if e := apiError(t, w.Body.String()); w.Code != 403 || served != 0 || e.Code != code || e.Type != llm.TypePermission || !strings.Contains(e.Message, "server.api_keys") {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

func TestAdminErrors(t *testing.T) {
	var served int
	var fail error
	s := newOwn(t, &served, &fail)
	call := func(body string) (int, string, string) {
		w := ask(s, "DELETE", "127.0.0.1:5", "localhost", http.Header{}, body)
		e := apiError(t, w.Body.String())
		return w.Code, e.Code, e.Message
	}
	fail = llm.Errorf(http.StatusConflict, "busy", "Later.")
	if status, code, message := call(""); status != 409 || code != "busy" || message != "Later." {
		t.Errorf("%d %s %s", status, code, message)
	}
	fail = errors.New("secret")
	if status, code, message := call(""); status != 500 || code != "internal_error" || strings.Contains(message, "secret") {
		t.Errorf("%d %s %s", status, code, message)
	}
	fail, served = nil, 0
	if status, code, _ := call(strings.Repeat("x", maxIgnored+1)); status != 413 || code != "request_too_large" || served != 0 {
		t.Errorf("large body: %d %s, served %d", status, code, served)
	}
	s.draining.Store(true)
	if status, code, _ := call(""); status != 503 || code != "shutting_down" || served != 0 {
		t.Errorf("draining: %d %s, served %d", status, code, served)
	}
}

// TestAdminRoute goes over real connections, one after the other on each, so
// that nothing of a request stays behind for the next.
func TestAdminRoute(t *testing.T) {
	var served int
	var fail error
	s := startWith(t, unary(`{"model":"reply"}`), Options{Routes: ownRoutes(&served, &fail)}, withAdmin)
	for _, e := range engines {
		client := e.client(t, s)
		call := func(method, path, key, body string) (int, string) {
			req := newRequest(t, context.Background(), method, s.url(path), body)
			req.Header.Set("Authorization", "Bearer "+key)
			resp, got := do(t, client, req)
			return resp.StatusCode, got
		}
		for range 3 {
			if status, body := call("DELETE", ownPath, "key-boss", `{"ignored":1}`); status != 200 || body != `{"method":"DELETE"}` {
				t.Errorf("%s: %d %s", e.name, status, body)
			}
			if status, body := call("DELETE", ownPath, "key-team", ""); status != 403 {
				t.Errorf("%s: %d %s", e.name, status, body)
			}
			if status, body := call("POST", chatPath, "key-team", chatBody); status != 200 || body != `{"model":"reply"}` {
				t.Errorf("%s: %d %s", e.name, status, body)
			}
		}
	}
}

// TestAdminRouteWithBody: a route may take a body, within its bound, and stand
// for all names below it.
func TestAdminRouteWithBody(t *testing.T) {
	const limit = 1000
	routes := []Route{{Method: "PUT", Path: "/v1/things/", MaxBody: limit, Handler: JSON(func(_ context.Context, req *llm.Request) ([]byte, error) {
		b, err := io.ReadAll(req.BodyReader)
		return []byte(req.Path + " " + string(b)), err
	})}}
	s := startWith(t, unary(`{"passed":"on"}`), Options{Routes: routes}, withAdmin)
	for _, e := range engines {
		client := e.client(t, s)
		for _, c := range []struct {
			method, path, key, body string
			status                  int
			want                    string
		}{
			{"PUT", "/v1/things/a.b", "key-boss", "body", 200, "/v1/things/a.b body"},
			{"PUT", "/v1/things/a", "key-boss", "", 200, "/v1/things/a "},
			{"PUT", "/v1/things/a", "key-boss", strings.Repeat("x", limit+1), 413, "request_too_large"},
			{"PUT", "/v1/things/a", "key-team", "body", 403, "admin_key_required"},
			{"GET", "/v1/things/a", "key-boss", "", 405, "method_not_supported"},
			{"PUT", "/v1/things/", "key-team", "{}", 200, "passed"},
			{"PUT", "/v1/things/a/b", "key-team", "{}", 200, "passed"},
			{"PUT", "/v1/things", "key-team", "{}", 200, "passed"},
			{"PUT", "/v1/things/../things/a", "key-boss", "{}", 404, ""},
		} {
			req := newRequest(t, context.Background(), c.method, s.url(c.path), c.body)
			req.Header.Set("Authorization", "Bearer "+c.key)
			resp, got := do(t, client, req)
			if resp.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%s: %s %s as %s: %d %s", e.name, c.method, c.path, c.key, resp.StatusCode, got)
			}
		}
	}
}
