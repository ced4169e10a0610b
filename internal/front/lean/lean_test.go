//go:build linux

package lean

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sluice/internal/front/engine"
	"sluice/internal/front/nethttp"
	"sluice/internal/lifetime"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// handler is a function that answers.
type handler func(x engine.Exchange) engine.Ending

func (h handler) Answer(x engine.Exchange) engine.Ending { return h(x) }

// options are a test's, which sets may change.
func options(h handler, sets ...func(*engine.Options)) engine.Options {
	o := engine.Options{
		Handler: h, Log: slog.New(slog.DiscardHandler), Base: context.Background(), MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: func() time.Duration { return time.Minute },
	}
	for _, set := range sets {
		set(&o)
	}
	return o
}

// start serves until the test ends, when no connection may be left.
func start(t testing.TB, h handler, sets ...func(*engine.Options)) (*Server, string) {
	t.Helper()
	o := options(h, sets...)
	s, ok := New(o, nethttp.New(o)).(*Server)
	if !ok {
		t.Fatal("another engine")
	}
	return s, serve(t, s)
}

func serve(t testing.TB, e engine.Engine) string {
	t.Helper()
	t.Cleanup(func() {
		if s, ok := e.(*Server); ok { // which is closed by then
			testkit.Until(t, "no connection is left", func() bool { return s.count() == 0 })
		}
	})
	return testkit.Serve(t, e)
}

func (s *Server) count() (n int) {
	s.all(func(*conn) { n++ })
	return n
}

// one gives the connection that there is.
func (s *Server) one(t *testing.T) (one *conn) {
	t.Helper()
	testkit.Until(t, "there is one connection", func() bool {
		n := 0
		s.all(func(c *conn) { one, n = c, n+1 })
		return n == 1
	})
	return one
}

// kind is cleartext or TLS of a version.
type kind struct {
	name    string
	version uint16 // 0 for cleartext
}

// each runs a test with each kind.
func each(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range []kind{{"cleartext", 0}, {"TLS 1.3", tls.VersionTLS13}, {"TLS 1.2", tls.VersionTLS12}} {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

// certificate is for any name.
var certificate = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
})

func secured(o *engine.Options) {
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate()}}
}

func (k kind) start(t testing.TB, h handler, sets ...func(*engine.Options)) (*Server, string) {
	t.Helper()
	if k.version != 0 {
		sets = append(sets, secured)
	}
	return start(t, h, sets...)
}

// client is a client's connection.
type client interface {
	net.Conn
	CloseWrite() error
}

func (k kind) dial(t testing.TB, addr string) client {
	t.Helper()
	c, err := k.connect(t, addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// connect is dial that a server may refuse.
func (k kind) connect(t testing.TB, addr string) (client, error) {
	t.Helper()
	c := dial(t, addr)
	if k.version == 0 {
		return c, nil
	}
	sealed := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: k.version, MaxVersion: k.version})
	return sealed, sealed.Handshake()
}

// inTime has a try made with a time-out that the server and its client have to keep. TLS
// takes them longer.
func (k kind) inTime(t *testing.T, timeout time.Duration, try func(timeout time.Duration) error) {
	t.Helper()
	if k.version != 0 {
		timeout *= 10
	}
	testkit.InTime(t, timeout, try)
}

