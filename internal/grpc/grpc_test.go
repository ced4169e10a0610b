package grpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice/internal/testkit"
)

// text is a message that holds a string, and back.
func text(s string) []byte {
	b, err := proto.Marshal(wrapperspb.String(s))
	if err != nil {
		panic(err)
	}
	return b
}

func textOf(t *testing.T, b []byte) string {
	t.Helper()
	var m wrapperspb.StringValue
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m.GetValue()
}

// handler answers one call of any method.
type handler func(method string, s grpc.ServerStream) error

// peer starts a gRPC server on a listener.
func peer(t *testing.T, l net.Listener, h handler, o ...grpc.ServerOption) {
	t.Helper()
	s := grpc.NewServer(append(o, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		return h(method, stream)
	}))...)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// at starts a gRPC server and gives its address.
func at(t *testing.T, h handler, o ...grpc.ServerOption) string {
	l := listen(t, "tcp", "127.0.0.1:0")
	peer(t, l, h, o...)
	return l.Addr().String()
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	if o.MaxReply == 0 {
		o.MaxReply = 1 << 20
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// echo answers with the method and the message that came.
func echo(method string, s grpc.ServerStream) error {
	var m wrapperspb.StringValue
	if err := s.RecvMsg(&m); err != nil {
		return err
	}
	return s.SendMsg(wrapperspb.String(method + " " + m.GetValue()))
}

func code(err error) Code {
	var s *Status
	if !errors.As(err, &s) {
		return OK
	}
	return s.Code
}

// failing expects an error of a code that says something.
func failing(t *testing.T, err error, want Code, says string) {
	t.Helper()
	if err == nil || code(err) != want || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want %v with %q", err, want, says)
	}
}

func TestCall(t *testing.T) {
	long := strings.Repeat("long ", 100_000) // more than windows hold
	for name, gzip := range map[string]bool{"plain": false, "gzip": true} {
		t.Run(name, func(t *testing.T) {
			var header metadata.MD
			var left time.Duration
			addr := at(t, func(method string, s grpc.ServerStream) error {
				header, _ = metadata.FromIncomingContext(s.Context())
				deadline, _ := s.Context().Deadline()
				left = time.Until(deadline)
				return echo(method, s)
			})
			c := client(t, Options{Target: addr, Gzip: gzip, UserAgent: "test/1", Header: map[string]string{"Authorization": "Bearer x"}})
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			for _, message := range []string{"", "short", long} {
				reply, err := c.Call(ctx, "/a.B/C", text(message))
				if err != nil {
					t.Fatal(err)
				}
				if got := textOf(t, reply); got != "/a.B/C "+message {
					t.Errorf("%d bytes came: %.50q", len(got), got)
				}
			}
			if header.Get("authorization")[0] != "Bearer x" || header.Get("user-agent")[0] != "test/1" || left > time.Hour || left < 50*time.Minute {
				t.Errorf("header %v, time %v", header, left)
			}
		})
	}
}

func TestStream(t *testing.T) {
	addr := at(t, func(method string, s grpc.ServerStream) error {
		for {
			err := echo(method, s)
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
	s := client(t, Options{Target: "dns:///" + addr}).Stream(context.Background(), "/a.B/C")
	for _, m := range []string{"one", "two"} {
		if err := s.Send(text(m)); err != nil {
			t.Fatal(err)
		}
		reply, err := s.Receive()
		if err != nil || textOf(t, reply) != "/a.B/C "+m {
			t.Errorf("%q, %v", reply, err)
		}
	}
	s.Close()
	if _, err := s.Receive(); code(err) != Canceled {
		t.Errorf("after the end: %v", err)
	}
}

// A server that ends a stream of itself says so to whoever sends or receives.
func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]error{"well": nil, "badly": status.Error(codes.NotFound, "no")} {
		t.Run(name, func(t *testing.T) {
			addr := at(t, func(string, grpc.ServerStream) error { return end })
			s := client(t, Options{Target: addr}).Stream(context.Background(), "/a.B/C")
			defer s.Close()
			for s.Send(text("x")) == nil { // until the server's end is here
			}
			_, err := s.Receive()
			if end == nil && err != io.EOF || end != nil && code(err) != NotFound {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	addr := at(t, echo, grpc.Creds(credentials.NewServerTLSFromCert(&s.TLS.Certificates[0])))
	if _, err := client(t, Options{Target: addr, TLS: &tls.Config{RootCAs: pool}}).Call(context.Background(), "/a.B/C", text("x")); err != nil {
		t.Error(err)
	}
	_, err := client(t, Options{Target: addr, TLS: &tls.Config{}}).Call(context.Background(), "/a.B/C", text("x"))
	failing(t, err, Unavailable, "unknown authority")
	_, err = client(t, Options{Target: addr}).Call(context.Background(), "/a.B/C", text("x"))
	failing(t, err, Unavailable, "")
	_, err = client(t, Options{Target: s.Listener.Addr().String(), TLS: &tls.Config{RootCAs: pool}}).Call(context.Background(), "/a.B/C", text("x"))
	failing(t, err, Unavailable, "") // HTTP/1.1 alone
}

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{ // host, and socket
		"a.example:4317":              "a.example:4317",
		"a.example":                   "a.example",
		"[::1]:4317":                  "[::1]:4317",
		"dns:///a.example:1":          "a.example:1",
		"dns:a.example:1":             "a.example:1",
		"passthrough:///127.0.0.1:80": "127.0.0.1:80",
		"unix:///run/c.sock":          "localhost /run/c.sock",
		"unix:c.sock":                 "localhost c.sock",
		"unix-abstract:c":             "localhost @c",
		"":                            "",
		"a/b":                         "",
		"user@a":                      "",
		"dns://8.8.8.8/a.example":     "",
		"a?b":                         "",
	} {
		host, socket, err := parseTarget(target)
		got := strings.TrimSpace(host + " " + socket)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", target, got, err)
		}
	}
	for _, bad := range []string{"a b:1", "[::1:1", "%zz"} {
		if _, err := New(Options{Target: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	peer(t, listen(t, "unix", path), echo)
	if _, err := client(t, Options{Target: "unix://" + path}).Call(context.Background(), "/a.B/C", text("x")); err != nil {
		t.Error(err)
	}
}

// A proxy in the environment is asked for a tunnel, in cleartext too, and with its
// credentials.
func TestProxy(t *testing.T) {
	addr := at(t, echo)
	asked := make(chan string, 1)
	via := testkit.Listen(t, func(_ int, c net.Conn) {
		head := make([]byte, 0, 1024)
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			var one [1]byte
			if _, err := c.Read(one[:]); err != nil {
				return
			}
			head = append(head, one[0])
		}
		asked <- string(head)
		to, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(to, c)
			to.Close()
		}()
		io.Copy(c, to)
	})
	t.Setenv("HTTPS_PROXY", "http://me:secret@"+via)
	c := client(t, Options{Target: "collector.example:4317"})
	if _, err := c.Call(context.Background(), "/a.B/C", text("x")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if head := <-asked; !strings.HasPrefix(head, "CONNECT collector.example:4317 HTTP/1.1\r\n") || !strings.Contains(head, "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") {
		t.Errorf("asked by %q", head)
	}
	t.Setenv("HTTPS_PROXY", "socks5://"+via)
	_, err := client(t, Options{Target: "collector.example:4317"}).Call(context.Background(), "/a.B/C", nil)
	failing(t, err, Unavailable, `proxy scheme "socks5"`)
	t.Setenv("HTTPS_PROXY", "http://"+testkit.Vacant(t))
	_, err = client(t, Options{Target: "collector.example:4317"}).Call(context.Background(), "/a.B/C", nil)
	failing(t, err, Unavailable, "connect to proxy")
}

func TestStatus(t *testing.T) {
	detailed, err := status.New(codes.ResourceExhausted, "wait, 100 % full\nä").WithDetails(
		&errdetails.ErrorInfo{Reason: "r"}, &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	addr := at(t, func(string, grpc.ServerStream) error { return detailed.Err() })
	_, err = client(t, Options{Target: addr}).Call(context.Background(), "/a.B/C", nil)
	var s *Status
	if !errors.As(err, &s) || s.Code != ResourceExhausted || s.Message != "wait, 100 % full\nä" || !s.HasRetryDelay || s.RetryDelay != 1500*time.Millisecond {
		t.Errorf("%+v", s)
	}
	for c := range Code(17) {
		if want := codes.Code(c).String(); c.String() != want {
			t.Errorf("%v is %s", want, c)
		}
	}
	if got := Code(99).String(); got != codes.Code(99).String() {
		t.Error(got)
	}
}

// What a server says that is too long, none of gRPC's, or cut short is an error.
func TestBadServers(t *testing.T) {
	head := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
	}
	end := func(w http.ResponseWriter) { w.Header().Set("Grpc-Status", "0") }
	frame := func(first byte, size int, content string) string {
		return string([]byte{first, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}) + content
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   Code
		says   string
	}{
		"no gRPC":    {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, Unknown, "text/html"},
		"similar":    {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/grpc-web") }, Unknown, "grpc-web"},
		"no method":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, Unimplemented, "404"},
		"no leave":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, Unauthenticated, "401"},
		"refused":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, PermissionDenied, "403"},
		"overloaded": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, Unavailable, "503"},
		"bad":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, Internal, "400"},
		"no status":  {func(w http.ResponseWriter, _ *http.Request) { head(w) }, Internal, "without a status"},
		"no reply":   {func(w http.ResponseWriter, _ *http.Request) { head(w); w.WriteHeader(200); end(w) }, Internal, "no reply"},
		"two replies": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			io.WriteString(w, frame(0, 0, "")+frame(0, 0, ""))
			end(w)
		}, Internal, "more than one"},
		"cut in head":    {func(w http.ResponseWriter, _ *http.Request) { head(w); io.WriteString(w, "\x00\x00"); end(w) }, Internal, "within a message"},
		"cut in message": {func(w http.ResponseWriter, _ *http.Request) { head(w); io.WriteString(w, frame(0, 9, "x")); end(w) }, Internal, "within a message"},
		"too large":      {func(w http.ResponseWriter, _ *http.Request) { head(w); io.WriteString(w, frame(0, 2<<20, "x")) }, ResourceExhausted, "larger than max"},
		"odd flag":       {func(w http.ResponseWriter, _ *http.Request) { head(w); io.WriteString(w, frame(7, 0, "")) }, Internal, "begins with 7"},
		"odd coding": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			w.Header().Set("Grpc-Encoding", "snappy")
			io.WriteString(w, frame(1, 1, "x"))
		}, Internal, "snappy"},
		"no gzip": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			w.Header().Set("Grpc-Encoding", "gzip")
			io.WriteString(w, frame(1, 1, "x"))
		}, Internal, "decompress"},
		"bomb": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			w.Header().Set("Grpc-Encoding", "gzip")
			zeros, _ := (&Client{gzip: true}).frame(make([]byte, 64<<20))
			w.Write(zeros)
		}, ResourceExhausted, "larger than max"},
		"dies": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			io.WriteString(w, frame(0, 9, "x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, Unavailable, ""},
		"endless head": {func(w http.ResponseWriter, _ *http.Request) {
			head(w)
			for i := range 3000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("y", 100))
			}
		}, Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(c.answer)
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			defer s.Close()
			_, err := client(t, Options{Target: s.Listener.Addr().String()}).Call(context.Background(), "/a.B/C", text("x"))
			failing(t, err, c.code, c.says)
		})
	}
}

