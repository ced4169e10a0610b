package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean"
	"sluice/internal/front/nethttp"
	"sluice/internal/testkit"
)

// answerer is an engine.Handler.
type answerer func(x engine.Exchange) engine.Ending

func (a answerer) Answer(x engine.Exchange) engine.Ending { return a(x) }

// startEngine has the engine that is tested serve, with nothing of front above it.
func startEngine(t *testing.T, a answerer) (addr string) {
	t.Helper()
	o := engine.Options{
		Handler: a, Log: slog.New(slog.DiscardHandler), Base: context.Background(), MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: func() time.Duration { return time.Minute },
	}
	var e engine.Engine = nethttp.New(o)
	if testEngine == EngineLean {
		e = lean.New(o, e)
	}
	return testkit.Serve(t, e)
}

// eachVersion runs a test with a client of HTTP/1.1 and with one of HTTP/2.
func eachVersion(t *testing.T, test func(t *testing.T, c *http.Client, version int)) {
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(version == 1)
			tr.Protocols.SetUnencryptedHTTP2(version == 2)
			t.Cleanup(tr.CloseIdleConnections)
			test(t, &http.Client{Transport: tr, Timeout: patience}, version)
		})
	}
}

func asked(t *testing.T, c *http.Client, method, url, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// textHead is the head of a reply.
func textHead(length int64) *engine.Head {
	h := &engine.Head{Status: 200, Length: length}
	h.Fields.Set("Content-Type", "text/plain")
	return h
}

// TestContractRequest: what a request is does not depend on the version.
func TestContractRequest(t *testing.T) {
	var seen engine.Request
	var body string
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		q := x.Request()
		b, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		seen, body = *q, string(b)
		if got := engine.Get(q.Header, "X-A"); got != "b" {
			t.Errorf("X-A is %q", got)
		}
		if q != x.Request() {
			t.Error("it is another one the second time")
		}
		_, err = x.Whole(textHead(-1), nil)
		if err != nil {
			t.Error(err)
		}
		return engine.Whole
	})
	eachVersion(t, func(t *testing.T, c *http.Client, version int) {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", "http://"+addr+"/a%2Fb/c?d=e", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "gateway.example"
		req.Header.Set("X-A", "b")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if seen.Method != "PUT" || seen.Path != "/a/b/c" || seen.RawPath != "/a%2Fb/c" || seen.RawQuery != "d=e" || seen.Host != "gateway.example" ||
			seen.Major != version || seen.Length != 4 || body != "body" || seen.TLS || seen.Last || seen.Many() != (version == 2) {
			t.Errorf("%+v, body %q", seen, body)
		}
	})
}

// TestContractLength: Whole's length is the body's, whatever the head says, HEAD's
// too, and Begin's is the head's.
func TestContractLength(t *testing.T) {
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		switch x.Request().Path {
		case "/whole":
			n, err := x.Whole(textHead(99), []byte("four"))
			if n != 4 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			return engine.Whole
		case "/pieces":
			x.Begin(textHead(-1))
		case "/known":
			x.Begin(textHead(8))
		}
		for range 2 {
			if n, err := x.Write([]byte("four")); n != 4 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		return engine.Whole
	})
	eachVersion(t, func(t *testing.T, c *http.Client, _ int) {
		for _, test := range []struct {
			method, path string
			length       int64
			body         string
		}{
			{"GET", "/whole", 4, "four"}, {"HEAD", "/whole", 4, ""},
			{"GET", "/pieces", 8, "fourfour"}, {"HEAD", "/pieces", 8, ""},
			{"GET", "/known", 8, "fourfour"}, {"HEAD", "/known", 8, ""},
		} {
			resp := asked(t, c, test.method, "http://"+addr+test.path, "")
			b, err := io.ReadAll(resp.Body)
			if (resp.ContentLength != test.length && (resp.ContentLength != -1 || test.path != "/pieces")) || string(b) != test.body || err != nil || resp.Header.Get("Date") == "" {
				t.Errorf("%s %s: %d, %q, %v", test.method, test.path, resp.ContentLength, b, err)
			}
		}
	})
}

