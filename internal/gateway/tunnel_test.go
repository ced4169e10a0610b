package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sluice/internal/config"
	"sluice/internal/front"
)

const (
	upstreamKey = "sk-of-the-upstream"
	clientKey   = "sk-of-the-client"
	patience    = time.Minute
)

// realtime is an upstream with WebSockets: it echoes messages, and closes with
// the code 4000 and the text "bye" when it is told "close".
type realtime struct {
	requests chan *http.Request
	ends     chan error       // how each WebSocket ended
	plain    http.HandlerFunc // answers in place of a WebSocket; nil for none
}

func (u *realtime) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/models":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":[{"id":"gpt-realtime"},{"id":"other"}]}`)
		return
	case u.plain != nil:
		u.requests <- r
		u.plain(w, r)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		u.ends <- err
		return
	}
	u.requests <- r
	c.SetReadLimit(-1)
	ctx := context.Background()
	for {
		kind, message, err := c.Read(ctx)
		if err == nil && string(message) == "close" {
			err = c.Close(4000, "bye")
		} else if err == nil {
			err = c.Write(ctx, kind, message)
		}
		if err != nil || string(message) == "close" {
			u.ends <- err
			_ = c.CloseNow()
			return
		}
	}
}

func newRealtime() *realtime {
	return &realtime{requests: make(chan *http.Request, 10), ends: make(chan error, 10)}
}

// tunnelled starts a gateway before an upstream.
func tunnelled(t *testing.T, up *realtime, change func(*config.Config)) (g *Gateway, url string) {
	t.Helper()
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	cfg := load(t, "UP_API_KEY="+upstreamKey, "UP_BASE_URL="+srv.URL+"/v1")
	cfg.Route.Aliases = map[string]string{"voice": "up/gpt-realtime"}
	if change != nil {
		change(cfg)
	}
	return run(t, cfg, nil)
}

func withKey(c *config.Config) {
	c.Server.APIKeys = []front.APIKey{{Name: "team", Hash: front.HashKey(clientKey), Admin: true}}
}

func dial(t *testing.T, url string, o *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1), o)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("X-Request-Id") == "" || resp.Header.Get("X-Sluice-Upstream") != "up" {
		t.Errorf("header %v", resp.Header)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func awaited[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("never: " + what)
	}
	return v
}

// figure waits until /metrics has a line that begins so.
func figure(t *testing.T, url, line string) {
	t.Helper()
	var text []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		req, _ := http.NewRequest("GET", url+"/metrics", nil)
		req.Header.Set("Authorization", "Bearer "+clientKey)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if bytes.Contains(text, []byte("\nsluice_"+line)) {
			return
		}
	}
	name, _, _ := strings.Cut(line, "{")
	name, _, _ = strings.Cut(name, " ")
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, name) {
			t.Log(l)
		}
	}
	t.Errorf("never: %s", line)
}

func echo(t *testing.T, c *websocket.Conn, kind websocket.MessageType, message []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- c.Write(ctx, kind, message) }()
	gotKind, got, err := c.Read(ctx)
	if err != nil || gotKind != kind || !bytes.Equal(got, message) {
		t.Fatalf("%d bytes of %d back, type %d, %v", len(got), len(message), gotKind, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// TestTunnel: what WebSockets are made of passes untouched, compression included.
func TestTunnel(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, nil)
	for _, mode := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionContextTakeover} {
		c := dial(t, url+"/v1/realtime?model=gpt-realtime", &websocket.DialOptions{Subprotocols: []string{"realtime", "openai-beta.realtime-v1"}, CompressionMode: mode})
		if c.Subprotocol() != "realtime" {
			t.Errorf("subprotocol %q", c.Subprotocol())
		}
		r := awaited(t, "request", up.requests)
		if r.Header.Get("Authorization") != "Bearer "+upstreamKey || r.Header.Get("Sec-Websocket-Protocol") != "realtime, openai-beta.realtime-v1" || r.URL.RawQuery != "model=gpt-realtime" {
			t.Errorf("%s, %v", r.URL, r.Header)
		}
		figure(t, url, "tunnels_open 1")
		figure(t, url, "streams_active 1")
		echo(t, c, websocket.MessageText, []byte("hello"))
		echo(t, c, websocket.MessageText, nil)
		echo(t, c, websocket.MessageBinary, bytes.Repeat([]byte{0, 1, 2, 250}, 1<<18)) // 1 MiB
		// In fragments, with a ping between.
		w, err := c.Writer(t.Context(), websocket.MessageText)
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan string, 1)
		go func() {
			_, b, err := c.Read(context.Background())
			read <- fmt.Sprint(string(b), err)
		}()
		for _, part := range []string{"in ", "three ", "parts"} {
			_, _ = w.Write([]byte(part))
			if err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		if got := awaited(t, "fragments", read); got != "in three parts<nil>" {
			t.Error(got)
		}
		if mode == websocket.CompressionDisabled {
			if err := c.Close(4321, "enough"); err != nil {
				t.Error(err)
			}
			if e, ok := errors.AsType[websocket.CloseError](awaited(t, "end", up.ends)); !ok || e.Code != 4321 || e.Reason != "enough" {
				t.Errorf("the upstream saw %v", e)
			}
			continue
		}
		_ = c.Write(t.Context(), websocket.MessageText, []byte("close"))
		_, _, err = c.Read(t.Context())
		if e, ok := errors.AsType[websocket.CloseError](err); !ok || e.Code != 4000 || e.Reason != "bye" {
			t.Errorf("the client saw %v", err)
		}
		awaited(t, "end", up.ends)
	}
	figure(t, url, "tunnels_open 0")
	figure(t, url, "streams_active 0")
	figure(t, url, `requests_total{operation="passthrough",status="1xx"} 2`)
	for _, cause := range []string{"client_left", "upstream", "shutdown", "idle", "limit"} {
		figure(t, url, `replies_aborted_total{cause="`+cause+`"} 0`)
	}
}

// TestTunnelModel: the model of the query decides where a WebSocket goes, and is
// called there as the upstream calls it.
func TestTunnelModel(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, nil)
	for query, want := range map[string]string{
		"": "", "?intent=transcription": "intent=transcription", "?model=voice": "model=gpt-realtime", "?a=b&model=up%2Fgpt-realtime&c=%20": "a=b&model=gpt-realtime&c=%20",
		"?model=other&x": "model=other&x", "?mod%65l=voice": "model=gpt-realtime", "?mod%65l=other": "mod%65l=other",
	} {
		c := dial(t, url+"/v1/realtime"+query, nil)
		if r := awaited(t, "request", up.requests); r.URL.RawQuery != want || r.URL.Path != "/v1/realtime" {
			t.Errorf("%s came as %s", query, r.URL)
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
		awaited(t, "end", up.ends)
	}
	for query, code := range map[string]string{"?model=none": "model_not_found", "?model=a&model=b": "duplicate_parameter"} {
		_, resp, err := websocket.Dial(t.Context(), url+"/v1/realtime"+query, nil)
		if body := bodyOf(resp); err == nil || !strings.Contains(body, code) {
			t.Errorf("%s: %v %s", query, err, body)
		}
	}
}

func bodyOf(resp *http.Response) string {
	if resp == nil {
		return ""
	}
	b, _ := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

// TestTunnelKey: a client's key opens the gateway, as a header or as browsers
// send it, and never reaches the upstream.
func TestTunnelKey(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, func(c *config.Config) {
		withKey(c)
		c.Server.ForwardHeaders = []string{"Sec-*", "X-*"}
	})
	for name, o := range map[string]*websocket.DialOptions{
		"header":   {HTTPHeader: http.Header{"Authorization": {"Bearer " + clientKey}}},
		"protocol": {Subprotocols: []string{"realtime", "openai-insecure-api-key." + clientKey, "openai-organization.org-1", "openai-project.p"}},
		"both":     {HTTPHeader: http.Header{"Authorization": {"Bearer " + clientKey}}, Subprotocols: []string{"openai-insecure-api-key." + clientKey}},
	} {
		c := dial(t, url+"/v1/realtime?model=gpt-realtime", o)
		r := awaited(t, "request", up.requests)
		if text := fmt.Sprint(r.Header); strings.Contains(text, clientKey) || strings.Contains(text, "org-1") || r.Header.Get("Authorization") != "Bearer "+upstreamKey {
			t.Errorf("%s: the upstream saw %v", name, r.Header)
		}
		if got := r.Header.Get("Sec-Websocket-Protocol"); got != map[string]string{"protocol": "realtime"}[name] {
			t.Errorf("%s: protocols %q", name, got)
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
		awaited(t, "end", up.ends)
	}
	for name, o := range map[string]*websocket.DialOptions{
		"none":           nil,
		"wrong":          {HTTPHeader: http.Header{"Authorization": {"Bearer x"}}},
		"wrong protocol": {Subprotocols: []string{"realtime", "openai-insecure-api-key.x"}},
	} {
		_, resp, err := websocket.Dial(t.Context(), url+"/v1/realtime", o)
		if err == nil || resp == nil || resp.StatusCode != 401 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(up.requests); n > 0 {
		t.Errorf("%d requests without a key reached the upstream", n)
	}
}

// ask sends a request as it stands and returns the reply's status and body.
func ask(t *testing.T, url, head string) (int, string) {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(nc, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+map[bool]string{true: "x"}[strings.Contains(head, "Content-Length: 1\n")])
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: strings.SplitN(head, " ", 2)[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// TestUpgradesThatAreNone: no Upgrade is answered as if it were a plain GET, but
// for those whose clients go on in HTTP/1.1.
func TestUpgradesThatAreNone(t *testing.T) {
	up := newRealtime()
	up.plain = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Query().Get("say") {
		case "401":
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`)
		case "403":
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "no")
		case "426":
			w.WriteHeader(426)
		default:
			_, _ = io.WriteString(w, `{"upgrade":"`+r.Header.Get("Upgrade")+`"}`)
		}
	}
	_, url := tunnelled(t, up, nil)
	const ws = "\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	for _, c := range []struct {
		name, head string
		status     int
		body       string
		forwarded  bool
	}{
		{"refused by the upstream", "GET /v1/realtime?say=401" + ws, 401, `"invalid_api_key"`, true},
		{"forbidden", "GET /v1/realtime?say=403" + ws, 403, `"type":"permission_error"`, true},
		{"another version", "GET /v1/realtime?say=426" + ws, 426, `"upstream_error"`, true},
		{"not switched", "GET /v1/realtime" + ws, 200, `{"upgrade":"websocket"}`, true},
		{"h2c", "GET /v1/files\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__", 200, `{"upgrade":""}`, true},
		{"TLS", "GET /v1/files\nConnection: upgrade\nUpgrade: TLS/1.2, HTTP/2.0", 200, `{"upgrade":""}`, true},
		{"unknown and not of the connection", "GET /v1/files\nUpgrade: foo", 200, `{"upgrade":""}`, true},
		{"unknown", "GET /v1/files\nConnection: upgrade\nUpgrade: foo/2", 501, "upgrade_not_supported", false},
		{"without Connection", "GET /v1/realtime\nUpgrade: websocket", 400, "invalid_upgrade", false},
		{"POST", "POST /v1/realtime\nContent-Length: 0" + ws, 400, "invalid_upgrade", false},
		{"with a body", "GET /v1/realtime\nContent-Length: 1" + ws, 400, "invalid_upgrade", false},
		{"at a route of its own", "GET /v1/models" + ws, 400, "upgrade_not_supported", false},
		{"at chat", "POST /v1/chat/completions\nContent-Length: 0" + ws, 400, "upgrade_not_supported", false},
		{"at the gateway's own", "GET /v1/performance" + ws, 400, "upgrade_not_supported", false},
		{"at the codec", "GET /v1/protobuf/decode/stream" + ws, 400, "upgrade_not_supported", false},
		{"at no route", "GET /realtime" + ws, 404, "unknown_url", false},
	} {
		line, rest, _ := strings.Cut(c.head, "\n")
		status, body := ask(t, url, line+" HTTP/1.1\nHost: localhost\n"+rest)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		select {
		case <-up.requests:
			if !c.forwarded {
				t.Errorf("%s: it reached the upstream", c.name)
			}
		default:
			if c.forwarded {
				t.Errorf("%s: it did not reach the upstream", c.name)
			}
		}
	}
	figure(t, url, "tunnels_open 0")
	figure(t, url, `upstream_tunnel_connections_open{upstream="up"} 0`)
}

