package http1

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// readRequest takes one request off a bare socket.
func readRequest(nc net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(nc))
	if err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

func reset(nc net.Conn) {
	_ = nc.(*net.TCPConn).SetLinger(0)
	_ = nc.Close()
}

func TestCutsOverASocket(t *testing.T) {
	const head = ok + "Content-Length: 10\r\n\r\n01234"
	tests := []struct {
		name  string
		serve func(net.Conn)
		got   bool
		cause error // nil: any
	}{
		{"close at once", func(nc net.Conn) { readRequest(nc) }, false, io.EOF},
		{"reset at once", func(nc net.Conn) { readRequest(nc); reset(nc) }, false, nil},
		{"close in the head", func(nc net.Conn) { readRequest(nc); _, _ = nc.Write([]byte(ok)) }, true, io.ErrUnexpectedEOF},
		{"close in the body", func(nc net.Conn) { readRequest(nc); _, _ = nc.Write([]byte(head)) }, true, io.ErrUnexpectedEOF},
		{"reset in the body", func(nc net.Conn) { readRequest(nc); _, _ = nc.Write([]byte(head)); reset(nc) }, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dialRaw(t, Limits{}, tt.serve)
			_, _, err := exchange(c, post("{}"))
			if err == nil || tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("error %v, want %v", err, tt.cause)
			}
			if tt.cause == nil && errors.Is(err, io.EOF) {
				t.Errorf("a reset looks like a sound end: %v", err)
			}
			if c.GotBytes() != tt.got && tt.cause != nil || c.Reusable() {
				t.Errorf("got bytes %v, reusable %v", c.GotBytes(), c.Reusable())
			}
		})
	}
}

func TestDeadlineInterrupts(t *testing.T) {
	wait := make(chan struct{})
	c := dialRaw(t, Limits{}, func(nc net.Conn) { readRequest(nc); <-wait })
	defer close(wait)
	if err := c.WriteRequest(post("{}")); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = c.NetConn().SetReadDeadline(time.Unix(1, 0)) })
	if err := c.ReadHead(new(Head)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadHead: %v", err)
	}
	if c.Reusable() || c.GotBytes() {
		t.Error("the connection counts as reusable or as answered")
	}
}

// TestEarlyReply has an upstream that answers 413 without reading the body and
// closes, which resets the connection while the request is being written.
func TestEarlyReply(t *testing.T) {
	serve := func(nc net.Conn) {
		_, _ = nc.Read(make([]byte, 100))
		_, _ = nc.Write([]byte("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"))
	}
	const size = 64 << 20
	for name, r := range map[string]*Request{
		"held":    {Body: [3][]byte{1: make([]byte, size)}},
		"read":    {BodyReader: io.LimitReader(zeros{}, size), BodyLen: size},
		"chunked": {BodyReader: io.LimitReader(zeros{}, size), BodyLen: -1},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, Limits{}, serve)
			r.Method, r.Target, r.Host = "POST", "/", "a"
			err := c.WriteRequest(r)
			var we *WriteError
			if err != nil && !errors.As(err, &we) {
				t.Fatal(err)
			}
			var h Head
			if err := c.ReadHead(&h); err != nil {
				t.Fatal(err)
			}
			body, err := readAll(c)
			if h.Status != 413 || string(body) != "big" || err != nil || c.Reusable() {
				t.Errorf("status %d, body %q, %v, reusable %v", h.Status, body, err, c.Reusable())
			}
		})
	}
}