// TestContractEnding: a reply that is not whole never looks whole, and one that is
// broken has its last words read, with more of the request to come than anybody reads.
func TestContractEnding(t *testing.T) {
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		path := x.Request().Path
		if path == "/silent" {
			return engine.Cut
		}
		x.Duplex()
		x.Begin(textHead(-1))
		_, _ = x.Write([]byte("last words"))
		_ = x.Flush()
		switch path {
		case "/cut":
			return engine.Cut
		case "/broken":
			return engine.Broken
		}
		panic("contract")
	})
	eachVersion(t, func(t *testing.T, c *http.Client, _ int) {
		if resp, err := c.Get("http://" + addr + "/silent"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("no reply is %d", resp.StatusCode)
		}
		for _, path := range []string{"/cut", "/broken", "/panic"} {
			resp := asked(t, c, "GET", "http://"+addr+path, "")
			if b, err := io.ReadAll(resp.Body); err == nil || path == "/broken" && string(b) != "last words" {
				t.Errorf("%s: %q, %v", path, b, err)
			}
		}
		resp := asked(t, c, "POST", "http://"+addr+"/broken", strings.Repeat("x", 1<<20))
		if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "last words" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// told counts, and complains of what comes after the handler.
type told struct {
	n    atomic.Int64
	over atomic.Bool
	late atomic.Bool
}

func (f *told) Moved() {
	f.n.Add(1)
	if f.over.Load() {
		f.late.Store(true)
	}
}

// TestContractFollow: each piece leaves before Write returns and is told of, and
// nothing is after the handler, whose objects may be another's by then.
func TestContractFollow(t *testing.T) {
	read := make(chan struct{}, 1)
	var current atomic.Pointer[told]
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		f := current.Load()
		defer f.over.Store(true)
		x.Follow(f)
		if x.Request().Path == "/whole" {
			if x.Holds(1) {
				t.Error("it is held back")
			}
			if _, err := x.Whole(textHead(-1), []byte("all")); err != nil || f.n.Load() == 0 {
				t.Errorf("%d moves, %v", f.n.Load(), err)
			}
			<-read
			return engine.Whole
		}
		x.Begin(textHead(-1))
		for i := range 3 {
			if _, err := x.Write([]byte("all")); err != nil || f.n.Load() < int64(i+1) {
				t.Errorf("%d moves after %d writes, %v", f.n.Load(), i+1, err)
			}
			<-read
		}
		return engine.Whole
	})
	eachVersion(t, func(t *testing.T, c *http.Client, _ int) {
		for path, pieces := range map[string]int{"/whole": 1, "/pieces": 3} {
			f := new(told)
			current.Store(f)
			resp := asked(t, c, "GET", "http://"+addr+path, "")
			for range pieces {
				b := make([]byte, 3)
				if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "all" {
					t.Fatalf("%s: %q, %v", path, b, err)
				}
				read <- struct{}{}
			}
			if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
				t.Errorf("%s: %q, %v", path, rest, err)
			}
			if f.late.Load() {
				t.Errorf("%s: told after the handler", path)
			}
		}
	})
}

// TestContractGiveUp: who is given up from another goroutine has its reply cut, and
// whoever writes is told why.
func TestContractGiveUp(t *testing.T) {
	var result atomic.Pointer[string]
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		x.Begin(textHead(-1))
		go x.GiveUp() // before the first byte of a reply that nobody takes, or amid it
		err, piece := error(nil), make([]byte, 64<<10)
		for n := 0; err == nil && n < 1<<30; n += len(piece) {
			_, err = x.Write(piece)
			_ = x.Flush()
		}
		said := "done"
		if !errors.Is(err, os.ErrDeadlineExceeded) || !x.GivenUp() {
			said = "no: " + errorText(err)
		} else {
			<-x.Context().Done()
		}
		result.Store(&said)
		return engine.Cut
	})
	eachVersion(t, func(t *testing.T, c *http.Client, _ int) {
		result.Store(nil)
		resp, err := c.Get("http://" + addr)
		if err == nil {
			defer resp.Body.Close()
			testkit.Until(t, "the client is given up", func() bool { return result.Load() != nil })
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err == nil {
			t.Error("the reply looks whole")
		}
		testkit.Until(t, "the client is given up", func() bool { return result.Load() != nil })
		if said := *result.Load(); said != "done" {
			t.Errorf("writing ended with %s", said)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

// TestContractLeaving: a client's leaving is the end of its exchange alone.
func TestContractLeaving(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		if x.Request().Path == "/stay" {
			_, _ = x.Whole(textHead(-1), []byte("here"))
			return engine.Whole
		}
		_, _ = io.ReadAll(x.Request().Body)
		began <- struct{}{}
		<-x.Context().Done()
		ended <- struct{}{}
		return engine.Cut
	})
	eachVersion(t, func(t *testing.T, c *http.Client, _ int) {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/leave", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-began
			leave()
		}()
		if resp, err := c.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Error("it is answered")
		}
		<-ended
		if b, err := io.ReadAll(asked(t, c, "GET", "http://"+addr+"/stay", "").Body); string(b) != "here" || err != nil {
			t.Errorf("the next: %q, %v", b, err)
		}
	})
}

// TestContractHijack: a connection with one exchange at a time can be had, with what
// came after the request, and no other.
func TestContractHijack(t *testing.T) {
	addr := startEngine(t, func(x engine.Exchange) engine.Ending {
		nc, early, err := x.Hijack()
		if err != nil {
			_, _ = x.Whole(textHead(-1), []byte("no"))
			return engine.Whole
		}
		defer nc.Close()
		rest := make([]byte, 4)
		_, _ = io.ReadFull(nc, rest[copy(rest, early):])
		_, _ = nc.Write(append([]byte("had "), rest...))
		return engine.Whole
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nrest")
	if b, err := io.ReadAll(c); string(b) != "had rest" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	eachVersion(t, func(t *testing.T, c *http.Client, version int) {
		if version == 2 {
			if b, err := io.ReadAll(asked(t, c, "GET", "http://"+addr, "").Body); string(b) != "no" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		}
	})
}