// closing reads until a WebSocket ends and returns how.
func closing(c *websocket.Conn) <-chan error {
	end := make(chan error, 1)
	go func() {
		for {
			if _, _, err := c.Read(context.Background()); err != nil {
				end <- err
				return
			}
		}
	}()
	return end
}

// TestTunnelEnds has WebSockets ended by the gateway, which says so to both sides.
func TestTunnelEnds(t *testing.T) {
	for _, c := range []struct {
		name, cause string
		code        websocket.StatusCode
		change      func(*front.TunnelConfig)
		send        int
	}{
		{"idle", "idle", 1001, func(c *front.TunnelConfig) { c.IdleTimeout = 50 * time.Millisecond }, 10},
		{"limit", "limit", 1008, func(c *front.TunnelConfig) { c.MaxBytes = 100_000 }, 90_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newRealtime()
			_, url := tunnelled(t, up, func(cfg *config.Config) { c.change(&cfg.Server.Tunnels) })
			ws := dial(t, url+"/v1/realtime", nil)
			end := closing(ws)
			_ = ws.Write(t.Context(), websocket.MessageBinary, make([]byte, c.send))
			if err := awaited(t, "client's end", end); websocket.CloseStatus(err) != c.code {
				t.Errorf("the client saw %v", err)
			}
			// The message that was too much may have been cut.
			if err := awaited(t, "upstream's end", up.ends); websocket.CloseStatus(err) != c.code && c.cause == "idle" {
				t.Errorf("the upstream saw %v", err)
			}
			figure(t, url, `replies_aborted_total{cause="`+c.cause+`"} 1`)
			figure(t, url, "tunnels_open 0")
		})
	}
}