// fewBytes has a client's socket take no more than a few.
func (k kind) fewBytes(c client) {
	if around, ok := c.(*tls.Conn); ok {
		_ = around.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
		return
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one.
func answer(t testing.TB, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read reply: %v, so far %q", err, b)
	}
	return res, string(b)
}

// whole answers with a text.
func whole(x engine.Exchange, status int, text string) engine.Ending {
	h := engine.Head{Status: status}
	h.Fields.Set("Content-Type", "text/plain")
	if _, err := x.Whole(&h, []byte(text)); err != nil {
		return engine.Cut
	}
	return engine.Whole
}

// echo answers with what was asked.
func echo(x engine.Exchange) engine.Ending {
	q, body := x.Request(), []byte(nil)
	if q.Body != nil {
		var err error
		if body, err = io.ReadAll(q.Body); err != nil {
			return whole(x, 400, err.Error())
		}
	}
	return whole(x, 200, q.Method+" "+q.Path+" "+string(body))
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// TestKeepAlive: requests of all kinds, one after the other and together, in pieces of
// any size, are answered in their order on one connection.
func TestKeepAlive(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		_, addr := k.start(t, echo)
		large := strings.Repeat("x", 100_000)
		texts := []struct{ sent, want string }{
			{get, "GET /a "},
			{post("/b", "body"), "POST /b body"},
			{"\r\n" + post("/empty", ""), "POST /empty "},
			{"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=f\r\nde\r\n0\r\nX-T: 1\r\n\r\n", "POST /c abcde"},
			{post("/large", large), "POST /large " + large},
			{"POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("3e8\r\n"+large[:1000]+"\r\n", 100) + "0\r\n\r\n", "POST /d " + large},
			{"GET /long HTTP/1.1\r\nHost: x\r\nX-A: " + large[:40_000] + "\r\n\r\n", "GET /long "},
		}
		c := k.dial(t, addr)
		r := bufio.NewReader(c)
		all := ""
		for _, q := range texts {
			send(t, c, q.sent)
			if _, got := answer(t, r, "POST"); got != q.want {
				t.Fatalf("%.100q: %.100q", q.sent, got)
			}
			all += q.sent
		}
		for _, step := range []int{1 << 20, 1000, 7} {
			go func() {
				for rest := all; rest != ""; {
					n := min(step, len(rest))
					if _, err := io.WriteString(c, rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
			}()
			for _, q := range texts {
				if _, got := answer(t, r, "POST"); got != q.want {
					t.Fatalf("in steps of %d: %.100q: %.100q", step, q.sent, got)
				}
			}
		}
	})
}

// TestWaitingIsSmall: neither a connection that waits for a request nor one whose
// handler waits holds a buffer.
func TestWaitingIsSmall(t *testing.T) {
	const conns, most = 400, 13 << 10 // of which 2 KiB are this side's
	release := make(chan struct{})
	var waiting atomic.Int32
	s, addr := start(t, func(x engine.Exchange) engine.Ending {
		if x.Request().Path == "/waits" {
			waiting.Add(1)
			<-release
		}
		return echo(x)
	})
	held := func() int {
		for range 2 { // what a pool has goes with the second
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}
	before := held()
	var list []net.Conn
	for range conns {
		c := dial(t, addr)
		send(t, c, get)
		b := make([]byte, 1024)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	testkit.Until(t, "all wait", func() bool {
		busy := 0
		s.all(func(c *conn) { busy += int(c.phase.Load()) })
		return busy == idle
	})
	if n := (held() - before) / conns; n > most {
		t.Errorf("one that waits for a request holds %d bytes", n)
	} else {
		t.Logf("one that waits for a request holds %d bytes", n)
	}
	for _, c := range list {
		send(t, c, "POST /waits HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	}
	testkit.Until(t, "all handlers wait", func() bool { return waiting.Load() == conns })
	if n := (held() - before) / conns; n > most+4<<10 {
		t.Errorf("one whose handler waits holds %d bytes", n)
	} else {
		t.Logf("one whose handler waits holds %d bytes", n)
	}
	close(release)
	for _, c := range list {
		_ = c.Close()
	}
}

// TestReplies: how a reply of each kind is framed, and that one which is not whole
// never looks whole.
func TestReplies(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		pieces := func(length int64, ending engine.Ending, list ...string) handler {
			return func(x engine.Exchange) engine.Ending {
				h := engine.Head{Status: 200, Length: length}
				x.Begin(&h)
				for _, p := range list {
					if n, err := x.Write([]byte(p)); n != len(p) || err != nil {
						t.Errorf("%d, %v", n, err)
					}
					if err := x.Flush(); err != nil {
						t.Error(err)
					}
				}
				return ending
			}
		}
		long := strings.Repeat("y", 20_000)
		huge := strings.Repeat("z", 3*maxWrite+17)
		for _, c := range []struct {
			name    string
			request string
			h       handler
			head    string // in the head
			body    string
			kept    bool
			cut     bool
		}{
			{"whole", get, func(x engine.Exchange) engine.Ending { return whole(x, 200, "hello") }, "Content-Length: 5\r\n", "hello", true, false},
			{"large", get, func(x engine.Exchange) engine.Ending { return whole(x, 200, huge) }, fmt.Sprintf("Content-Length: %d\r\n", len(huge)), huge, true, false},
			{"HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", func(x engine.Exchange) engine.Ending { return whole(x, 200, "hello") }, "Content-Length: 5\r\n", "", true, false},
			{"204", get, func(x engine.Exchange) engine.Ending {
				x.Begin(&engine.Head{Status: 204, Length: -1})
				return engine.Whole
			}, "HTTP/1.1 204 No Content\r\n", "", true, false},
			{"304", get, func(x engine.Exchange) engine.Ending {
				x.Begin(&engine.Head{Status: 304, Length: -1})
				return engine.Whole
			}, "HTTP/1.1 304 Not Modified\r\n", "", true, false},
			{"chunks", get, pieces(-1, engine.Whole, "one", long, "two", huge), "Transfer-Encoding: chunked\r\n", "one" + long + "two" + huge, true, false},
			{"sized", get, pieces(int64(3+len(long)), engine.Whole, "one", long), "Content-Length: 20003\r\n", "one" + long, true, false},
			{"cut chunks", get, pieces(-1, engine.Cut, "one"), "Transfer-Encoding: chunked\r\n", "one", false, true},
			{"broken chunks", get, pieces(-1, engine.Broken, "one"), "Transfer-Encoding: chunked\r\n", "one", false, true},
			{"short", get, pieces(9, engine.Whole, "one"), "Content-Length: 9\r\n", "one", false, true},
			{"panic", get, func(x engine.Exchange) engine.Ending { pieces(-1, engine.Whole, "one")(x); panic("test") }, "200", "one", false, true},
			{"close", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", echo, "Connection: close\r\n", "GET / ", false, false},
			{"closed by us", get, func(x engine.Exchange) engine.Ending {
				_, _ = x.Whole(&engine.Head{Status: 200, Close: true}, []byte("bye"))
				return engine.Whole
			}, "Connection: close\r\n", "bye", false, false},
			{"old", "GET / HTTP/1.0\r\n\r\n", pieces(-1, engine.Whole, "one", "two"), "HTTP/1.0 200 OK\r\n", "onetwo", false, false},
			{"old and kept", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", echo, "Connection: keep-alive\r\n", "GET / ", true, false},
			{"old, kept, of unknown length", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", pieces(-1, engine.Whole, "one"), "Connection: close\r\n", "one", false, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				first := true
				_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
					if !first {
						return whole(x, 200, "next")
					}
					first = false
					return c.h(x)
				})
				nc := k.dial(t, addr)
				send(t, nc, c.request)
				var seen bytes.Buffer
				r := bufio.NewReader(io.TeeReader(nc, &seen))
				method, _, _ := strings.Cut(c.request, " ")
				res, err := http.ReadResponse(r, &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				if string(b) != c.body || (err != nil) != c.cut {
					t.Errorf("%d bytes of %d, %v", len(b), len(c.body), err)
				}
				head, _, _ := strings.Cut(seen.String(), "\r\n\r\n")
				if head += "\r\n"; !strings.Contains(head, c.head) || strings.Count(head, "\r\nDate: ") != 1 || strings.Contains(head, "chunked") && strings.Contains(c.request, "1.0") {
					t.Errorf("%q", head)
				}
				if !c.kept {
					if rest, err := io.ReadAll(r); err != nil && !c.cut || len(rest) > 0 {
						t.Errorf("%q, %v", rest, err)
					}
					return
				}
				send(t, nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if _, got := answer(t, r, "GET"); got != "next" {
					t.Errorf("%q", got)
				}
			})
		}
	})
}

// TestOverlong: no more is written than was announced.
func TestOverlong(t *testing.T) {
	_, addr := start(t, func(x engine.Exchange) engine.Ending {
		x.Begin(&engine.Head{Status: 200, Length: 3})
		if _, err := x.Write([]byte("four")); err == nil {
			t.Error("it was taken")
		}
		return engine.Whole
	})
	c := dial(t, addr)
	send(t, c, get)
	if b, _ := io.ReadAll(c); strings.Contains(string(b), "four") {
		t.Errorf("%q", b)
	}
}

// TestLeaving: an exchange ends when its client has left, however it left, once all of
// its request was read, and not before.
func TestLeaving(t *testing.T) {
	for _, c := range []struct {
		name  string
		sent  string
		leave func(c *net.TCPConn) error
		early bool // before the request was answered
	}{
		{"close", get, (*net.TCPConn).Close, false},
		{"half-close", post("/", "x"), (*net.TCPConn).CloseWrite, false},
		{"half-close with the request", get, (*net.TCPConn).CloseWrite, true},
		{"reset", get, func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) }, false},
		{"reset behind a pipelined request", get + get, func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun, done := make(chan struct{}), make(chan error, 2)
			var once sync.Once
			_, addr := start(t, func(x engine.Exchange) engine.Ending {
				if b := x.Request().Body; b != nil {
					_, _ = io.Copy(io.Discard, b)
				}
				once.Do(func() { close(begun) })
				<-x.Context().Done()
				done <- context.Cause(x.Context())
				return engine.Cut
			})
			nc := dial(t, addr)
			send(t, nc, c.sent)
			if !c.early {
				<-begun
			}
			if err := c.leave(nc); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// TestHalfClosePipelined: who closes its direction is taken for gone, whatever it has
// sent before that: other requests, a part of one, or nothing of meaning.
func TestHalfClosePipelined(t *testing.T) {
	for name, behind := range map[string]string{
		"nothing": "", "an empty line": "\r\n", "a letter": "G", "half a head": "GET /b HTTP/1.1\r\nHo",
		"a request": get, "requests": get + post("/b", "x") + get,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, k kind) {
				begun := make(chan struct{}, 9)
				_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
					begun <- struct{}{}
					<-x.Context().Done() // else the test does not end
					return echo(x)
				})
				c := k.dial(t, addr)
				send(t, c, get+behind)
				<-begun
				_ = c.CloseWrite()
				if around, ok := c.(*tls.Conn); ok {
					_ = around.NetConn().(*net.TCPConn).CloseWrite()
				}
				if _, got := answer(t, bufio.NewReader(c), "GET"); got != "GET /a " {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

// TestLeavingRaces: clients leave at the very moment at which their replies end. No
// exchange of another's is ended by that, and nothing is left.
func TestLeavingRaces(t *testing.T) {
	var ended atomic.Int64
	_, addr := start(t, func(x engine.Exchange) engine.Ending {
		if x.Request().Path == "/stays" && x.Context().Err() != nil {
			ended.Add(1)
		}
		defer func() {
			if x.Request().Path == "/stays" && x.Context().Err() != nil {
				ended.Add(1)
			}
		}()
		return echo(x)
	})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 300 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, get)
				if i%2 == 0 {
					_, _ = c.Read(make([]byte, 1))
				}
				_ = c.(*net.TCPConn).SetLinger(i%3 - 1)
				_ = c.Close()
			}
		})
	}
	all.Go(func() {
		c := dial(t, addr)
		r := bufio.NewReader(c)
		for range 600 {
			send(t, c, "GET /stays HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, got := answer(t, r, "GET"); got != "GET /stays " {
				t.Errorf("%q", got)
			}
		}
	})
	all.Wait()
	if ended.Load() > 0 {
		t.Errorf("%d exchanges ended for another's leaving", ended.Load())
	}
}

// TestDescriptorReuse: what a socket had to tell reaches nobody else who has its
// descriptor by then.
func TestDescriptorReuse(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, addr := start(t, func(x engine.Exchange) engine.Ending {
		close(begun)
		<-release
		if x.Context().Err() != nil {
			t.Error("ended for another's leaving")
		}
		return whole(x, 200, "")
	})
	first := dial(t, addr)
	before := s.one(t)
	_ = first.Close()
	testkit.Until(t, "the first one is gone", func() bool { return s.count() == 0 })
	second := dial(t, addr)
	if now := s.one(t); now.number == before.number {
		t.Error("two have one number")
	}
	send(t, second, get)
	<-begun
	s.happened(before.number, gone)
	close(release)
	answer(t, bufio.NewReader(second), "GET")
}

// TestBaseEnds: with the base all exchanges end, with its cause, and so does one that
// begins after.
func TestBaseEnds(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		base, end := context.WithCancelCause(t.Context())
		over := errors.New("over")
		begun, causes := make(chan struct{}, 2), make(chan error, 2)
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			begun <- struct{}{}
			<-x.Context().Done()
			causes <- context.Cause(x.Context())
			return whole(x, 503, "")
		}, func(o *engine.Options) { o.Base = base })
		c := k.dial(t, addr)
		send(t, c, get)
		<-begun
		end(over)
		r := bufio.NewReader(c)
		for range 2 {
			if err := <-causes; !errors.Is(err, over) {
				t.Error(err)
			}
			answer(t, r, "GET")
			send(t, c, get)
		}
		answer(t, r, "GET")
	})
}