// Nobody is there, or says nothing, and who has called leaves.
func TestAbsent(t *testing.T) {
	_, err := client(t, Options{Target: testkit.Vacant(t)}).Call(context.Background(), "/a.B/C", nil)
	failing(t, err, Unavailable, "connection refused")

	silent := testkit.Listen(t, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
	c := client(t, Options{Target: silent})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = c.Call(ctx, "/a.B/C", nil)
	failing(t, err, DeadlineExceeded, "")

	came := make(chan struct{})
	addr := at(t, func(_ string, s grpc.ServerStream) error {
		close(came)
		<-s.Context().Done()
		return nil
	})
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		<-came
		cancel()
	}()
	_, err = client(t, Options{Target: addr}).Call(ctx, "/a.B/C", nil)
	failing(t, err, Canceled, "")
}

func TestTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0n", 1: "1n", time.Second: "1000000u", 10 * time.Second: "10000000u", 1000 * time.Second: "1000000m",
		200_000 * time.Second: "200000S", 1 << 62: "1281024H",
	} {
		if got := Timeout(d); got != want || len(got) > 9 {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// Whatever comes is a message within its bound, or an error.
func FuzzReply(f *testing.F) {
	packed, _ := (&Client{gzip: true}).frame([]byte("hello"))
	f.Add([]byte("\x00\x00\x00\x00\x02ab"), "0", "", "")
	f.Add(packed, "5", "not%20there%", "CAUSBWhlbGxv")
	f.Add([]byte("\x01\xff\xff\xff\xff"), "x", "%zz%f", "=")
	f.Fuzz(func(t *testing.T, body []byte, code, message, details string) {
		const most = 1 << 10
		from := bytes.NewReader(body)
		for {
			m, compressed, err := readFrame(from, most)
			if err != nil {
				break
			}
			if compressed {
				if m, err = Decompress(m, codingGzip, most); err != nil {
					continue
				}
			}
			if len(m) > most {
				t.Errorf("%d bytes", len(m))
			}
		}
		end := http.Header{StatusField: {code}, messageField: {message}, detailsField: {details}}
		err := Ended(end.Get)
		var s *Status
		if errors.As(err, &s) && (s.Code == OK || s.RetryDelay < 0) || s == nil && err != io.EOF {
			t.Errorf("%#v", err)
		}
	})
}
