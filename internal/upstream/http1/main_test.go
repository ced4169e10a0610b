package http1

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial connects to a server that answers with handler.
func dial(t testing.TB, handler http.HandlerFunc) *Conn {
	t.Helper()
	srv := httptest.NewServer(handler)
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close(); srv.Close() })
	return NewConn(nc, Limits{Buffers: new(memory.Buffers)})
}

// dialRaw connects to a peer that serve plays on a bare socket.
func dialRaw(t testing.TB, l Limits, serve func(net.Conn)) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", testkit.Listen(t, func(_ int, nc net.Conn) { serve(nc) }))
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { _ = nc.Close() })
	return NewConn(nc, l)
}

func post(body string) *Request {
	return &Request{
		Method: "POST", Target: "/v1/chat/completions", Host: "model.test",
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}},
		Body:   [3][]byte{[]byte(body)},
	}
}

// readAll reads a body to its end.
func readAll(c *Conn) ([]byte, error) {
	var body []byte
	for {
		p, err := c.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return body, err
		}
		body = append(body, p...)
	}
}

func exchange(c *Conn, r *Request) (*Head, []byte, error) {
	h := new(Head)
	if err := c.WriteRequest(r); err != nil {
		return nil, nil, err
	}
	if err := c.ReadHead(h); err != nil {
		return nil, nil, err
	}
	body, err := readAll(c)
	return h, body, err
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	w.Header().Set("X-Length", r.Header.Get("Content-Length"))
	w.Header().Set("X-Coding", strings.Join(r.TransferEncoding, ","))
	if r.URL.Query().Has("flush") {
		for piece := range slices.Chunk(body, len(body)/20+1) {
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
		}
		return
	}
	_, _ = w.Write(body)
}

func TestExchangeWithNetHTTP(t *testing.T) {
	c := dial(t, echo)
	for _, n := range []int{0, 1, 100, 3900, 4096, 15 << 10, 17 << 10, 200 << 10, 3 << 20} {
		whole := bytes.Repeat([]byte("0123456\n"), n/8+1)[:n]
		for _, target := range []string{"/", "/?flush"} {
			for name, r := range map[string]*Request{
				"parts":   {Body: [3][]byte{whole[:n/3], whole[n/3 : n/2], whole[n/2:]}},
				"reader":  {BodyReader: bytes.NewReader(whole), BodyLen: int64(n)},
				"chunked": {BodyReader: bytes.NewReader(whole), BodyLen: -1},
			} {
				r.Method, r.Target, r.Host = "POST", target, "model.test"
				h, body, err := exchange(c, r)
				if err != nil || h.Status != 200 || !bytes.Equal(body, whole) {
					t.Fatalf("%s, %d bytes to %s: head %+v, %d bytes back, %v", name, n, target, h, len(body), err)
				}
				if !c.Reusable() || c.Stale() || !c.GotBytes() {
					t.Fatalf("%s, %d bytes: reusable %v, stale %v", name, n, c.Reusable(), c.Stale())
				}
			}
		}
	}
}

func TestNextBeforeHead(t *testing.T) {
	c := dial(t, echo)
	if err := c.ReadHead(new(Head)); err == nil {
		t.Error("ReadHead without a request succeeded")
	}
	if err := c.WriteRequest(post("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(); err == nil || err == io.EOF {
		t.Errorf("Next before ReadHead: %v", err)
	}
	if err := c.WriteRequest(post("x")); err == nil {
		t.Error("a second request was written before the reply was read")
	}
}