// TestSlow: a head, a body and the time between requests are bounded, and who sends
// nothing to its end loses the connection without a word.
func TestSlow(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for name, c := range map[string]struct{ sent, want string }{
			"nothing":        {"", ""},
			"part of a head": {"GET / HTTP/1.1\r\nHos", ""},
			"part of a body": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", "slow"},
			"chunks":         {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "slow"},
			"idle":           {get, "ok"},
			"idle and part":  {get + get[:10], "ok"},
		} {
			t.Run(name, func(t *testing.T) {
				k.inTime(t, 30*time.Millisecond, func(short time.Duration) error {
					_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
						x.SetReadDeadline(time.Now().Add(short))
						if b := x.Request().Body; b != nil {
							if _, err := io.ReadAll(b); !errors.Is(err, os.ErrDeadlineExceeded) {
								t.Errorf("read body: %v", err)
							}
							return whole(x, 408, "slow")
						}
						x.SetReadDeadline(time.Time{})
						time.Sleep(3 * short) // no deadline of reading is one of the reply
						return whole(x, 200, "ok")
					}, func(o *engine.Options) { o.ReadHeaderTimeout, o.IdleTimeout = short, 2*short })
					nc, err := k.connect(t, addr)
					if err != nil {
						return err
					}
					if _, err = io.WriteString(nc, c.sent); err != nil {
						return err
					}
					b, err := io.ReadAll(nc)
					if err != nil || c.want == "" && len(b) > 0 || !strings.HasSuffix(string(b), c.want) {
						return fmt.Errorf("%q, %w", b, err)
					}
					return nil
				})
			})
		}
	})
}

