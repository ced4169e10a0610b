package front

import (
	"context"
	"io"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// A buffer that is refused ends its request with a 503, or its stream with an
// error event and the connection; others go on.
func TestMemoryRefused(t *testing.T) {
	const most = 2 << 10
	large := strings.Repeat("x", 2*most)
	// By path: how a stream goes on.
	streams := map[string][]llm.Event{
		"/v1/first":  events("data: " + large + "\n\n"),
		"/v1/second": events("data: 1\n\n", "data: "+large+"\n\n"),
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				list, ok := streams[req.Path]
				if !ok {
					return sendUnary(out, `"`+large+`"`)
				}
				if err := startStream(out); err != nil {
					return err
				}
				return out.Send(list)
			}, Options{Memory: &memory.Governor{Buffers: memory.Buffers{Max: most}}, KeepReplies: func() bool { return true }})
			client := e.client(t, s)
			refused := func(body io.Reader) {
				t.Helper()
				req := newRequest(t, t.Context(), "POST", s.url(chatPath), "")
				req.Body, req.ContentLength = io.NopCloser(body), -1
				if r, ok := body.(*strings.Reader); ok {
					req.ContentLength = r.Size()
				}
				resp, text := do(t, client, req)
				if resp.StatusCode != 503 || !strings.Contains(text, `"code":"gateway_overloaded"`) || resp.Header.Get("Retry-After") == "" {
					t.Errorf("status %d, %s", resp.StatusCode, text)
				}
			}
			refused(strings.NewReader(`{"model":"` + large + `"}`))
			// One of unknown length is refused at once: what it begins with is more.
			refused(io.MultiReader(strings.NewReader(chatBody)))
			// A reply whose copy for observers is refused is whole.
			if resp, body := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.StatusCode != 200 || len(body) != len(large)+2 {
				t.Errorf("status %d, %d bytes", resp.StatusCode, len(body))
			}
			resp, body := do(t, client, newRequest(t, t.Context(), "POST", s.url("/v1/first"), ""))
			if resp.StatusCode != 503 || !strings.Contains(body, "gateway_overloaded") {
				t.Errorf("at the first event: status %d, %s", resp.StatusCode, body)
			}
			resp, err := client.Do(newRequest(t, t.Context(), "POST", s.url("/v1/second"), ""))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err == nil || !strings.HasPrefix(string(text), "data: 1\n\ndata: {") || !strings.Contains(string(text), "gateway_overloaded") {
				t.Errorf("%.200q, %v", text, err)
			}
		})
	}
}

// Where nothing at all may be lent, a stream ends as a cut one does, and a reply
// that would be joined with its head is not.
func TestNoMemory(t *testing.T) {
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		if req.Path == "/v1/stream" {
			if err := startStream(out); err != nil {
				return err
			}
			return out.Send(events("data: 1\n\n"))
		}
		return sendUnary(out, strings.Repeat("x", 100_000))
	}, Options{Memory: &memory.Governor{Buffers: memory.Buffers{Max: -1}}})
	for path, want := range map[string]int{"/v1/stream": 503, "/v1/unary": 200} {
		resp, body := do(t, engines[0].client(t, s), newRequest(t, t.Context(), "GET", s.url(path), ""))
		if resp.StatusCode != want || want == 200 && len(body) != 100_000 {
			t.Errorf("%s: status %d, %.200s", path, resp.StatusCode, body)
		}
	}
	testkit.Until(t, "nothing is left", func() bool { return s.inFlight.Load() == 0 })
}

// What cannot be merged for want of memory waits for the client, as it is.
func TestMergeRefused(t *testing.T) {
	s := &Server{memory: new(memory.Governor)}
	s.buffers = new(memory.Buffers)
	x := s.newExchange()
	x.st = &state{stream: DefaultStream()}
	out := &x.out
	for _, e := range []string{"data: 1\n\n", "data: 2\n\n"} {
		if err := out.append([]byte(e)); err != nil {
			t.Fatal(err)
		}
	}
	s.buffers = &memory.Buffers{Max: 1}
	out.merge()
	if got := string(out.stream.pending.B); got != "data: 1\n\ndata: 2\n\n" || len(out.stream.ends) != 2 {
		t.Errorf("%q, %v", got, out.stream.ends)
	}
	if err := out.append(make([]byte, 4096)); err == nil {
		t.Error("grown beyond what may be lent")
	}
	if got := string(out.stream.pending.B); got != "data: 1\n\ndata: 2\n\n" {
		t.Errorf("%q", got)
	}
}