// TestEarlyReplyKeptOpen has an upstream that answers early, reads no more and
// does not close, so that no write would ever fail.
func TestEarlyReplyKeptOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("early replies are seen on Linux only")
	}
	wait, answered := make(chan struct{}), make(chan struct{})
	c := dialRaw(t, Limits{}, func(nc net.Conn) {
		_, _ = nc.Read(make([]byte, 100))
		_, _ = nc.Write([]byte("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"))
		close(answered)
		<-wait
	})
	defer close(wait)
	pieces := 0
	body := readerFunc(func(b []byte) (int, error) {
		if pieces++; pieces == 2 {
			<-answered
		}
		return len(b[:1]), nil // without end
	})
	if err := c.WriteRequest(&Request{Method: "POST", Target: "/", Host: "a", BodyReader: body, BodyLen: -1}); err != nil {
		t.Fatal(err)
	}
	var h Head
	if err := c.ReadHead(&h); err != nil || h.Status != 401 || c.Reusable() {
		t.Errorf("status %d, %v, reusable %v", h.Status, err, c.Reusable())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestBodyReaderFails(t *testing.T) {
	broken := errors.New("client went away")
	for name, tt := range map[string]struct {
		length int64
		body   io.Reader
		want   error
	}{
		"error":              {10, io.MultiReader(strings.NewReader("abc"), readerFunc(func([]byte) (int, error) { return 0, broken })), broken},
		"error in chunks":    {-1, readerFunc(func([]byte) (int, error) { return 0, broken }), broken},
		"short":              {10, strings.NewReader("abc"), io.ErrUnexpectedEOF},
		"no progress":        {10, readerFunc(func([]byte) (int, error) { return 0, nil }), io.ErrNoProgress},
		"error with its end": {3, readerFunc(func(b []byte) (int, error) { return copy(b, "abc"), io.EOF }), nil},
	} {
		c := NewConn(&script{}, Limits{})
		err := c.WriteRequest(&Request{Method: "POST", Target: "/", Host: "a", BodyReader: tt.body, BodyLen: tt.length})
		var be *BodyError
		if !errors.Is(err, tt.want) || errors.As(err, &be) != (tt.want != nil) || c.Reusable() {
			t.Errorf("%s: %v, reusable %v", name, err, c.Reusable())
		}
	}
}

func TestRequestSplitting(t *testing.T) {
	field := func(name, value string) func(*Request) {
		return func(r *Request) { r.Header = append(r.Header, llm.Field{Name: name, Value: value}) }
	}
	for name, change := range map[string]func(*Request){
		"CR in a value":       field("X", "a\rb"),
		"LF in a value":       field("X", "a\nb"),
		"CRLF in a value":     field("X", "a\r\nContent-Length: 0\r\n\r\nGET /admin HTTP/1.1"),
		"NUL in a value":      field("X", "a\x00b"),
		"DEL in a value":      field("X", "\x7f"),
		"empty name":          field("", "a"),
		"space in a name":     field("X ", "a"),
		"colon in a name":     field("X:", "a"),
		"CRLF in a name":      field("X\r\nY", "a"),
		"own length":          field("Content-Length", "0"),
		"own length, cased":   field("content-LENGTH", "0"),
		"own coding":          field("Transfer-Encoding", "chunked"),
		"own host":            field("Host", "b"),
		"own connection":      field("Connection", "close"),
		"own expectation":     field("Expect", "100-continue"),
		"upgrade":             field("Upgrade", "websocket"),
		"TE":                  field("TE", "trailers"),
		"trailer":             field("Trailer", "X"),
		"keep-alive":          field("Keep-Alive", "timeout=5"),
		"space in the target": func(r *Request) { r.Target = "/ HTTP/1.1" },
		"CRLF in the target":  func(r *Request) { r.Target = "/\r\nX: y" },
		"UTF-8 in the target": func(r *Request) { r.Target = "/é" },
		"no target":           func(r *Request) { r.Target = "" },
		"CRLF in the host":    func(r *Request) { r.Host = "a\r\nX: y" },
		"no host":             func(r *Request) { r.Host = "" },
		"space in the method": func(r *Request) { r.Method = "GET /x" },
		"no method":           func(r *Request) { r.Method = "" },
		"CONNECT":             func(r *Request) { r.Method = "CONNECT" },
		"large streamed head": func(r *Request) { field("X", strings.Repeat("a", 40<<10))(r); r.BodyReader = zeros{} },
	} {
		s := &script{}
		c := NewConn(s, Limits{})
		r := post("{}")
		change(r)
		err := c.WriteRequest(r)
		var re *RequestError
		if !errors.As(err, &re) || s.wrote.Len() > 0 || !c.Reusable() {
			t.Errorf("%s: %v, wrote %q, reusable %v", name, err, s.wrote.Bytes(), c.Reusable())
		}
	}
}

func TestOneWrite(t *testing.T) {
	for _, n := range []int{0, 600, 5 << 10, 15 << 10} {
		s := &script{pieces: [][]byte{[]byte(ok + "Content-Length: 0\r\n\r\n")}}
		c := NewConn(s, Limits{})
		if err := c.WriteRequest(post(strings.Repeat("x", n))); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadRequest(bufio.NewReader(&s.wrote))
		if err != nil || s.writes != 1 || r.ContentLength != int64(n) || r.Host != "model.test" {
			t.Errorf("%d bytes: %d writes, %+v, %v", n, s.writes, r, err)
		}
	}
	s := &script{}
	if err := NewConn(s, Limits{}).WriteRequest(&Request{Method: "GET", Target: "/v1/models", Host: "a"}); err != nil {
		t.Fatal(err)
	}
	if got := s.wrote.String(); got != "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" {
		t.Errorf("GET: %q", got)
	}
	s = &script{}
	if err := NewConn(s, Limits{}).WriteRequest(&Request{Method: "POST", Target: "/", Host: "a", BodyReader: strings.NewReader("{}"), BodyLen: 2}); err != nil {
		t.Fatal(err)
	}
	if s.writes != 1 {
		t.Errorf("a streamed body that came at once took %d writes", s.writes)
	}
}

func TestStale(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Stale looks at sockets on Linux only")
	}
	for name, do := range map[string]func(net.Conn){
		"closed":            func(nc net.Conn) { _ = nc.Close() },
		"reset":             reset,
		"half-closed":       func(nc net.Conn) { _ = nc.(*net.TCPConn).CloseWrite() },
		"unsolicited bytes": func(nc net.Conn) { _, _ = nc.Write([]byte("HTTP/1.1 408 Timeout\r\n\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			begin, end := make(chan struct{}), make(chan struct{})
			c := dialRaw(t, Limits{}, func(nc net.Conn) {
				readRequest(nc)
				_, _ = nc.Write([]byte(ok + "Content-Length: 0\r\n\r\n"))
				<-begin
				do(nc)
				<-end
			})
			defer close(end)
			if _, _, err := exchange(c, post("{}")); err != nil {
				t.Fatal(err)
			}
			if c.Stale() {
				t.Error("stale while nothing has happened")
			}
			close(begin)
			testkit.Until(t, "stale", c.Stale)
		})
	}
}

// TestStaleTLS has session tickets wait on a connection that was opened but
// never used, which must not look like unsolicited bytes.
func TestStaleTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	srv.StartTLS()
	defer srv.Close()
	nc, err := tls.Dial("tcp", srv.Listener.Addr().String(), srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	c := NewConn(nc, Limits{})
	time.Sleep(20 * time.Millisecond) // for the tickets, if they come later
	if c.Stale() {
		t.Error("stale before its first request")
	}
	for range 2 {
		if _, body, err := exchange(c, post("{}")); err != nil || !bytes.Equal(body, []byte("{}")) {
			t.Fatalf("%q, %v", body, err)
		}
		if !c.Reusable() || c.Stale() {
			t.Errorf("reusable %v, stale %v", c.Reusable(), c.Stale())
		}
	}
	srv.CloseClientConnections()
	if runtime.GOOS == "linux" {
		testkit.Until(t, "stale", c.Stale)
	}
}

func TestStaleOfNoSocket(t *testing.T) {
	if NewConn(&script{}, Limits{}).Stale() {
		t.Error("stale although nothing can be known")
	}
}