// What a key may not have passed on is not tunnelled either.
func TestTunnelPolicy(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, func(c *config.Config) { c.Server.Passthrough = front.Passthrough{"none"} })
	_, resp, err := websocket.Dial(t.Context(), url+"/v1/realtime?model=gpt-realtime", nil)
	if body := bodyOf(resp); err == nil || !strings.HasPrefix(body, "403 ") || !strings.Contains(body, "passthrough_refused") || len(up.requests) > 0 {
		t.Errorf("%v %s", err, body)
	}
}

func TestTunnelsAreBounded(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, func(c *config.Config) { c.Server.Tunnels.MaxOpen = 1 })
	one := dial(t, url+"/v1/realtime", nil)
	_, resp, err := websocket.Dial(t.Context(), url+"/v1/realtime", nil)
	if body := bodyOf(resp); err == nil || !strings.HasPrefix(body, "503 ") || !strings.Contains(body, "overloaded") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", err, body)
	}
	echo(t, one, websocket.MessageText, []byte("still there"))
	_ = one.Close(websocket.StatusNormalClosure, "")
	figure(t, url, "tunnels_rejected_total 1")
	figure(t, url, "tunnels_open 0")
	echo(t, dial(t, url+"/v1/realtime", nil), websocket.MessageText, []byte("again"))
}