// TestLate: a request that came in time is answered, though nobody could look at it
// before its deadline was over.
func TestLate(t *testing.T) {
	s, addr := start(t, echo, func(o *engine.Options) { o.ReadHeaderTimeout = 50 * time.Millisecond })
	testkit.Until(t, "it serves", func() bool { // which the connections below are not given to
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for sent, want := range map[string]string{get: "GET /a ", get[:10]: "", "": ""} {
		nc := dial(t, l.Addr().String())
		send(t, nc, sent)
		own, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := own.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		testkit.Until(t, "it has come", func() bool { return sent == "" || waiting(raw) })
		c := newConn(s, own, own, raw)
		if !s.add(c) {
			t.Fatal("closed")
		}
		c.reading.set(1)
		testkit.Until(t, "the deadline is over", func() bool { return c.reading.at.Load() == fired })
		served := make(chan struct{})
		go func() { c.serve(); close(served) }()
		if want != "" {
			if _, got := answer(t, bufio.NewReader(nc), "GET"); got != want {
				t.Errorf("%q", got)
			}
			_ = nc.Close()
		} else if b, err := io.ReadAll(nc); len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q is answered %q, %v", sent, b, err)
		}
		<-served
	}
}

// TestNothingTaken: a client that takes nothing is given up, one that takes something
// now and then is not.
func TestNothingTaken(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		failed := make(chan error, 1)
		large := bytes.Repeat([]byte("x"), 32<<20)
		begin := func(timeout time.Duration) (client, error) {
			_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
				_, err := x.Whole(&engine.Head{Status: 200}, large)
				failed <- err
				if err != nil {
					<-x.Context().Done()
					return engine.Cut
				}
				return engine.Whole
			}, func(o *engine.Options) { o.WriteTimeout = func() time.Duration { return timeout } })
			c, err := k.connect(t, addr)
			if err == nil {
				_, err = io.WriteString(c, get)
			}
			return c, err
		}
		k.inTime(t, 50*time.Millisecond, func(timeout time.Duration) error {
			c, err := begin(timeout)
			if err != nil { // of the handshake
				return err
			}
			k.fewBytes(c)
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
			return nil
		})
		k.inTime(t, 50*time.Millisecond, func(timeout time.Duration) error {
			slow, err := begin(timeout)
			if err != nil {
				return err
			}
			for begun := time.Now(); time.Since(begun) < 4*timeout && err == nil; time.Sleep(timeout / 10) {
				_, err = io.CopyN(io.Discard, slow, 64<<10)
			}
			if err == nil {
				_, err = io.CopyN(io.Discard, slow, int64(len(large))/2)
			}
			go func() { _, _ = io.Copy(io.Discard, slow) }()
			if werr := <-failed; werr != nil {
				return fmt.Errorf("one that takes something: %w, %w", werr, err)
			}
			return nil
		})
	})
}

