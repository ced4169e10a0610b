package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/front"
)

// early is an upstream over HTTP/2, over which a request may be under way while its
// reply is: /v1/files is answered at once, or cut in the middle of a reply that is
// passed on in pieces.
func early(t *testing.T) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v1/files":
			w.WriteHeader(404)
			fmt.Fprint(w, `{"error":{"message":"no such route"}}`)
		case "/v1/files/cut":
			w.Header().Set("Content-Length", "5000000")
			_, _ = io.WriteString(w, strings.Repeat("x", 2<<20))
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, `{"ok":true}`)
		}
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestUploadOutlivesReply: an upstream answers, or breaks off, before it has taken an
// upload, so that a Read of it is under way when the request is over. It reads
// nothing of another client's, leaves no fault with another's request, and harms
// nobody when it ends.
func TestUploadOutlivesReply(t *testing.T) {
	url := early(t)
	const files, chunked = "/v1/files", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"
	for _, engine := range []string{front.EngineLean, front.EngineNetHTTP} {
		for _, c := range []struct{ name, path, framing, rest string }{
			{"length", files, "Content-Length: 10\r\n\r\n12345", "67890"},
			{"nothing more", files, "Content-Length: 10\r\n\r\n12345", ""},
			{"chunks", files, chunked, "0\r\n\r\n"},
			{"more chunks", files, chunked, "5\r\n67890\r\n"},
			{"no chunks", files, chunked, "what is this\r\n"},
			{"cut", files + "/cut", "Content-Length: 10\r\n\r\n12345", "67890"},
			{"cut in chunks", files + "/cut", chunked, "0\r\n\r\n"},
		} {
			t.Run(engine+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				cfg := load(t, "UP_API_KEY="+upstreamKey, "UP_BASE_URL="+url+"/v1")
				cfg.Upstreams[0].HTTPClient.H2C = true
				cfg.Server.Engine = engine
				_, gateway := run(t, cfg, nil)
				for range 5 {
					upload(t, gateway, c.path, c.framing, c.rest)
					for range 3 {
						innocent(t, gateway)
					}
				}
			})
		}
	}
}

// upload sends the beginning of an upload, waits for its reply to begin, and sends the
// rest until the connection has ended.
func upload(t *testing.T, gateway, path, framing, rest string) {
	t.Helper()
	addr := strings.TrimPrefix(gateway, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\n%s", path, addr, framing)
	first := make([]byte, len("HTTP/1.1 404"))
	if _, err := io.ReadFull(conn, first); err != nil {
		t.Fatalf("no reply: %v", err)
	}
	if want := map[string]string{"/v1/files": "404", "/v1/files/cut": "200"}[path]; !strings.HasSuffix(string(first), want) {
		t.Errorf("the reply begins %q, want %s", first, want)
	}
	_, _ = io.WriteString(conn, rest)
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

// innocent is another client's request, which is answered.
func innocent(t *testing.T, gateway string) {
	t.Helper()
	resp, err := http.Post(gateway+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"up/gpt","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
		t.Errorf("another client got %d %s, %v", resp.StatusCode, b, err)
	}
}
