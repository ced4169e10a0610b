package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// peer is an HTTP/2 client that does what a test tells it, right or wrong.
type peer struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
	next uint32
	head bytes.Buffer
	enc  *hpack.Encoder
}

// dialPeer connects with streams that have window bytes of flow control.
func dialPeer(t *testing.T, s *site, window uint32) *peer {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	p := &peer{Framer: http2.NewFramer(c, c), t: t, conn: c, next: 1}
	p.enc = hpack.NewEncoder(&p.head)
	_, _ = io.WriteString(c, http2.ClientPreface)
	if err := p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		t.Fatal(err)
	}
	return p
}

// ask opens a stream and returns its number. With no body the request ends.
func (p *peer) ask(method, path, body string, fields ...string) uint32 {
	p.t.Helper()
	if err := p.tryAsk(method, path, body, fields...); err != nil {
		p.t.Fatal(err)
	}
	return p.next - 2
}

func (p *peer) tryAsk(method, path, body string, fields ...string) error {
	id := p.next
	err := p.open(method, path, body == "", fields...)
	if err == nil && body != "" {
		err = p.WriteData(id, true, []byte(body))
	}
	return err
}

func (p *peer) open(method, path string, ends bool, fields ...string) error {
	p.head.Reset()
	for i, list := 0, append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "localhost"}, fields...); i < len(list); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
	}
	id := p.next
	p.next += 2
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.head.Bytes(), EndStream: ends, EndHeaders: true})
}

// frame reads frames until one of a stream is of type T, and returns it.
func frame[T http2.Frame](p *peer, id uint32) T {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("read frame: %v", err)
		}
		if got, ok := f.(T); ok && f.Header().StreamID == id {
			return got
		}
	}
}

// kept are the exchanges that an observer was shown.
type kept struct {
	mu   sync.Mutex
	list []perf.Exchange
}

func (k *kept) Observe(x *perf.Exchange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, perf.Exchange{Status: x.Status, Aborted: x.Aborted, BytesOut: x.BytesOut})
}

// everyKind is a site with a reply of every kind, and a request for each.
func everyKind(t *testing.T, settings ...setting) (*site, *kept, []struct{ name, method, path, body, key string }) {
	var seen kept
	text := strings.Repeat("x", 100)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		switch req.Model {
		case "stream":
			return errors.Join(startStream(out), out.Send(events("data: 1\n\n")))
		case "pieces":
			return errors.Join(out.Start(&llm.Head{Status: 200, Kind: llm.Pieces, Length: -1}), out.Send(events(text, text)))
		case "sized":
			return errors.Join(out.Start(&llm.Head{Status: 200, Kind: llm.Pieces, Length: 200}), out.Send(events(text, text)))
		case "upstream's error":
			return llm.Errorf(http.StatusBadGateway, "x", "failed")
		case "large":
			return sendUnary(out, strings.Repeat(text, 1000))
		default:
			return sendUnary(out, text)
		}
	}, Options{
		Observers: []perf.Observer{&seen},
		Metrics:   saying(text),
		Pages:     saying(text),
		Routes: []Route{
			{Method: "GET", Path: "/v1/own", Handler: saying(text)},
			{Method: "GET", Path: "/v1/live", Live: true, Handler: streaming(func(_ context.Context, send func([]byte) error) error {
				for {
					if err := send([]byte("data: 1\n\n")); err != nil {
						return err
					}
				}
			})},
		},
	}, append(settings, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("sk-a"), Admin: true}}
	})...)
	model := func(name string) string { return `{"model":"` + name + `"}` }
	return s, &seen, []struct{ name, method, path, body, key string }{
		{"no key", "GET", "/v1/models", "", ""},
		{"no route", "GET", "/nothing", "", ""},
		{"refused", "POST", chatPath, "{", "sk-a"},
		{"upstream's error", "POST", chatPath, model("upstream's error"), "sk-a"},
		{"unary", "POST", chatPath, model("unary"), "sk-a"},
		{"large", "POST", chatPath, model("large"), "sk-a"},
		{"pieces", "POST", chatPath, model("pieces"), "sk-a"},
		{"sized", "POST", chatPath, model("sized"), "sk-a"},
		{"stream", "POST", chatPath, model("stream"), "sk-a"},
		{"own", "GET", "/v1/own", "", "sk-a"},
		{"live", "GET", "/v1/live", "", "sk-a"},
		{"metrics", "GET", "/metrics", "", "sk-a"},
		{"metrics without a key", "GET", "/metrics", "", ""},
		{"healthz", "GET", "/healthz", "", ""},
		{"readyz", "GET", "/readyz", "", ""},
		{"wrong method", "POST", "/healthz", "", ""},
		{"dashboard", "GET", "/dashboard", "", ""},
	}
}