// TestTunnelDrains: both sides hear of a drain, which does not wait for clients
// who would stay for hours. That is an end in good order.
func TestTunnelDrains(t *testing.T) {
	up := newRealtime()
	srv := httptest.NewServer(up)
	defer srv.Close()
	cfg := load(t, "UP_API_KEY="+upstreamKey, "UP_BASE_URL="+srv.URL+"/v1")
	var lines bytes.Buffer
	g, err := New(cfg, Options{Version: "test", AccessLog: &lines})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	c := dial(t, "http://"+addr.String()+"/v1/realtime", nil)
	echo(t, c, websocket.MessageText, []byte("hello"))
	end := closing(c)
	cancel()
	if err := awaited(t, "client's end", end); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client saw %v", err)
	}
	if err := awaited(t, "upstream's end", up.ends); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the upstream saw %v", err)
	}
	if err := awaited(t, "drain", ended); err != nil {
		t.Error(err)
	}
	if line := lines.String(); !strings.Contains(line, "status=101") || strings.Contains(line, "error=") || strings.Contains(line, "aborted=") {
		t.Errorf("the access log says %s", line)
	}
}

// TestTunnelReload: a WebSocket outlives the configuration that it began with.
func TestTunnelReload(t *testing.T) {
	up := newRealtime()
	srv := httptest.NewServer(up)
	defer srv.Close()
	env := []string{"UP_API_KEY=" + upstreamKey, "UP_BASE_URL=" + srv.URL + "/v1"}
	g, url := run(t, load(t, env...), nil)
	c := dial(t, url+"/v1/realtime", nil)
	if err := g.Reload(load(t, "UP_API_KEY=another", env[1])); err != nil {
		t.Fatal(err)
	}
	echo(t, c, websocket.MessageText, []byte("hello"))
	_ = c.Close(websocket.StatusNormalClosure, "")
}

