package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// answering is a server, with its address.
func answering(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestClient: only a whole reply is good.
func TestClient(t *testing.T) {
	addr := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer key" {
			t.Errorf("key %q", r.Header.Get("Authorization"))
		}
		switch {
		case r.Method == "GET":
			_, _ = io.WriteString(w, "told")
		case r.Header.Get("X-Sim-Fault") == "status":
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case r.Header.Get("X-Sim-Fault") == "cut":
			_, _ = io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("X-Cache", "HIT")
			_, _ = w.Write(body)
		}
	})
	c := client{addr: addr, key: "key"}
	defer c.close()
	ask := func(q request) reply { q.path = "/"; return c.ask(t.Context(), q) }
	long := strings.Repeat("x", 100_000)
	for i, q := range []request{{body: "a"}, {body: long}, {body: "data: 1\n\ndata: [DONE]\n\n", stream: true}, {body: long + "data: [DONE]\n\n", stream: true}} {
		if r := ask(q); !r.good || r.cache != "HIT" || r.took <= 0 || r.first <= 0 || r.first > r.took {
			t.Errorf("request %d: %+v", i, r)
		}
	}
	for i, q := range []request{{body: "a", fault: "status"}, {body: "a", fault: "cut"}, {body: "data: 1\n\n", stream: true}, {body: "data: [DONE]\n\n" + long, stream: true}} {
		if r := ask(q); r.good || r.err == nil {
			t.Errorf("bad request %d: %+v", i, r)
		}
	}
	if r := ask(request{body: "a"}); !r.good {
		t.Errorf("after failures: %v", r.err)
	}
	if b, err := get(t.Context(), addr, "key", "/x"); err != nil || string(b) != "told" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestLoad counts what is answered between begin and end, and nothing else.
func TestLoad(t *testing.T) {
	var served atomic.Int64
	addr := answering(t, func(w http.ResponseWriter, _ *http.Request) { served.Add(1) })
	var before, after int64
	l := load{addr: addr, clients: 4, warm: 20 * time.Millisecond, slice: 100 * time.Millisecond, next: func(int) request { return request{path: "/", body: "x"} },
		begin: func() error { before = served.Load(); return nil }, end: func() error { after = served.Load(); return nil }}
	r, err := l.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.failed != 0 || before == 0 || r.good < after-before-8 || r.good > after-before+8 || r.elapsed < 0.1 {
		t.Errorf("%+v of %d", r, after-before)
	}
}

// TestLoadEnough: what does not say enough goes on.
func TestLoadEnough(t *testing.T) {
	addr := answering(t, func(http.ResponseWriter, *http.Request) {})
	looks := 0
	l := load{addr: addr, clients: 1, slice: 20 * time.Millisecond, next: func(int) request { return request{path: "/", body: "x"} }, begin: nothing, end: nothing,
		enough: func() bool { looks++; return looks == 3 }}
	if _, err := l.run(t.Context()); err != nil || looks != 3 {
		t.Errorf("%d looks, %v", looks, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	addr := answering(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })
	l := load{addr: addr, clients: 2, slice: 50 * time.Millisecond, next: func(int) request { return request{path: "/", body: "x"} }, begin: nothing, end: nothing}
	if _, err := func() (loaded, error) { l.slice = time.Millisecond; return l.run(ended(t)) }(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := (loaded{good: 1000, failed: 5}).check(); err != nil {
		t.Error(err)
	}
	if err := (loaded{good: 100, failed: 5, first: errors.New("why")}).check(); err == nil || !strings.Contains(err.Error(), "5 of 105 requests failed, the first one so: why") {
		t.Errorf("%v", err)
	}
	if err := (loaded{}).check(); err == nil {
		t.Error("no answer is an answer")
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	p := &progress{w: &b, experiments: 2, rounds: 2, begun: time.Now()}
	p.next("One")
	p.round()
	p.next("Two")
	p.clear()
	if b.String() != "1 of 2: One\n2 of 2: Two\n" {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	p = &progress{w: &b, terminal: true, experiments: 2, rounds: 2, begun: time.Now()}
	p.next("One")
	p.round()
	p.clear()
	if got := b.String(); !strings.HasPrefix(got, "\r\033[K1 of 2: One, round 1 of 2\r\033[K1 of 2: One, round 2 of 2, about ") || !strings.HasSuffix(got, "left\r\033[K") {
		t.Errorf("%q", got)
	}
}

func TestCheck(t *testing.T) {
	good := Options{Rounds: 1, Slice: time.Second}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	if n := (Options{Rounds: 6, Upstream: "x"}).Requests(); n != 1+6*(1+realHits)+2*(6*90+30) {
		t.Errorf("%d requests", n)
	}
	if text := (config{[]upstream{{name: "a", url: "http://x"}}, []string{"cache: {enabled: false}"}}).text("h"); !strings.Contains(text, fmt.Sprintf("{name: a, base_url: %q, models: [\"*\"]}", "http://x")) {
		t.Error(text)
	}
}
