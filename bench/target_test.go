package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sluice/bench/process"
)

func TestTargetHead(t *testing.T) {
	for want, at := range map[string]target{
		"POST /v1/chat/completions HTTP/1.1\r\nHost: a:1\r\nContent-Type: application/json\r\nAuthorization: Bearer " + process.APIKey + "\r\nContent-Length: 2\r\n\r\n{}": {addr: "a:1"},
		"POST /x HTTP/1.1\r\nHost: a:1\r\nContent-Type: application/json\r\nauthorization: own\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}":                                   {"a:1", "/x", "authorization: own\r\nX-A: b\r\n"},
	} {
		if got := string(chatRequest(at, "{}")); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// wrk is told the fields that a server asks for.
func TestScriptHasFields(t *testing.T) {
	l := &lab{dir: t.TempDir()}
	file, err := l.writeScript(target{fields: "X-A: b\r\n"}, load{body: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"wrk.headers[" + luaString("X-A") + "]=" + luaString("b") + "\n", "wrk.headers[" + luaString("Authorization") + "]=" + luaString("Bearer "+process.APIKey) + "\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in\n%s", want, b)
		}
	}
}

// A client reads replies in chunks, and says when the first event of a stream came.
func TestClientReadsStreams(t *testing.T) {
	server := httptest.NewServer(netHTTPMock())
	defer server.Close()
	c, err := dial(t.Context(), target{addr: server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 3 {
		first, took, err := c.exchange(freshBody(modelSoon, true, firstSeed))
		if err != nil || first < soonTime || took < first {
			t.Errorf("first event after %v of %v: %v", first, took, err)
		}
		if first, took, err := c.exchange(freshBody(modelSoon, false, firstSeed)); err != nil || first != 0 || took < soonTime {
			t.Errorf("first event after %v of %v: %v", first, took, err)
		}
	}
}

// Bodies are as long as net/http takes them to be.
func TestClientReadsChunksThatComeTogether(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		w.Write(reply(1000))
	}))
	defer server.Close()
	c, err := dial(t.Context(), target{addr: server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 3 {
		if _, err := c.ask("{}"); err != nil {
			t.Fatal(err)
		}
	}
}

// What is left of a body is never taken for all of it, and what comes after it never for its part.
func FuzzWireSize(f *testing.F) {
	f.Add([]byte("transfer-encoding: chunked\r\n"), []byte("3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("content-length: 3\r\n"), []byte("abc"))
	f.Add([]byte("a: b\r\n"), []byte("abc"))
	f.Fuzz(func(t *testing.T, head, rest []byte) {
		size, err := wireSize(head, rest)
		if err != nil || size > len(rest) {
			return
		}
		if size < 0 {
			t.Fatalf("%d bytes", size)
		}
		if again, err := wireSize(head, append(rest[:size:size], "more"...)); again != size || err != nil {
			t.Errorf("%d bytes, and %d where others follow: %v", size, again, err)
		}
	})
}
