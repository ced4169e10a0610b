package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// raw sends bytes as they are and returns all that comes back until the
// connection ends.
func (s *site) raw(t *testing.T, text string) string {
	t.Helper()
	return s.send(t, text, true)
}

// send sends bytes as they are. With whole it says that no more will come, which
// is taken for leaving where the reply is an error.
func (s *site) send(t *testing.T, text string, whole bool) string {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if whole {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

// TestSmuggling sends requests whose end two readers could see in different
// places. Each must be refused, or be read in the one way that RFC 9112 gives,
// and a request hidden in a body must never be served.
func TestSmuggling(t *testing.T) {
	var mu sync.Mutex
	var served []string
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		mu.Lock()
		defer mu.Unlock()
		served = append(served, req.Path+" "+string(req.Body))
		for _, f := range req.Header {
			if strings.ContainsAny(f.Value, "\r\n\x00") {
				t.Errorf("forwarded field %q", f)
			}
		}
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"X-*"} })
	hidden := "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"model\":\"h\"}"
	post := "POST " + chatPath + " HTTP/1.1\r\nHost: localhost\r\n"
	size := fmt.Sprintf("Content-Length: %d\r\n", len(chatBody))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(chatBody), chatBody)
	lenient := map[string]bool{"the same length twice": true, "folded length": true}
	for _, c := range []struct {
		name, text string
		once       bool // the first request is sound, for an engine that repairs what it can
	}{
		{"sound", post + size + "\r\n" + chatBody, true},
		{"two lengths", post + size + "Content-Length: 5\r\n\r\n" + chatBody + hidden, false},
		{"list of lengths", post + "Content-Length: 57, 5\r\n\r\n" + chatBody + hidden, false},
		{"signed length", post + "Content-Length: +57\r\n\r\n" + chatBody + hidden, false},
		{"negative length", post + "Content-Length: -1\r\n\r\n" + chatBody + hidden, false},
		{"huge length", post + "Content-Length: 99999999999999999999\r\n\r\n" + chatBody, false},
		{"hexadecimal length", post + "Content-Length: 0x39\r\n\r\n" + chatBody, false},
		{"coding not chunked", post + "Transfer-Encoding: gzip\r\n\r\n" + chunked, false},
		{"chunked not last", post + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunked, false},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, false},
		{"chunked with tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunked, false},
		{"space before colon", post + "Content-Length : 57\r\n\r\n" + chatBody, false},
		{"folded line", post + "X-A: b\r\n " + hidden + "\r\n" + size + "\r\n" + chatBody, false},
		{"bare CR", post + "X-A: b\rContent-Length: 5\r\n" + size + "\r\n" + chatBody, false},
		{"NUL", post + "X-A: b\x00c\r\n" + size + "\r\n" + chatBody, false},
		{"no host", "POST " + chatPath + " HTTP/1.1\r\n" + size + "\r\n" + chatBody, false},
		{"two hosts", post + "Host: y\r\n" + size + "\r\n" + chatBody, false},
		{"bad chunk size", post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + chatBody, false},
		{"chunk size ends in LF", post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Replace(chunked, "\r\n", "\n", 1), false},
		{"chunk too long", post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Replace(chunked, "39", "3", 1), false},
		{"the same length twice", post + size + size + "\r\n" + chatBody, true},
		{"the same length in a list", post + strings.Replace(size, "\r", fmt.Sprintf(", %d\r", len(chatBody)), 1) + "\r\n" + chatBody + hidden, false},
		{"coding in a list", post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked, false},
		{"identity", post + "Transfer-Encoding: identity\r\n" + size + "\r\n" + chatBody + hidden, false},
		{"empty coding", post + "Transfer-Encoding:\r\n" + size + "\r\n" + chatBody + hidden, false},
		{"coding with a comma", post + "Transfer-Encoding: chunked,\r\n\r\n" + chunked, false},
		{"coding with a parameter", post + "Transfer-Encoding: chunked;a=b\r\n\r\n" + chunked, false},
		{"folded length", post + "Content-Length:\r\n " + fmt.Sprint(len(chatBody)) + "\r\n\r\n" + chatBody, true},
		{"tab before colon", post + "Transfer-Encoding\t: chunked\r\n" + size + "\r\n" + chatBody + hidden, false},
		{"empty length", post + "Content-Length:\r\n\r\n" + chatBody + hidden, false},
		{"bad version", "POST " + chatPath + " HTTP/1.9\r\nHost: localhost\r\n" + size + "\r\n" + chatBody, true},
		{"garbage", "\x16\x03\x01\x02\x00", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			served = nil
			if testEngine == EngineLean && lenient[c.name] {
				c.once = false
			}
			reply := s.raw(t, c.text)
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(fmt.Sprint(served), "embeddings") {
				t.Errorf("the hidden request was served: %q", served)
			}
			if ok := strings.HasPrefix(reply, "HTTP/1.1 200"); ok && (len(served) != 1 || served[0] != chatPath+" "+chatBody) || ok && !c.once {
				t.Errorf("served %q, reply %.200q", served, reply)
			}
			if c.once != (len(served) == 1) {
				t.Errorf("served %q, reply %.200q", served, reply)
			}
		})
	}
}