// TestTunnelCut: where a side goes without a word, so does the other, and the
// figures say who it was.
func TestTunnelCut(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		up := newRealtime()
		_, url := tunnelled(t, up, nil)
		c := dial(t, url+"/v1/realtime", nil)
		echo(t, c, websocket.MessageText, []byte("hello"))
		_ = c.CloseNow()
		if err := awaited(t, "upstream's end", up.ends); err == nil || websocket.CloseStatus(err) != -1 {
			t.Errorf("the upstream saw %v", err)
		}
		figure(t, url, `replies_aborted_total{cause="client_left"} 1`)
		figure(t, url, "streams_active 0")
	})
	t.Run("upstream", func(t *testing.T) {
		up := newRealtime()
		up.plain = func(w http.ResponseWriter, _ *http.Request) {
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\nX-Key: "+upstreamKey+"\r\n\r\n\x81\x05he")
			_ = nc.Close()
		}
		_, url := tunnelled(t, up, nil)
		nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(nc, "GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		all, err := io.ReadAll(nc)
		head, rest, _ := strings.Cut(string(all), "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Sec-Websocket-Accept: x") || rest != "\x81\x05he" || strings.Contains(head, upstreamKey) {
			t.Errorf("%q %v", all, err)
		}
		figure(t, url, `replies_aborted_total{cause="upstream"} 1`)
		figure(t, url, "streams_active 0")
	})
}

// TestTunnelEarlyBytes: what a client sends with its request, before it knows of
// the answer, arrives.
func TestTunnelEarlyBytes(t *testing.T) {
	up := newRealtime()
	_, url := tunnelled(t, up, nil)
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	frame := "\x81\x85\x00\x00\x00\x00early" // masked with zeroes
	_, _ = io.WriteString(nc, "GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+base64.StdEncoding.EncodeToString(make([]byte, 16))+"\r\n\r\n"+frame+frame)
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	got := make([]byte, 14)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81\x05early\x81\x05early" {
		t.Errorf("%q %v", got, err)
	}
	_ = nc.Close()
	awaited(t, "end", up.ends)
}

// TestTunnelSlowClient: a client that takes nothing stops the upstream, and is
// given up after the write time-out.
func TestTunnelSlowClient(t *testing.T) {
	up := newRealtime()
	stopped := make(chan error, 1)
	up.plain = func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
		for err == nil {
			_, err = nc.Write(append([]byte{0x82, 126, 0xff, 0xff}, make([]byte, 0xffff)...))
		}
		stopped <- err
	}
	_, url := tunnelled(t, up, func(c *config.Config) { c.Stream.WriteTimeout = 100 * time.Millisecond })
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	awaited(t, "upstream's end", stopped)
	figure(t, url, `replies_aborted_total{cause="write_timeout"} 1`)
	figure(t, url, "tunnels_open 0")
}

// TestTunnelOverTLS is the same tunnel where the client's connection is TLS.
func TestTunnelOverTLS(t *testing.T) {
	up := newRealtime()
	srv := httptest.NewTLSServer(up)
	srv.Close()
	pair := srv.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, url := tunnelled(t, up, func(c *config.Config) { c.Server.TLS = front.TLSConfig{Cert: dir + "/cert", Key: dir + "/key"} })
	client := srv.Client()
	defer client.CloseIdleConnections()
	c := dial(t, strings.Replace(url, "http:", "https:", 1)+"/v1/realtime?model=voice", &websocket.DialOptions{HTTPClient: client})
	echo(t, c, websocket.MessageBinary, make([]byte, 300_000))
	if err := c.Close(4001, "done"); err != nil {
		t.Error(err)
	}
	if err := awaited(t, "end", up.ends); websocket.CloseStatus(err) != 4001 {
		t.Errorf("the upstream saw %v", err)
	}
}