// TestGiveUp: who is given up gets nothing more, at once.
func TestGiveUp(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			x.Begin(&engine.Head{Status: 200, Length: -1})
			time.AfterFunc(10*time.Millisecond, x.GiveUp)
			piece := make([]byte, 1<<20)
			for range 1000 {
				if _, err := x.Write(piece); err != nil {
					if !errors.Is(err, os.ErrDeadlineExceeded) || !x.GivenUp() {
						t.Errorf("%v, given up: %v", err, x.GivenUp())
					}
					return engine.Cut
				}
			}
			t.Error("nobody was given up")
			return engine.Cut
		})
		c := k.dial(t, addr)
		send(t, c, get)
		_, _ = io.ReadFull(c, make([]byte, 100))
		time.Sleep(30 * time.Millisecond)
		_, _ = io.Copy(io.Discard, c)
	})
}

// moves counts.
type moves struct{ n int }

func (m *moves) Moved() { m.n++ }

// TestFollow: each piece leaves before Write returns, and is told of.
func TestFollow(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		var m moves
		got := make(chan struct{})
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			x.Follow(&m)
			x.Begin(&engine.Head{Status: 200, Length: -1})
			if _, err := x.Write([]byte("one")); err != nil || m.n != 1 {
				t.Errorf("%d, %v", m.n, err)
			}
			<-got
			return engine.Whole
		})
		c := k.dial(t, addr)
		send(t, c, get)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		close(got)
	})
}

