package front

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"sluice/internal/front/engine"
	"sluice/internal/front/nethttp"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// senders are requests and who sent them. Their methods are those of ownRoutes.
var senders = func() (list []struct {
	method, peer, host string
	header             http.Header
	sender             sender
}) {
	add := func(who sender, method, peer, host string, fields ...string) {
		h := http.Header{}
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ":")
			h.Add(name, strings.TrimSpace(value))
		}
		list = append(list, struct {
			method, peer, host string
			header             http.Header
			sender             sender
		}{method, peer, host, h, who})
	}
	const own, at = "127.0.0.1:5", "localhost:28888"
	// Programs.
	for _, c := range [][2]string{
		{own, at}, {own, "LocalHost"}, {"127.8.9.1:5", "127.1.2.3:80"}, {"[::1]:5", "[::1]:28888"}, {"[::1]:5", "[::1]"}, {"[::ffff:127.0.0.1]:5", "localhost"},
		{own, "[::ffff:127.0.0.1]:28888"}, {own, "[0:0:0:0:0:0:0:1]:28888"}, {own, "127.0.0.1"},
	} {
		add(ownMachine, "DELETE", c[0], c[1])
	}
	add(ownMachine, "DELETE", own, at, "Sec-Fetch-Mode: cors", "Referer: http://elsewhere.example/", "User-Agent: node") // Node's fetch sends the mode
	// A person who typed the address, and the gateway's own page.
	add(ownMachine, "GET", own, at, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate")
	add(ownMachine, "GET", own, at, "Sec-Fetch-Site: same-origin")
	add(ownMachine, "DELETE", own, at, "Sec-Fetch-Site: same-origin", "Origin: http://localhost:28888")
	add(ownMachine, "DELETE", own, at, "Origin: http://localhost:28888")
	add(ownMachine, "DELETE", own, "LOCALHOST:1", "Origin: HTTP://localhost:1")

	// Names that lead here, or are meant to look as if they did.
	for _, host := range []string{
		"", "evil.example", "evil.example:28888", "localhost.evil.example:28888", "127.0.0.1.evil.example", "0.0.0.0:28888", "[::]:28888", "::1",
		"localhost.", "localhost.:28888", "127.0.0.1.", "a.localhost", "localhost@evil.example", "evil.example@localhost", "user@127.0.0.1:80",
		"127.1", "127.0.0.01", "2130706433", "0x7f000001", "128.0.0.1", "192.0.2.1", "[127.0.0.1]", "[::1", "::1]", "[::1%lo]:80", "[::1]evil", "[::1]:80:80", "[]", "]127.0.0.1[",
		"localhost:", "localhost:x", "localhost:80:80", "localhost:99999", "localhost:-1", " localhost", "localhost,evil.example", "localhost\x00", "[::ffff:192.0.2.1]",
	} {
		add(foreignName, "DELETE", own, host)
	}
	add(foreignName, "DELETE", own, at, "Host: evil.example") // HTTP/2 beside :authority
	add(foreignName, "DELETE", own, "evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: same-origin")
	add(foreignName, "DELETE", own, "evil.example", "Origin: http://evil.example")
	// Web pages.
	for _, fields := range []string{
		"Origin: https://evil.example", "Origin: http://localhost:3000", "Origin: https://localhost:28888", "Origin: null", "Origin:", "Origin: http://", "Origin: localhost:28888",
		"Origin: http://localhost:28888|Origin: http://localhost:28888", "Origin: http://localhost:28888|Origin: null", "Origin: http://localhost", "Origin: http://localhost:28888/",
		"Origin: http://127.0.0.1:28888", "Origin: chrome-extension://abcdef", "Origin: http://localhost:28888.evil.example", "Origin: null|Sec-Fetch-Site: same-origin",
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: none", "Sec-Fetch-Site:", "Sec-Fetch-Site: NONE", "Sec-Fetch-Site: same-origin, cross-site",
		"Sec-Fetch-Site: same-origin|Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin|Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site|Origin: http://localhost:28888",
	} {
		add(foreignPage, "DELETE", own, at, strings.Split(fields, "|")...)
	}
	add(foreignPage, "GET", own, at, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate") // a link
	add(foreignPage, "GET", "192.0.2.1:5", "gateway.example", "Sec-Fetch-Site: cross-site", "X-Forwarded-For: 1.2.3.4")
	// Proxies on this machine.
	for _, field := range []string{
		"Forwarded: for=192.0.2.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "X-Forwarded: 1", "x-forwarded-prefix: /a",
		"Via: 1.1 proxy", "X-Real-IP: 127.0.0.1", "CF-Connecting-IP: 192.0.2.1", "Forwarded:",
	} {
		add(behindProxy, "DELETE", own, at, field)
	}
	add(behindProxy, "DELETE", own, at, "Origin: https://gateway.example", "Sec-Fetch-Site: same-origin") // which put another Host there
	// Other machines.
	for _, peer := range []string{"192.0.2.1:5", "[2001:db8::1]:5", "[::ffff:192.0.2.1]:5", "[fe80::1%eth0]:5", "", "@", "127.0.0.1"} {
		add(elsewhere, "DELETE", peer, at)
	}
	return list
}()

func TestSenderOf(t *testing.T) {
	for _, c := range senders {
		q := &engine.Request{Method: c.method, Remote: c.peer, Host: c.host, Header: nethttp.Header(c.header)}
		if got := senderOf(q); got != c.sender {
			t.Errorf("%+v: taken for %d", c, got)
		}
	}
	q := &engine.Request{Method: "DELETE", Remote: "127.0.0.1:5", Host: "localhost", TLS: true}
	for origin, want := range map[string]sender{"https://localhost": ownMachine, "http://localhost": foreignPage} {
		q.Header = nethttp.Header{"Origin": {origin}}
		if got := senderOf(q); got != want {
			t.Errorf("over TLS, from %s: %d", origin, got)
		}
	}
}

// guarded makes a Server of which every kind of route counts that it was reached.
func guarded(t *testing.T, reached *int, settings ...setting) *Server {
	t.Helper()
	note := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		*reached++
		return saying("in").Serve(ctx, req, out)
	})
	cfg, sc := testConfig(settings...)
	s, err := New(cfg, sc, llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		*reached++
		return sendUnary(out, `{}`)
	}), Options{Metrics: note, Pages: note, Routes: []Route{{Method: "GET", Path: ownPath, Handler: note}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var everyRoute = []string{
	"POST " + chatPath, "POST /v1/embeddings", "POST /v1/responses", "GET /v1/models", "GET /v1/models/m", "GET " + chatPath, "POST /v1/files", "DELETE /v1/files/f",
	"POST /v1/batches/b/cancel", "POST /v1/protobuf/encode", "GET " + ownPath, "GET /metrics", "GET /healthz", "GET /readyz", "GET /dashboard", "GET /dashboard/x",
	"GET /", "GET /nowhere", "OPTIONS /v1/files", "TRACE /v1/files", "PUT " + chatPath, "POST /metrics", "HEAD /metrics", "GET /v1/files/../x",
}

// TestGuard: without keys no route at all is for anybody but this machine.
func TestGuard(t *testing.T) {
	var reached int
	s := guarded(t, &reached)
	codes := map[sender]string{foreignPage: "web_page_refused", behindProxy: "proxy_refused", elsewhere: "remote_refused", foreignName: "host_refused"}
	for _, c := range senders {
		for _, route := range everyRoute {
			method, target, _ := strings.Cut(route, " ")
			if byHand := c.header.Get("Sec-Fetch-Site") == "none"; byHand && method != c.method {
				continue // who sent it hangs on the method
			}
			reached = 0
			r := httptest.NewRequest(method, target, strings.NewReader(`{"model":"m"}`))
			r.RemoteAddr, r.Host, r.Header = c.peer, c.host, c.header.Clone()
			w := httptest.NewRecorder()
			serve(s, w, r)
			if c.sender == ownMachine {
				if w.Code == 403 {
					t.Errorf("%s, %+v: refused: %s", route, c, w.Body)
				}
				continue
			}
			if w.Code != 403 || reached != 0 {
				t.Fatalf("%s, %+v: %d, reached %d", route, c, w.Code, reached)
			}
			if e := apiError(t, w.Body.String()); e.Code != codes[c.sender] || e.Type != llm.TypePermission || !strings.Contains(e.Message, "server.api_keys") ||
				w.Result().Header.Get("Content-Type") != "application/json" || len(w.Body.String()) > 1000 {
				t.Fatalf("%s, %+v: %s %v", route, c, w.Body, w.Result().Header)
			}
		}
	}
}

// TestGuardLifted: keys make it superfluous; --insecure lets in everybody but
// pages of other sites.
func TestGuardLifted(t *testing.T) {
	var reached int
	insecure := guarded(t, &reached, func(c *Config, _ *StreamConfig) { c.Insecure = true })
	keys := guarded(t, &reached, withAdmin)
	for _, c := range senders {
		for name, s := range map[string]*Server{"insecure": insecure, "keys": keys} {
			for _, route := range []string{"POST " + chatPath, "GET /healthz", "GET /dashboard"} {
				method, target, _ := strings.Cut(route, " ")
				if c.header.Get("Sec-Fetch-Site") == "none" && method != c.method {
					continue
				}
				r := httptest.NewRequest(method, target, strings.NewReader(`{"model":"m"}`))
				r.RemoteAddr, r.Host, r.Header = c.peer, c.host, c.header.Clone()
				r.Header.Set("Authorization", "Bearer key-team")
				w := httptest.NewRecorder()
				serve(s, w, r)
				if want := name == "insecure" && c.sender == foreignPage; (w.Code == 403) != want {
					t.Errorf("%s: %s, %+v: %d %s", name, route, c, w.Code, w.Body)
				}
			}
		}
	}
}

// TestGuardAfterReload: keys that are taken away leave nothing open.
func TestGuardAfterReload(t *testing.T) {
	s := start(t, unary(`{}`), withAdmin)
	client := h1(t, s)
	call := func() int {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header.Set("Authorization", "Bearer key-team")
		req.Header.Set("Origin", "https://evil.example")
		resp, _ := do(t, client, req)
		return resp.StatusCode
	}
	if got := call(); got != 200 {
		t.Errorf("with keys: %d", got)
	}
	cfg, sc := testConfig()
	if _, err := s.Swap(cfg, sc, unary(`{}`)); err != nil {
		t.Fatal(err)
	}
	if got := call(); got != 403 {
		t.Errorf("without: %d", got)
	}
}

// TestGuardOnTheWire: over real connections, HTTP/2's :authority included.
func TestGuardOnTheWire(t *testing.T) {
	var reached int
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		reached++
		return sendUnary(out, `{}`)
	})
	for _, e := range engines {
		client := e.client(t, s)
		for host, want := range map[string]int{"": 200, "localhost:1": 200, "evil.example": 403} {
			reached = 0
			req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
			req.Host = host
			if resp, body := do(t, client, req); resp.StatusCode != want || (reached == 1) != (want == 200) {
				t.Errorf("%s: host %q: %d %s", e.name, host, resp.StatusCode, body)
			}
		}
	}
	for _, c := range []struct{ head, want string }{
		{"POST " + chatPath + " HTTP/1.0\r\n", "HTTP/1.0 403"},
		{"POST " + chatPath + " HTTP/1.0\r\nHost: localhost\r\n", "HTTP/1.0 200"},
		{"POST http://evil.example" + chatPath + " HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.1 403"},
		{"POST " + chatPath + " HTTP/1.1\r\nHost: localhost\r\nORIGIN: http://evil.example\r\n", "HTTP/1.1 403"},
		{"POST " + chatPath + " HTTP/1.1\r\nHost: localhost\r\nsec-fetch-site:cross-site\r\n", "HTTP/1.1 403"},
	} {
		reached = 0
		reply := s.raw(t, c.head+"Connection: close\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}")
		if !strings.HasPrefix(reply, c.want) || (reached == 1) != strings.HasSuffix(c.want, "200") {
			t.Errorf("%q: %.300q, reached %d", c.head, reply, reached)
		}
	}
}