// TestLengthAndChunked: a request with both is read in chunks and answered, and
// then its connection is closed, whatever the reply (RFC 9112, section 6.1). What
// comes after it is never served. One with chunks alone leaves the connection as
// it is.
func TestLengthAndChunked(t *testing.T) {
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		if req.Stream {
			return errors.Join(startStream(out), out.Send(events("data: 1\n\n")))
		}
		return sendUnary(out, `{}`)
	}, Options{})
	const length, coding = "Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"
	chunks := func(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }
	request := func(path, fields, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n" + chunks(body)
	}
	sound := request(chatPath, coding, chatBody)
	lenient := "200"
	if testEngine == EngineLean {
		lenient = "400"
	}
	for _, c := range []struct {
		name, text, status string
		last               bool
	}{
		{"chunks alone", sound, "200", false},
		{"length before", request(chatPath, length+coding, chatBody), "200", true},
		{"length after", request(chatPath, coding+length, chatBody), "200", true},
		{"any case", request(chatPath, "tRANSFER-eNCODING: CHUNKED\r\ncONTENT-lENGTH: 4\r\n", chatBody), "200", true},
		{"two lengths", request(chatPath, length+coding+length, chatBody), lenient, true},
		{"the right length", request(chatPath, fmt.Sprintf("Content-Length: %d\r\n", len(chunks(chatBody)))+coding, chatBody), "200", true},
		{"folded coding", request(chatPath, "Transfer-Encoding:\r\n chunked\r\n"+length, chatBody), lenient, true},
		{"long head", request(chatPath, length+"X-A: "+strings.Repeat("a", 6<<10)+"\r\n"+coding, chatBody), "200", true},
		{"stream", request(chatPath, length+coding, streamBody), "200", true},
		{"error", request("/nothing", length+coding, chatBody), "404", true},
		{"probe", request("/healthz", length+coding, chatBody), "405", true},
		{"length in an earlier request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" + sound, "200", testEngine == EngineNetHTTP},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply := s.send(t, c.text+request("/after", "Connection: close\r\n"+coding, "x"), false)
			if !strings.HasPrefix(reply, "HTTP/1.1 "+c.status) || strings.Count(reply, "Connection: close\r\n") != 1 || strings.Contains(reply, "/after") == c.last {
				t.Errorf("%q", reply)
			}
		})
	}
}

// TestChunkedOverTLS: net/http does not tell what else was named over TLS, so that each
// request in chunks is the last on its connection. lean sees it, and keeps one that was
// in chunks alone.
func TestChunkedOverTLS(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.TLS = writeCert(t, t.TempDir(), "a") })
	for _, fields := range []string{"Content-Length: 4\r\n", ""} {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", chatPath, fields, len(chatBody), chatBody)
		fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") || strings.Count(string(b), "Connection: close\r\n") != 1 {
			t.Errorf("%q: %v, %q", fields, err, b)
		}
		if kept := strings.HasSuffix(string(b), "\r\n\r\nok\n"); kept != (testEngine == EngineLean && fields == "") {
			t.Errorf("%q: kept: %v: %q", fields, kept, b)
		}
		c.Close()
	}
}