// TestExpect: 100 comes when the body is first read and not before, and never where
// the reply was first or the body has come.
func TestExpect(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			if x.Request().Path == "/refused" {
				return whole(x, 401, "no")
			}
			return echo(x)
		})
		const head = " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
		t.Run("told", func(t *testing.T) {
			c := k.dial(t, addr)
			r := bufio.NewReader(c)
			for range 2 {
				send(t, c, "POST /a"+head)
				if line, _ := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
					t.Fatalf("%q", line)
				}
				_, _ = r.ReadString('\n')
				send(t, c, "body")
				if _, got := answer(t, r, "POST"); got != "POST /a body" {
					t.Errorf("%q", got)
				}
			}
		})
		t.Run("refused", func(t *testing.T) {
			c := k.dial(t, addr)
			send(t, c, "POST /refused"+head)
			_ = c.CloseWrite()
			if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 401 ") || !strings.Contains(string(b), "Connection: close\r\n") {
				t.Errorf("%q, %v", b, err)
			}
		})
		t.Run("came", func(t *testing.T) {
			c := k.dial(t, addr)
			send(t, c, "POST /a"+head+"body")
			if res, got := answer(t, bufio.NewReader(c), "POST"); res.StatusCode != 200 || got != "POST /a body" {
				t.Errorf("%d %q", res.StatusCode, got)
			}
		})
		t.Run("something else", func(t *testing.T) {
			c := k.dial(t, addr)
			send(t, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: a-miracle\r\n\r\n")
			if res, got := answer(t, bufio.NewReader(c), "POST"); res.StatusCode != 417 || !strings.Contains(got, `"code":`) {
				t.Errorf("%d %q", res.StatusCode, got)
			}
		})
	})
}