// TestGuardAllocations: a program's request costs none.
func TestGuardAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	var reached int
	st := guarded(t, &reached).state.Load()
	for _, peer := range []string{"127.0.0.1:50000", "[::1]:50000"} {
		q := &engine.Request{Method: "POST", Remote: peer, Host: "localhost:28888", Header: nethttp.Header{
			"Authorization": {"Bearer x"}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}, "Accept": {"*/*"}, "X-Stainless-Lang": {"python"}}}
		if n := testing.AllocsPerRun(100, func() {
			if err := st.admit(q); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", peer, n)
		}
	}
}

// FuzzLoopbackAuthority: what is taken for this machine is that to a browser and
// to a resolver too.
func FuzzLoopbackAuthority(f *testing.F) {
	for _, c := range senders {
		f.Add(c.host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !loopbackAuthority(host) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.User != nil || u.Host != host {
			t.Fatalf("%q is no authority: %v", host, err)
		}
		if strings.EqualFold(u.Hostname(), "localhost") {
			return
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.Unmap().IsLoopback() {
			t.Fatalf("%q leads to %q", host, u.Hostname())
		}
	})
}

// TestGuardSeesBothHosts: over HTTP/2 a Host beside :authority may name another site,
// and is not lost on the way up from the engine.
func TestGuardSeesBothHosts(t *testing.T) {
	s := start(t, unary(`{}`))
	p := dialPeer(t, s, 1<<16)
	for host, refused := range map[string]bool{"evil.example": true, "localhost": false} {
		id := p.ask("GET", "/v1/models", "", "host", host)
		body := string(frame[*http2.DataFrame](p, id).Data())
		if strings.Contains(body, "host_refused") != refused {
			t.Errorf("%s: %s", host, body)
		}
	}
}