// TestNothingTaken has a client that gives no stream a byte of flow control: each
// reply is reset, and told of as slow.
func TestNothingTaken(t *testing.T) {
	s, seen, requests := everyKind(t, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = 50 * time.Millisecond })
	for i, r := range requests {
		p := dialPeer(t, s, 0)
		id := p.ask(r.method, r.path, r.body, "authorization", "Bearer "+r.key)
		if f := frame[*http2.RSTStreamFrame](p, id); f.ErrCode != http2.ErrCodeInternal {
			t.Errorf("%s: reset with %v", r.name, f.ErrCode)
		}
		testkit.Until(t, r.name+": end", func() bool { return s.inFlight.Load()+s.aside.Load() == 0 })
		if n := s.stats.aborts[abortSlow].Load(); n != uint64(i+1) {
			t.Errorf("%s: %d counted as slow", r.name, n)
		}
		if n := s.strangers.list.Len() + s.readers.list.Len(); n != 0 {
			t.Errorf("%s: %d in the crowds", r.name, n)
		}
	}
	for cause := range s.stats.aborts {
		if n := s.stats.aborts[cause].Load(); cause != abortSlow && n > 0 {
			t.Errorf("%d counted as %s", n, abortNames[cause])
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for i := range seen.list {
		if e := &seen.list[i]; e.Aborted != "write_timeout" || e.Status < 200 {
			t.Errorf("%s: observers were told %+v", requests[i].name, e)
		}
	}
	if len(seen.list) != 11 {
		t.Errorf("%d exchanges observed", len(seen.list))
	}
}

// TestHeldIsSeen looks at the figures while a client takes nothing yet, and then
// lets it have its reply: that is whole.
func TestHeldIsSeen(t *testing.T) {
	s, seen, requests := everyKind(t, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = time.Hour })
	for _, r := range requests {
		p := dialPeer(t, s, 0)
		id := p.ask(r.method, r.path, r.body, "authorization", "Bearer "+r.key)
		frame[*http2.HeadersFrame](p, id)
		api, aside := int64(0), int64(1)
		if strings.HasPrefix(r.path, "/v1/") && r.name != "live" || r.name == "no route" {
			api, aside = 1, 0
		}
		if n, m := s.inFlight.Load(), s.aside.Load(); n != api || m != aside {
			t.Errorf("%s: %d and %d in flight", r.name, n, m)
		}
		if r.name == "live" {
			p.conn.Close()
			testkit.Until(t, "live: end", func() bool { return s.aside.Load() == 0 })
			continue
		}
		_ = p.WriteWindowUpdate(id, 1<<20)
		_ = p.WriteWindowUpdate(0, 1<<20)
		for {
			if f := frame[*http2.DataFrame](p, id); f.StreamEnded() {
				break
			}
		}
		testkit.Until(t, r.name+": end", func() bool { return s.inFlight.Load()+s.aside.Load() == 0 })
	}
	for cause := range s.stats.aborts {
		if n := s.stats.aborts[cause].Load(); n > 0 {
			t.Errorf("%d counted as %s", n, abortNames[cause])
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for i := range seen.list {
		if e := &seen.list[i]; e.Aborted != "" || e.BytesOut == 0 && requests[i].name != "live" {
			t.Errorf("%s: observers were told %+v", requests[i].name, e)
		}
	}
}

// TestSlowIsKept has a client that takes its reply in small parts, for longer
// than the time-out in all.
func TestSlowIsKept(t *testing.T) {
	const timeout, size = 500 * time.Millisecond, 20 << 10
	s := start(t, unary(strings.Repeat("x", size)), func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = timeout })
	p := dialPeer(t, s, 0)
	id := p.ask("POST", chatPath, chatBody)
	frame[*http2.HeadersFrame](p, id)
	begun, got := time.Now(), 0
	for ended := false; !ended; {
		const part = 128 // what nethttp writes at a time with such a time-out
		_ = p.WriteWindowUpdate(id, part)
		_ = p.WriteWindowUpdate(0, part)
		f := frame[*http2.DataFrame](p, id)
		got, ended = got+len(f.Data()), f.StreamEnded()
		time.Sleep(timeout / 100)
	}
	if d := time.Since(begun); got != size || d < timeout {
		t.Errorf("%d bytes in %v", got, d)
	}
	if n := s.stats.aborts[abortSlow].Load(); n > 0 {
		t.Errorf("%d counted as slow", n)
	}
}

// TestCrowd: those who need no key hold no more replies than there may be
// connections, and of figures no more than maxRendered. Each one more ends the
// oldest.
func TestCrowd(t *testing.T) {
	const most = 4
	s, _, _ := everyKind(t, func(c *Config, sc *StreamConfig) { c.MaxConnections, sc.WriteTimeout = most, time.Hour })
	for path, room := range map[string]int{"/v1/models": most, "/nothing": most, "/dashboard": most, "/metrics?": most, "/metrics": maxRendered} {
		p := dialPeer(t, s, 0)
		var ids []uint32
		var key []string
		if path == "/metrics" {
			key = []string{"authorization", "Bearer sk-a"}
		}
		for range room {
			id := p.ask("GET", path, "", key...)
			frame[*http2.HeadersFrame](p, id)
			ids = append(ids, id)
		}
		for i := range 3 {
			p.ask("GET", path, "", key...)
			frame[*http2.RSTStreamFrame](p, ids[i])
		}
		testkit.Until(t, path+": three fewer", func() bool { return int(s.inFlight.Load()+s.aside.Load()) == room })
		p.conn.Close()
		testkit.Until(t, path+": end", func() bool { return s.inFlight.Load()+s.aside.Load() == 0 })
	}
	// One with a key is in no crowd.
	p := dialPeer(t, s, 0)
	for range 2 * most {
		frame[*http2.HeadersFrame](p, p.ask("POST", chatPath, `{"model":"unary"}`, "authorization", "Bearer sk-a"))
	}
	if n := s.inFlight.Load(); n != 2*most {
		t.Errorf("%d in flight", n)
	}
}

// TestRefusedIsSmall: what a refused request was sent with is not kept while its
// reply waits, and is not repeated to the client at any length.
func TestRefusedIsSmall(t *testing.T) {
	s, _, _ := everyKind(t, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = time.Hour })
	long := strings.Repeat("a", 20<<10)
	for _, path := range []string{"/" + long, "/v1/models"} {
		for _, e := range engines {
			req := newRequest(t, t.Context(), "GET", s.url(path), "")
			req.Header.Set("X-A", long)
			if _, body := do(t, e.client(t, s), req); len(body) > 2<<10 {
				t.Errorf("%s %.20s: %d bytes", e.name, path, len(body))
			}
		}
	}
}