// TestUnread: who sends a body that nobody wants sees the reply, not a reset, however
// large it is. A small one leaves the connection as it is.
func TestUnread(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			x.SetReadDeadline(time.Now().Add(patience))
			return whole(x, 401, "no")
		})
		for _, size := range []int{10, 100_000, 1 << 20} {
			c := k.dial(t, addr)
			r := bufio.NewReader(c)
			for range 2 {
				go func() { _, _ = io.WriteString(c, post("/", strings.Repeat("x", size))) }()
				if res, got := answer(t, r, "POST"); res.StatusCode != 401 || got != "no" {
					t.Errorf("%d %q", res.StatusCode, got)
				}
				if size > maxUnread {
					if _, err := r.ReadByte(); err != io.EOF { // a reset is another error
						t.Errorf("%d bytes: %v", size, err)
					}
					break
				}
			}
		}
	})
}

// TestUnreadSlowly: who takes longer to send such a body than an engine lingers for who sends
// nothing sees the reply too.
func TestUnreadSlowly(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		t.Parallel()
		_, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			x.SetReadDeadline(time.Now().Add(patience))
			return whole(x, 503, "no room")
		})
		c := k.dial(t, addr)
		piece := strings.Repeat("x", 64<<10)
		const pieces = 6
		send(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", pieces*len(piece)))
		for range pieces {
			time.Sleep(lingerPause / 4)
			send(t, c, piece)
		}
		if res, got := answer(t, bufio.NewReader(c), "POST"); res.StatusCode != 503 || got != "no room" {
			t.Errorf("%d %q", res.StatusCode, got)
		}
	})
}

// TestRefusals: what is no request is answered in the shape of all errors, and the
// connection closed so that the answer can be read.
func TestRefusals(t *testing.T) {
	_, addr := start(t, echo, func(o *engine.Options) { o.MaxHeaderBytes = 8 << 10 })
	long := strings.Repeat("a", 20<<10)
	for text, status := range map[string]int{
		"\x16\x03\x01\x02\x00\x01\x00":                                                   400,
		"GET / HTTP/1.1\r\n\r\n":                                                         400,
		"GET /" + long:                                                                   414,
		"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + long:                                      431,
		"GET / HTTP/3.0\r\nHost: x\r\n\r\n":                                              505,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n":                  501,
		get + "GET / HTTP/1.1\r\nHost : x\r\n\r\n" + get:                                 400,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": 400,
	} {
		c := dial(t, addr)
		go func() { _, _ = io.WriteString(c, text) }()
		b, err := io.ReadAll(c)
		_, last, found := strings.Cut(string(b), fmt.Sprintf("HTTP/1.1 %d ", status))
		if err != nil || !found || !strings.Contains(last, `{"error":{"message":"`) || !strings.Contains(last, "Connection: close\r\n") {
			t.Errorf("%.60q: %q, %v", text, b, err)
		}
	}
}

