package openai

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
	"sluice/internal/upstream"
)

// lean answers every request with the same bytes over kept-alive connections,
// in one write or, with several parts, in one write each. It allocates nothing
// per request, so that allocation counts are the handler's and its transport's.
func lean(t testing.TB, parts ...string) string {
	t.Helper()
	var raw [][]byte // made once: writing a string allocates
	for _, p := range parts {
		raw = append(raw, []byte(p))
	}
	return "http://" + testkit.Listen(t, func(_ int, c net.Conn) { answer(c, raw) }) + "/v1"
}

func answer(c net.Conn, parts [][]byte) {
	in := bufio.NewReader(c)
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		const name = "content-length: "
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			length = 0
			for _, d := range line[len(name) : len(line)-2] {
				length = 10*length + int(d-'0')
			}
		}
		if len(line) > 2 {
			continue
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		for _, p := range parts {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}
}

// none is a sink that takes everything and keeps nothing.
type none struct{ events, sends int }

func (*none) Start(*llm.Head) error      { return nil }
func (n *none) Send(e []llm.Event) error { n.events += len(e); n.sends++; return nil }

// cpu is the processor time that the process has used, the upstream's share
// included: a paced stream's time on the clock says nothing of its cost.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func unaryReply() string {
	body := `{"id":"x","pad":"` + strings.Repeat("x", 1000) + `"}`
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_1\r\nOpenai-Version: 2020-10-01\r\n"+
		"Openai-Processing-Ms: 12\r\nX-Ratelimit-Remaining-Requests: 99\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// streamReply is the head and the 54 events of a stream, each a chunk.
func streamReply() (parts []string) {
	parts = append(parts, okHead+"Transfer-Encoding: chunked\r\n\r\n")
	for i := range 53 {
		parts = append(parts, chunk(fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" word%d"},"finish_reason":null}]}`+"\n\n", i)))
	}
	return append(parts, chunk(last)+"0\r\n\r\n")
}

func request() *llm.Request {
	body := `{"model":"alias","messages":[{"role":"user","content":"` + strings.Repeat("y", 550) + `"}]}`
	req := chat(body, false)
	req.Model, req.ModelSpan = "alias", llm.Span{Start: 9, End: 16}
	req.UpstreamModel = "alias"
	return req
}

func BenchmarkUnary(b *testing.B) {
	h, req, out := newHandler(b, lean(b, unaryReply()), nil), request(), new(none)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Serve(context.Background(), req, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnaryOtherModel(b *testing.B) {
	h, req, out := newHandler(b, lean(b, unaryReply()), nil), request(), new(none)
	req.UpstreamModel = "gpt-4o-mini"
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Serve(context.Background(), req, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	parts := streamReply()
	for _, bench := range []struct {
		name  string
		parts []string
		flush time.Duration
	}{
		{"one write", []string{strings.Join(parts, "")}, time.Millisecond},
		{"write per event", parts, time.Millisecond},
		{"write per event, not paced", parts, 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h := newHandler(b, lean(b, bench.parts...), func(_ *Config, _ *upstream.Config, s *upstream.StreamConfig) { s.FlushInterval = bench.flush })
			req, out := request(), new(none)
			req.Stream = true
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				if err := h.Serve(context.Background(), req, out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(out.sends)/float64(b.N), "sends/op")
			if out.events%54 != 0 {
				b.Errorf("%d events", out.events)
			}
		})
	}
}

// The ceilings are for everything between Serve and the socket, the transport
// included.
func TestAllocationCeilings(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	stream := request()
	stream.Stream = true
	renamed := request()
	renamed.UpstreamModel = "gpt-4o-mini"
	unary, events := lean(t, unaryReply()), lean(t, strings.Join(streamReply(), ""))
	for _, test := range []struct {
		name, base string
		req        *llm.Request
		ceiling    float64
	}{
		{"unary", unary, request(), 8}, {"unary, other model", unary, renamed, 9}, {"stream", events, stream, 10},
	} {
		h, out := newHandler(t, test.base, nil), new(none)
		n := testing.AllocsPerRun(200, func() {
			if err := h.Serve(context.Background(), test.req, out); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", test.name, n)
		if n > test.ceiling {
			t.Errorf("%s: %v allocations, ceiling %v", test.name, n, test.ceiling)
		}
	}
}
