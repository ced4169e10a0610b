package front

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

type observer func(*perf.Exchange)

func (o observer) Observe(x *perf.Exchange) { o(x) }

// TestHead asks every kind of route with GET and HEAD: the second answer is the
// first without its body (RFC 9110 section 9.3.2).
func TestHead(t *testing.T) {
	seen := make(chan perf.Exchange, 1)
	methods := make(chan string, 1)
	large := `"` + strings.Repeat("x", 50_000) + `"`
	h := func(_ context.Context, req *llm.Request, out llm.Sink) error {
		methods <- req.Method
		switch req.Path {
		case "/v1/files/large":
			return sendUnary(out, large)
		case "/v1/files/none":
			return llm.Errorf(404, "not_found", "There is none.")
		default:
			return sendUnary(out, `{"a":1}`)
		}
	}
	more, ended := make(chan []byte), make(chan error, 1)
	close(more)
	var served int
	var fail error
	s := startWith(t, h, Options{
		Routes:    append(ownRoutes(&served, &fail), liveRoute(more, ended)...),
		Observers: []perf.Observer{observer(func(x *perf.Exchange) { seen <- *x })},
		Metrics:   saying("m 1\n"),
	})
	for _, e := range engines {
		client := e.client(t, s)
		for _, c := range []struct {
			path   string
			op     llm.Operation
			status int
			chain  bool // it gets as far as the handlers
			seen   bool
		}{
			{"/v1/models", llm.ListModels, 200, true, true},
			{"/v1/models/a/b", llm.GetModel, 200, true, true},
			{chatPath, llm.Passthrough, 200, true, true},
			{"/v1/files/small", llm.Passthrough, 200, true, true},
			{"/v1/files/large", llm.Passthrough, 200, true, true},
			{"/v1/files/none", llm.Passthrough, 404, true, true},
			{ownPath, llm.Passthrough, 200, false, true},
			{livePage, llm.Passthrough, 200, false, true},
			{"/v1/embeddings", llm.Passthrough, 405, false, true},
			{"/none", llm.Passthrough, 404, false, true},
			{"/healthz", 0, 200, false, false},
			{"/readyz", 0, 200, false, false},
			{"/metrics", 0, 200, false, false},
		} {
			var replies [2]*http.Response
			for i, method := range []string{"GET", "HEAD"} {
				resp, body := do(t, client, newRequest(t, t.Context(), method, s.url(c.path), ""))
				replies[i] = resp
				if resp.StatusCode != c.status || (body == "") != (i == 1) {
					t.Errorf("%s: %s %s: %d %q", e.name, method, c.path, resp.StatusCode, body)
				}
				if c.chain {
					if got := await(t, methods); got != method {
						t.Errorf("%s: %s %s came as %s", e.name, method, c.path, got)
					}
				}
				if !c.seen {
					continue
				}
				if x := await(t, seen); x.Op != c.op || x.Method != method || x.BytesOut != int64(len(body)) || x.Status != c.status {
					t.Errorf("%s: %s %s: told of %s %s, %d, %d bytes", e.name, method, c.path, x.Method, x.Op, x.Status, x.BytesOut)
				}
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "Allow", "X-Sluice-Upstream"} {
				if get, head := replies[0].Header.Get(name), replies[1].Header.Get(name); get != head {
					t.Errorf("%s: %s: %s is %q with GET, %q with HEAD", e.name, c.path, name, get, head)
				}
			}
			if get, head := replies[0].ContentLength, replies[1].ContentLength; c.chain && head >= 0 && get != head {
				t.Errorf("%s: %s: %d bytes with GET, %d with HEAD", e.name, c.path, get, head)
			}
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("GET of the live page did not end")
		}
	}
	for path, allow := range map[string]string{
		"/v1/models": "GET, HEAD", "/v1/models/m": "GET, HEAD, DELETE", chatPath: "GET, HEAD, POST",
		"/v1/files": "GET, HEAD, POST, PUT, PATCH, DELETE", ownPath: "DELETE, GET, HEAD", "/v1/embeddings": "POST",
	} {
		resp, _ := do(t, h1(t, s), newRequest(t, t.Context(), "OPTIONS", s.url(path), ""))
		if got := resp.Header.Get("Allow"); resp.StatusCode != 405 || got != allow {
			t.Errorf("OPTIONS %s: %d, Allow %q, not %q", path, resp.StatusCode, got, allow)
		}
		<-seen
	}
}