// TestHijack: the connection is given away with what was read of it.
func TestHijack(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		k.inTime(t, 50*time.Millisecond, func(timeout time.Duration) error {
			failed := make(chan error, 1)
			s, addr := k.start(t, func(x engine.Exchange) engine.Ending {
				c, early, err := x.Hijack()
				if err != nil {
					t.Error(err)
					return engine.Cut
				}
				defer c.Close()
				_, _ = fmt.Fprintf(c, "early %s", early)
				b := make([]byte, 5)
				if _, err = io.ReadFull(c, b); err == nil && string(b) != "later" {
					t.Errorf("%q", b)
				}
				if err == nil {
					_, err = c.Write(make([]byte, 32<<20))
				}
				failed <- err
				return engine.Whole
			}, func(o *engine.Options) { o.WriteTimeout = func() time.Duration { return timeout } })
			c, err := k.connect(t, addr)
			if err != nil {
				return err
			}
			send(t, c, get+"bytes")
			b := make([]byte, len("early bytes"))
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "early bytes" {
				_ = c.Close()
				return fmt.Errorf("%q, %w", b, err)
			}
			send(t, c, "later")
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("one that takes nothing: %v", err)
			}
			testkit.Until(t, "it is closed", func() bool { return s.count() == 0 })
			return nil
		})
	})
}

// TestShutdown: what waits is closed, and what is under way ends first.
func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		begun, release := make(chan struct{}), make(chan struct{})
		s, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			if x.Request().Path == "/first" {
				return whole(x, 200, "")
			}
			close(begun)
			<-release
			return whole(x, 200, "ok")
		})
		waits, busy := k.dial(t, addr), k.dial(t, addr)
		r := bufio.NewReader(waits)
		send(t, waits, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
		answer(t, r, "GET")
		send(t, busy, get)
		<-begun
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		if _, err := r.ReadByte(); err != io.EOF { // a reset is another error
			t.Errorf("one that waits: %v", err)
		}
		close(release)
		if res, got := answer(t, bufio.NewReader(busy), "GET"); got != "ok" || !res.Close {
			t.Errorf("%q, closes: %v", got, res.Close)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("it still accepts")
		}
	})
}

// TestShutdownIsBounded: what does not end is waited for until the context is done.
func TestShutdownIsBounded(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		begun := make(chan struct{})
		s, addr := k.start(t, func(x engine.Exchange) engine.Ending {
			close(begun)
			<-x.Context().Done()
			return engine.Cut
		})
		send(t, k.dial(t, addr), get)
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestCloseEndsWhatBegins: a request that was read before the Server was closed, and
// begins after, ends at once, whatever its client does.
func TestCloseEndsWhatBegins(t *testing.T) {
	s, addr := start(t, echo)
	dial(t, addr)
	c := s.one(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := new(lifetime.Context)
	c.begins(ctx)
	if ctx.Err() == nil {
		t.Error("it goes on")
	}
	c.finished()
}

// TestShutdownBeside: connections of HTTP/2 are told at once, and do not wait for those
// of HTTP/1 to end.
func TestShutdownBeside(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, addr := start(t, func(x engine.Exchange) engine.Ending {
		if x.Request().Path == "/a" {
			close(begun)
			<-release
		}
		return echo(x)
	})
	two := dial(t, addr)
	send(t, two, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
	_ = two.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(two, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	one := dial(t, addr)
	send(t, one, get)
	<-begun
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	if _, err := io.Copy(io.Discard, two); err != nil {
		t.Errorf("HTTP/2 goes on: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOver: HTTP/2 is spoken by the engine beside, and so is what is on no socket.
func TestOver(t *testing.T) {
	s, addr := start(t, echo)
	client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/two", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if res.Body.Close(); err != nil || res.ProtoMajor != 2 || string(b) != "POST /two body" {
		t.Errorf("%s %q, %v", res.Proto, b, err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go s.accept(ours)
	_ = theirs.SetDeadline(time.Now().Add(patience))
	send(t, theirs, get)
	if _, got := answer(t, bufio.NewReader(theirs), "GET"); got != "GET /a " {
		t.Errorf("%q", got)
	}
	// What only begins like it is a request that cannot be read.
	c := dial(t, addr)
	send(t, c, "PRI * HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, _ := answer(t, bufio.NewReader(c), "GET"); res.StatusCode != 400 {
		t.Errorf("%d", res.StatusCode)
	}
}

// waiting reports whether a socket has bytes that nobody has read.
func waiting(socket syscall.RawConn) bool {
	n := 0
	err := socket.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