// TestOldVersion: HTTP/1.0 has no Transfer-Encoding, so that nothing that follows a
// request with one is a request. net/http does not tell whether it was there, and so
// ends with each; lean refuses it, and keeps a connection that is to be kept.
func TestOldVersion(t *testing.T) {
	s := start(t, unary(`{}`))
	next := "POST /hidden HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
	for _, fields := range []string{"", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"} {
		for _, path := range []string{chatPath, "/healthz"} {
			reply := s.send(t, "POST "+path+" HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"+fields+"\r\n"+next, false)
			count, kept := strings.Count(reply, "\r\n\r\n"), strings.Count(reply, "Connection: keep-alive\r\n")
			if testEngine == EngineLean && fields == "" {
				if count != 2 || kept != 1 || !strings.Contains(reply, "hidden") {
					t.Errorf("%s: %q", path, reply)
				}
			} else if count != 1 || kept != 0 || strings.Contains(reply, "hidden") {
				t.Errorf("%s %q: %q", path, fields, reply)
			}
		}
	}
}

func TestLargeHead(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.MaxHeaderBytes = 8 << 10 })
	if reply := s.raw(t, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "+strings.Repeat("a", 20<<10)+"\r\n\r\n"); !strings.HasPrefix(reply, "HTTP/1.1 431") {
		t.Errorf("%.100q", reply)
	}
}

func TestSlowLoris(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) {
		c.ReadHeaderTimeout, c.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	for name, text := range map[string]string{
		"head": "POST " + chatPath + " HTTP/1.1\r\nHost:",
		"body": "POST " + chatPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"model\"",
	} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, text)
		b, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
		if name == "body" && !strings.HasPrefix(string(b), "HTTP/1.1 408") {
			t.Errorf("%s: %q", name, b)
		}
		c.Close()
	}
}

// A request that is refused before its body is read has its reply, even when the
// body never comes.
func TestRefusedWithoutBody(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) {
		c.BodyTimeout = 50 * time.Millisecond
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("sk-a")}}
	})
	for _, announced := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "POST "+chatPath+" HTTP/1.1\r\nHost: localhost\r\n"+announced+"\r\n\r\n")
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 401 ") {
			t.Errorf("%s: %v, got %q", announced, err, b)
		}
		c.Close()
	}
}

// TestBodyDeadlineEnds waits longer than the body's time-out for the reply: the
// deadline must not outlive the body.
func TestBodyDeadlineEnds(t *testing.T) {
	for _, e := range engines {
		s := start(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(150 * time.Millisecond):
				return sendUnary(out, `{}`)
			}
		}, func(c *Config, _ *StreamConfig) { c.BodyTimeout = 50 * time.Millisecond })
		if resp, body := do(t, e.client(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", e.name, resp.StatusCode, body)
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.MaxConnections = 1 })
	client := h1(t, s)
	do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || apiError(t, string(b)).Code != "overloaded" {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if resp, _ := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.StatusCode != 200 {
		t.Errorf("the first connection: %d", resp.StatusCode)
	}
	s.Server.Examine(func(c perf.Condition) {
		if c.State != perf.Degraded || c.Error != "1 of 1 client connections are open" {
			t.Errorf("condition %+v", c)
		}
	})
}

// TestHalfClose: a client that has closed its direction is taken for gone, and
// what it may still read does not look whole.
func TestHalfClose(t *testing.T) {
	begun := make(chan struct{})
	s := start(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		if err := out.Send(events("data: 1\n\n")); err != nil {
			return err
		}
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(streamBody), streamBody)
	<-begun
	_ = c.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(c)
	if strings.Contains(string(b), "\r\n0\r\n") {
		t.Errorf("looks whole: %q", b)
	}
}

func TestBackPressure(t *testing.T) {
	const most = 256 << 20
	var sent int
	progress := make(chan int, 1)
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		err := startStream(out)
		event := events("data: " + strings.Repeat("x", 8<<10) + "\n\n")
		for ; err == nil && sent < most; sent += len(event[0].Raw) {
			err = out.Send(event)
		}
		progress <- sent
		return err
	}, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = time.Second })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(streamBody), streamBody)
	if n := <-progress; n >= most {
		t.Errorf("%d bytes were taken for a client that reads nothing", n)
	} else {
		t.Logf("%d bytes taken, kernel's buffers included", n)
	}
}