// TestNothingTakenOverOne: over HTTP/1.1 the connection sees what is taken. What
// is too large for the kernel's buffers counts as slow as well.
func TestNothingTakenOverOne(t *testing.T) {
	large := strings.Repeat("x", 32<<20)
	var seen kept
	s := startWith(t, unary(large), Options{
		Observers: []perf.Observer{&seen},
		Metrics:   saying(large),
		Routes:    []Route{{Method: "GET", Path: "/v1/own", Handler: saying(large)}},
	}, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = 50 * time.Millisecond })
	for i, request := range []string{
		fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(chatBody), chatBody),
		"GET /v1/own HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, request)
		testkit.Until(t, request, func() bool { return s.stats.aborts[abortSlow].Load() == uint64(i+1) })
		testkit.Until(t, request, func() bool { return s.inFlight.Load()+s.aside.Load()+s.stats.connections.Load() == 0 })
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for i := range seen.list {
		if e := &seen.list[i]; e.Aborted != "write_timeout" || e.Status != 200 {
			t.Errorf("observers were told %+v", e)
		}
	}
	if len(seen.list) != 2 {
		t.Errorf("%d exchanges observed", len(seen.list))
	}
}

// TestUnreadPipeline: small replies over HTTP/1.1 leave after their handlers, one
// at a time. A client that sends requests and reads nothing has its connection
// closed.
func TestUnreadPipeline(t *testing.T) {
	s, _, _ := everyKind(t, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	requests := []byte(strings.Repeat("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000))
	for sent := 0; err == nil; sent += len(requests) {
		if _, err = c.Write(requests); sent > 1<<28 {
			t.Fatal("the connection stays open")
		}
	}
	testkit.Until(t, "all is given back", func() bool { return s.inFlight.Load()+s.stats.connections.Load() == 0 })
}

// TestRefusedIsForgotten: many may be refused, or told that all is well, and take
// that as slowly as they can. What they sent is not kept meanwhile.
func TestRefusedIsForgotten(t *testing.T) {
	overHTTP2(t)
	const streams, size = 40, 12 << 10
	long := strings.Repeat("a", size)
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		for _, path := range []string{"/v1/models", "/nothing", "/healthz", "/readyz", "/metrics", "/dashboard", "/dashboard/" + long, "/healthz?" + long} {
			s, _, _ := everyKind(t, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = time.Hour })
			p := dialPeer(t, s, 0)
			before := heap()
			for i := range streams {
				// Of another name each time, or the fields' table would have it.
				id := p.ask(method, path, "", "origin", "http://a.example"+long[:i*250], "access-control-request-method", "GET", fmt.Sprintf("x-%d", i), long)
				frame[*http2.HeadersFrame](p, id)
			}
			if n := (heap() - before) / streams; n > size*4/3 { // a stream takes 8 KiB by itself
				t.Errorf("%s %.20s: each holds %d bytes", method, path, n)
			}
			p.conn.Close()
			testkit.Until(t, "end", func() bool { return s.inFlight.Load()+s.aside.Load() == 0 })
			_ = s.Close()
		}
	}
}

func heap() int {
	for range 2 { // what a pool has goes with the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