// TestExpect: a client that waits to be told to send its body is told so once its key
// and the length are good, and is else answered at once.
func TestExpect(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) {
		c.APIKeys, c.MaxBodyBytes, c.MaxUploadBytes = []APIKey{{Name: "a", Hash: HashKey("sk-a")}}, 1000, 1000
	})
	for _, c := range []struct {
		name, path, key string
		length          int
		first           string // line of the reply
	}{
		{"good", chatPath, "sk-a", len(chatBody), "HTTP/1.1 100 Continue\r\n"},
		{"no such key", chatPath, "sk-b", len(chatBody), "HTTP/1.1 401 Unauthorized\r\n"},
		{"too large", chatPath, "sk-a", 1001, "HTTP/1.1 413 Request Entity Too Large\r\n"},
		{"too large an upload", "/v1/files", "sk-a", 1001, "HTTP/1.1 413 Request Entity Too Large\r\n"},
		{"no such path", "/nothing", "sk-a", len(chatBody), "HTTP/1.1 404 Not Found\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", c.path, c.key, c.length)
			r := bufio.NewReader(nc)
			first, err := r.ReadString('\n')
			if err != nil || first != c.first {
				t.Fatalf("%q, %v, want %q", first, err, c.first)
			}
			if c.name == "good" {
				_, _ = io.WriteString(nc, chatBody)
			}
			_ = nc.(*net.TCPConn).CloseWrite()
			rest, _ := io.ReadAll(r)
			if good := strings.Contains(string(rest), "HTTP/1.1 200 OK\r\n"); good != (c.name == "good") || strings.Contains(string(rest), "100 Continue") {
				t.Errorf("%q", rest)
			}
		})
	}
}

// TestRefusedHeads: what the lean engine refuses, and what front does, looks the same
// to clients: an error object, on a connection that is closed.
func TestRefusedHeads(t *testing.T) {
	if testEngine != EngineLean {
		t.Skip("net/http has words of its own")
	}
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.MaxHeaderBytes, c.MaxBodyBytes = 8<<10, 1000 })
	long := strings.Repeat("a", 20<<10)
	head := "POST " + chatPath + " HTTP/1.1\r\nHost: localhost\r\n"
	for _, c := range []struct {
		name, text string
		status     int
		code       string
	}{
		{"no request", "nonsense\r\n\r\n", 400, "malformed_request"},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed_request"},
		{"long target", "GET /" + long + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri_too_long"},
		{"large head", head + "X-A: " + long + "\r\n\r\n", 431, "headers_too_large"},
		{"many fields", head + strings.Repeat("A: b\r\n", 1000) + "\r\n", 431, "headers_too_large"},
		{"length beyond all", head + "Content-Length: 99999999999999999999\r\n\r\n", 413, "request_too_large"},
		{"length beyond the limit", head + "Content-Length: 1001\r\n\r\n", 413, "request_too_large"},
		{"chunks beyond the limit", head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 0x3e9) + "\r\n0\r\n\r\n", 413, "request_too_large"},
		{"expectation", head + "Content-Length: 1\r\nExpect: a-miracle\r\n\r\n", 417, "expectation_failed"},
		{"coding", head + "Transfer-Encoding: gzip\r\n\r\n", 501, "transfer_coding_not_supported"},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "method_not_supported"},
		{"version", "GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "http_version_not_supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply := s.send(t, c.text, false)
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(reply)), nil)
			if err != nil {
				t.Fatalf("%q: %v", reply, err)
			}
			defer resp.Body.Close()
			var body struct {
				Error struct {
					Message, Type string
					Param, Code   *string
				}
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatalf("%q: %v", reply, err)
			}
			e := body.Error
			if resp.StatusCode != c.status || !resp.Close || resp.Header.Get("Content-Type") != "application/json" ||
				e.Message == "" || e.Type == "" || e.Code == nil || *e.Code != c.code {
				t.Errorf("%q", reply)
			}
		})
	}
}

// TestStreamToOldVersion: HTTP/1.0 knows no chunks, so that what has no length ends
// with the connection.
func TestStreamToOldVersion(t *testing.T) {
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		return errors.Join(startStream(out), out.Send(events("data: 1\n\n")), out.Send(events("data: [DONE]\n\n")))
	})
	body := strings.TrimSuffix(chatBody, "}") + `,"stream":true}`
	reply := s.send(t, fmt.Sprintf("POST %s HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(body), body), false)
	head, rest, _ := strings.Cut(reply, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.") || rest != "data: 1\n\ndata: [DONE]\n\n" || strings.Contains(head, "Transfer-Encoding") || strings.Contains(head, "keep-alive") {
		t.Errorf("%q", reply)
	}
}
